import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type Attachment, parseState, renderState, type StoredState } from "./attachment.ts";

const FULL: Attachment = {
  containerId: "c1",
  ifname: "eth0",
  namespace: "shop",
  podName: "web-0",
  podUid: "u1",
  ownerUid: "o1",
  hostIfname: "flock0a1b2c3d",
  netns: "/run/netns/x",
  ip6: "2001:db8::1",
  ip4: "172.25.214.2",
  anycast: ["2001:db8:ffff::1"],
  addresses: [],
  state: "committed",
  allocatedAt: "2026-01-01T00:00:00Z",
  result: { cniVersion: "1.1.0", ips: [] },
};

const STATE: StoredState = {
  node: "host001",
  bootId: "b1",
  lastGiven: { "172.25.214.0/24": "172.25.214.2" },
  attachments: [FULL],
};

Deno.test("renderState() writes the documented fields", () => {
  assertEquals(JSON.parse(renderState(STATE)), {
    version: 1,
    node: "host001",
    boot_id: "b1",
    last_given: { "172.25.214.0/24": "172.25.214.2" },
    allocations: [{
      container_id: "c1",
      ifname: "eth0",
      namespace: "shop",
      pod_name: "web-0",
      pod_uid: "u1",
      owner_uid: "o1",
      host_ifname: "flock0a1b2c3d",
      netns: "/run/netns/x",
      ip6: "2001:db8::1",
      ip4: "172.25.214.2",
      anycast: ["2001:db8:ffff::1"],
      addresses: [],
      state: "committed",
      allocated_at: "2026-01-01T00:00:00Z",
      result: { cniVersion: "1.1.0", ips: [] },
    }],
  });
});

Deno.test("parseState() refuses what the agent cannot have written", () => {
  const damaged = (change: Partial<Record<string, unknown>>, more: object[] = []): string => {
    const raw = JSON.parse(renderState(STATE));
    raw.allocations = [{ ...raw.allocations[0], ...change }, ...more];
    return JSON.stringify(raw);
  };
  const second = { ...JSON.parse(renderState(STATE)).allocations[0], container_id: "c2" };
  for (
    const [text, says] of [
      [damaged({ host_ifname: "eth0" }), 'allocations[0].host_ifname is "eth0"'],
      [damaged({ ip4: "10.0.0.300" }), 'allocations[0] is "10.0.0.300"'],
      [damaged({ anycast: ["x"] }), 'allocations[0] is "x"'],
      [damaged({ result: null }), "allocations[0].result is null"],
      [damaged({}, [second]), "allocations[1] is a second one with 2001:db8::1"],
    ] as const
  ) assertThrows(() => parseState(text), TypeError, says);
});

Deno.test("renderState() gives equal bytes for equal states, one line per attachment", () => {
  const other = { ...FULL, ifname: "eth1" };
  const text = renderState({ ...STATE, attachments: [FULL, other] });
  assertEquals(text, renderState({ ...STATE, attachments: [other, FULL] }));
  assertEquals(text.split("\n").filter((line) => line.includes("container_id")).length, 2);
  assertEquals(JSON.parse(renderState({ ...STATE, attachments: [] })).allocations, []);
});

Deno.test("parseState() gives back what was rendered", () => {
  const text = fc.string({ unit: "binary-ascii" });
  const attachment = fc.record({
    containerId: text,
    ifname: fc.constant("eth0"),
    namespace: text,
    podName: text,
    podUid: text,
    ownerUid: text,
    hostIfname: fc.nat(0xffffffff).map((n) => `flock${n.toString(16).padStart(8, "0")}`),
    netns: text,
    anycast: fc.array(fc.ipV4()),
    asked: fc.array(text),
    network: text,
    state: fc.constantFrom("pending" as const, "committed" as const),
    allocatedAt: text,
    result: fc.dictionary(fc.string(), fc.jsonValue())
      .map((value): unknown => JSON.parse(JSON.stringify(value))),
  }, {
    requiredKeys: [
      "result",
      "containerId",
      "ifname",
      "namespace",
      "podName",
      "podUid",
      "hostIfname",
      "netns",
      "state",
      "allocatedAt",
    ],
  });
  // No two have an address in common.
  const list = fc.uniqueArray(attachment, { selector: (a) => a.containerId }).map((all) =>
    all.map((a, n): Attachment => ({
      ...a,
      ip6: `2001:db8::${(n + 1).toString(16)}`,
      ip4: `10.0.${n >> 8}.${n & 255}`,
      addresses: [`2001:db8:1::${(n + 1).toString(16)}`],
    }))
  );
  fc.assert(
    fc.property(list, text, (attachments, node) => {
      const parsed = parseState(renderState({ ...STATE, node, attachments }));
      assertEquals(parsed.node, node);
      const byId = (a: Attachment, b: Attachment): number => a.containerId < b.containerId ? -1 : 1;
      assertEquals(parsed.attachments.toSorted(byId), attachments.toSorted(byId));
    }),
    { numRuns: 25 },
  );
});

Deno.test("parseState() ignores unknown fields and a missing last_given", () => {
  const raw = JSON.parse(renderState(STATE));
  delete raw.last_given;
  raw.later = 1;
  raw.allocations[0].later = 1;
  raw.allocations[0].ip4 = null;
  const { ip4: _, ...rest } = FULL;
  assertEquals(parseState(JSON.stringify(raw)), { ...STATE, lastGiven: {}, attachments: [rest] });
});

Deno.test("parseState() names what is wrong and where", async (t) => {
  const good = renderState(STATE);
  const changed = (change: (raw: Record<string, unknown>) => void): string => {
    const raw = JSON.parse(good);
    change(raw);
    return JSON.stringify(raw);
  };
  const entry = (field: string, value: unknown): string =>
    changed((raw) => (raw.allocations as Record<string, unknown>[])[0]![field] = value);
  const cases: readonly [string, string, typeof SyntaxError | typeof TypeError, string][] = [
    ["empty", "", SyntaxError, "it is not JSON at line 1 column 1"],
    ["zeros", "\0\0\0\0", SyntaxError, "it is not JSON at line 1 column 1"],
    ["text", "hello", SyntaxError, "it is not JSON at line 1 column 1"],
    ["one byte changed", '{\n "a": 1;\n}', SyntaxError, "it is not JSON at line 2 column 8"],
    ["word", '{\n "a": nix}', SyntaxError, "it is not JSON at line 2 column 8"],
    ["cut off", '{\n "a": "x', SyntaxError, "it is not JSON at line 2 column 9"],
    ["more after it", "{}\n{}", SyntaxError, "it is not JSON at line 2 column 1"],
    ["a list", "[]", TypeError, "the file is [], not an object"],
    ["null", "null", TypeError, "the file is null, not an object"],
    ["version 2", changed((r) => r.version = 2), TypeError, "version is 2, not 1"],
    ["version text", changed((r) => r.version = "1"), TypeError, 'version is "1", not 1'],
    ["no version", "{}", TypeError, "version is missing, not 1"],
    ["no node", changed((r) => delete r.node), TypeError, "node is missing, not a text"],
    ["boot_id", changed((r) => r.boot_id = 7), TypeError, "boot_id is 7, not a text"],
    ["no list", changed((r) => delete r.allocations), TypeError, "allocations is missing"],
    ["list a map", changed((r) => r.allocations = {}), TypeError, "allocations is {}, not a list"],
    ["last_given", changed((r) => r.last_given = []), TypeError, "last_given is [], not an object"],
    [
      "last_given value",
      changed((r) => r.last_given = { "10.0.0.0/8": 1 }),
      TypeError,
      'last_given["10.0.0.0/8"] is 1',
    ],
    [
      "entry null",
      changed((r) => r.allocations = [null]),
      TypeError,
      "allocations[0] is null, not an object",
    ],
    [
      "twice",
      changed((r) => r.allocations = (r.allocations as unknown[]).concat(r.allocations)),
      TypeError,
      'allocations[1] is a second "c1/eth0"',
    ],
    ["container_id", entry("container_id", 1), TypeError, "allocations[0].container_id is 1"],
    ["netns", entry("netns", undefined), TypeError, "allocations[0].netns is missing, not a text"],
    ["ip6", entry("ip6", {}), TypeError, "allocations[0].ip6 is {}, not a text"],
    ["anycast", entry("anycast", "x"), TypeError, 'allocations[0].anycast is "x", not a list'],
    ["anycast item", entry("anycast", ["x", 1]), TypeError, "allocations[0].anycast[1] is 1"],
    ["state", entry("state", "done"), TypeError, 'state is "done", not "pending" or "committed"'],
  ];
  for (const [name, text, type, message] of cases) {
    await t.step(name, () => {
      const error = assertThrows(() => parseState(text), type);
      assert(error.message.includes(message), error.message);
    });
  }
});

Deno.test("parseState() refuses a file cut off anywhere", () => {
  const text = renderState(STATE);
  for (let length = 0; length < text.length - 2; length++) {
    assertThrows(() => parseState(text.slice(0, length)), SyntaxError);
  }
});
