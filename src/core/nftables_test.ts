import { assertEquals } from "@std/assert";
import {
  EMPTY_TABLE,
  isListing,
  type NftChain,
  type NftSet,
  type NftTable,
  renderDifference,
  renderTable,
} from "./nftables.ts";

const BASE = "type filter hook forward priority filter; policy accept;";

function setOf(spec: string, ...elements: readonly string[]): NftSet {
  return {
    kind: "set",
    spec: spec.split("; "),
    elements: new Map(elements.map((key) => [key, ""])),
  };
}

function mapOf(elements: Readonly<Record<string, string>>): NftSet {
  return {
    kind: "map",
    spec: ["type ifname : verdict"],
    elements: new Map(Object.entries(elements)),
  };
}

function tableOf(
  sets: Readonly<Record<string, NftSet>>,
  chains: Readonly<Record<string, NftChain>> = {},
): NftTable {
  return { sets: new Map(Object.entries(sets)), chains: new Map(Object.entries(chains)) };
}

const TABLE = tableOf({
  dropped: setOf("type ifname; counter", '"a"', '"b"', '"c"'),
  ports: setOf("type inet_service; flags interval", "80", "8000-8999"),
  pods6: setOf("type ipv6_addr", "2001:db8::1", "::102:304", "::ffff:102:304", "::1:0"),
  none: setOf("type ipv4_addr"),
  links: mapOf({ '"a"': "goto one", '"b"': "accept" }),
}, {
  one: { rules: ["tcp dport @ports accept", "drop"] },
  empty: { rules: [] },
  forward: { base: BASE, rules: ["iifname vmap @links"] },
});

/** As `nft -s list table inet t` prints it. */
const LISTING = `table inet t {
	set dropped {
		type ifname
		counter
		elements = { "c" counter, "a" counter,
			     "b" counter }
	}

	set ports {
		type inet_service
		flags interval
		elements = { 80, 8000-8999 }
	}

	set pods6 {
		type ipv6_addr
		elements = { ::1.2.3.4,
			     ::0.1.0.0,
			     ::ffff:1.2.3.4,
			     2001:db8::1 }
	}

	set none {
		type ipv4_addr
	}

	map links {
		type ifname : verdict
		elements = { "b" : accept, "a" : goto one }
	}

	chain one {
		tcp dport @ports accept
		drop
	}

	chain empty {
	}

	chain forward {
		${BASE}
		iifname vmap @links
	}
}
`;

Deno.test("renderTable() puts a table in the place of another", () => {
  assertEquals(
    renderTable("t", TABLE),
    `add table inet t
delete table inet t
table inet t {
	set dropped {
		type ifname
		counter
		elements = { "a", "b", "c" }
	}
	set ports {
		type inet_service
		flags interval
		elements = { 80, 8000-8999 }
	}
	set pods6 {
		type ipv6_addr
		elements = { 2001:db8::1, ::102:304, ::ffff:102:304, ::1:0 }
	}
	set none {
		type ipv4_addr
	}
	map links {
		type ifname : verdict
		elements = { "a" : goto one, "b" : accept }
	}
	chain one {
		tcp dport @ports accept
		drop
	}
	chain empty {
	}
	chain forward {
		${BASE}
		iifname vmap @links
	}
}
`,
  );
  assertEquals(
    renderTable("t", EMPTY_TABLE),
    "add table inet t\ndelete table inet t\ntable inet t {\n}\n",
  );
});

Deno.test("renderDifference() makes before it fills, and deletes after what names it", () => {
  const after = tableOf({
    dropped: setOf("type ifname; counter", '"a"', '"d"'),
    pods4: setOf("type ipv4_addr", "10.0.0.1"),
    links: mapOf({ '"a"': "goto two", '"d"': "goto two" }),
    more: setOf("type inet_service; flags interval"),
  }, {
    empty: { rules: ["accept"] },
    forward: TABLE.chains.get("forward")!,
    two: { rules: ["tcp dport @more accept", "goto empty"] },
    hook: { base: BASE, rules: [] },
  });
  assertEquals(
    renderDifference("t", TABLE, after),
    `add set inet t pods4 { type ipv4_addr; }
add set inet t more { type inet_service; flags interval; }
flush chain inet t empty
add chain inet t two
add chain inet t hook { ${BASE} }
add rule inet t empty accept
add rule inet t two tcp dport @more accept
add rule inet t two goto empty
delete element inet t dropped { "b", "c" }
add element inet t dropped { "d" }
add element inet t pods4 { 10.0.0.1 }
delete element inet t links { "a", "b" }
add element inet t links { "a" : goto two, "d" : goto two }
flush chain inet t one
delete chain inet t one
delete set inet t ports
delete set inet t pods6
delete set inet t none
`,
  );
});

Deno.test("renderDifference() is empty for equal tables, also where nothing is the same object", () => {
  assertEquals(renderDifference("t", TABLE, TABLE), "");
  assertEquals(renderDifference("t", TABLE, structuredClone(TABLE)), "");
  assertEquals(renderDifference("t", EMPTY_TABLE, EMPTY_TABLE), "");
});

Deno.test("renderDifference() tells rules of a chain apart by what they are and by their order", () => {
  const rules = (...rules: readonly string[]): NftTable => tableOf({}, { one: { rules } });
  const script = "flush chain inet t one\nadd rule inet t one b\nadd rule inet t one a\n";
  assertEquals(renderDifference("t", rules("a", "b"), rules("b", "a")), script);
  assertEquals(renderDifference("t", rules("a"), rules()), "flush chain inet t one\n");
  assertEquals(renderDifference("t", rules(), rules("a")).split("\n").length, 3);
});

Deno.test("renderDifference() writes lines that a person can read", () => {
  const addresses = Array.from({ length: 1_001 }, (_, n) => `10.0.${n >> 8}.${n & 255}`);
  const from = tableOf({ many: setOf("type ipv4_addr") });
  const to = tableOf({ many: setOf("type ipv4_addr", ...addresses) });
  const lines = renderDifference("t", from, to).trimEnd().split("\n");
  assertEquals(lines.map((line) => line.split(", ").length), [500, 500, 1]);
  assertEquals(
    lines.flatMap((line) => line.slice("add element inet t many { ".length, -2).split(", ")),
    addresses,
  );
});

Deno.test("isListing() knows a table by what nft prints, in whatever order its elements are", () => {
  assertEquals(isListing(LISTING, TABLE), true);
  assertEquals(isListing("table inet t {\n}\n", EMPTY_TABLE), true);
  assertEquals(isListing(LISTING, EMPTY_TABLE), false);
  assertEquals(isListing("table inet t {\n}\n", TABLE), false);
  assertEquals(isListing("", EMPTY_TABLE), false);
});

Deno.test("isListing() misses no line", () => {
  const lines = LISTING.split("\n");
  for (const [n, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const without = lines.toSpliced(n, 1).join("\n");
    assertEquals(isListing(without, TABLE), false, `without ${line}`);
    const twice = lines.toSpliced(n, 0, line).join("\n");
    // A set has its elements once.
    if (!line.includes("elements")) assertEquals(isListing(twice, TABLE), false, `${line} twice`);
    const other = lines.with(n, line.replace(/[a-z0-9]\b/, "x")).join("\n");
    if (/[a-z0-9]/.test(line) && n > 0) assertEquals(isListing(other, TABLE), false, other);
  }
});

Deno.test("isListing() tells the order of rules, and what is not of a set or chain", () => {
  const has = (text: string): void => assertEquals(LISTING.includes(text), true, text);
  for (
    const [part, instead] of [
      ["accept\n\t\tdrop", "drop\n\t\ttcp dport @ports accept"],
      ["table inet t {\n", "table inet t {\n\tflags dormant\n\n"],
      ["\tchain empty {\n", '\tchain empty {\n\t\tcomment "x"\n'],
      ["\tset none {", "\tmap none {"],
      ["\tchain empty {\n\t}\n", "\tcounter empty {\n\t}\n"],
      ['"a" : goto one', '"a" : goto two'],
      ["2001:db8::1 }", "2001:db8::1, ::1.2.3.5 }"],
      ["8000-8999", "8000-8999 timeout 1m"],
    ] as const
  ) {
    has(part);
    assertEquals(isListing(LISTING.replace(part, instead), TABLE), false, instead);
  }
});
