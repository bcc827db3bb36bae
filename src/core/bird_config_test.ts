import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type BirdInput, renderBirdConfig, renderMinimalBirdConfig } from "./bird_config.ts";
import { type BirdPeer, birdPeerName } from "./bird_peer.ts";
import { parseAddress, parsePrefix } from "./cidr.ts";
import type { BgpPeer } from "./node_config.ts";

function peer(options: Partial<BgpPeer> = {}, more: Partial<BirdPeer> = {}): BirdPeer {
  return {
    localAddress: parseAddress("2001:db8:25::11"),
    ...more,
    peer: {
      address: parseAddress("2001:db8:25::1"),
      asn: 65000,
      port: 179,
      passive: false,
      ttlSecurity: false,
      holdTime: 9,
      keepaliveTime: 3,
      gracefulRestart: { enabled: true, restartTime: 30 },
      prepend: 0,
      communities: [],
      importDefaultRoute: false,
      importLimit: 20000,
      ...options,
    },
  };
}

function input(options: Partial<BirdInput> = {}): BirdInput {
  return {
    routerId: "198.51.100.11",
    asn: 65001,
    allowLocalAs: false,
    nodePrefixes: [parsePrefix("2001:db8:f001::/64")],
    import: [],
    connected: [parsePrefix("2001:db8:25::/64")],
    reserved: [],
    peers: [peer()],
    ...options,
  };
}

Deno.test("renderBirdConfig() gives equal bytes when order and repetitions differ", () => {
  const prefixes = ["2001:db8:f001::/64", "10.244.1.0/24", "2001:db8:f001:1::/64"].map(parsePrefix);
  const rules = ["2001:db8:a::/48", "2001:db8:b::/48"].map((p) => ({ prefix: parsePrefix(p) }));
  const peers = [peer(), peer({ address: parseAddress("2001:db8:25::2") })];
  const forward = input({ nodePrefixes: prefixes, import: rules, connected: prefixes, peers });
  const backward = input({
    nodePrefixes: [...prefixes, ...prefixes].reverse(),
    import: rules.toReversed(),
    connected: prefixes.toReversed(),
    peers: peers.toReversed(),
  });
  assertEquals(renderBirdConfig(backward), renderBirdConfig(forward));
});

Deno.test("renderBirdConfig() has no limit whose action costs a session", () => {
  const limits = renderBirdConfig(input()).match(/^.*\blimit\b.*\baction\b.*$/gm)?.map((line) =>
    line.trim()
  );
  assertEquals(limits, ["import limit 20000 action block;"]);
});

Deno.test("renderMinimalBirdConfig() has the device protocol of every other configuration", () => {
  // Under another name BIRD would forget the links and see them again at its next scan, 10 s later.
  const device = (text: string): string => /^protocol device .*$/m.exec(text)![0];
  assertEquals(device(renderMinimalBirdConfig("1.2.3.4")), device(renderBirdConfig(input())));
});

Deno.test("renderBirdConfig() names a peer's protocol after its address when peers come and go", () => {
  const other = peer({ address: parseAddress("2001:db8:25::") });
  const name = "protocol bgp flock_bgp6_2001_db8_25__1 from";
  assertStringIncludes(renderBirdConfig(input()), name);
  assertStringIncludes(renderBirdConfig(input({ peers: [other, peer()] })), name);
  assertEquals(birdPeerName(parseAddress("198.51.100.1")), "flock_bgp4_198_51_100_1");
});

Deno.test("renderBirdConfig() hides the password when asked", () => {
  const secret = input({ peers: [peer({}, { password: "swordfish" })] });
  assertStringIncludes(renderBirdConfig(secret), 'password "swordfish";');
  assert(!renderBirdConfig(secret, { redact: true }).includes("swordfish"));
  assertStringIncludes(renderBirdConfig(secret, { redact: true }), 'password "redacted";');
});

Deno.test("renderBirdConfig() renders no BGP when there is no AS number or no peer", () => {
  for (const without of [input({ asn: undefined }), input({ peers: [] })]) {
    const text = renderBirdConfig(without);
    assert(!text.includes("bgp"), text);
    assertStringIncludes(text, "protocol kernel flock_kernel6");
  }
});

Deno.test("renderBirdConfig() learns other routes only when a peer is several hops away", () => {
  assert(!renderBirdConfig(input()).includes("flock_direct"));
  const far = renderBirdConfig(input({ peers: [peer({ multihop: 2 })] }));
  assertStringIncludes(far, "protocol direct flock_direct");
  assertStringIncludes(far, "multihop 2;");
});

Deno.test("renderBirdConfig() accepts a default route of that peer only when told", () => {
  const text = renderBirdConfig(input({
    peers: [
      peer(),
      peer({ address: parseAddress("2001:db8:25::2"), importDefaultRoute: true }),
    ],
  }));
  const [, first, second] = text.split("protocol bgp ");
  assertStringIncludes(first ?? "", "if net = ::/0 then reject;");
  assertStringIncludes(second ?? "", "if net = ::/0 then accept;");
});

Deno.test("renderBirdConfig() announces nothing of a family when the guard names none of it", () => {
  const text = renderBirdConfig(input({ announceAllowed: [parsePrefix("203.0.113.0/24")] }));
  const body = (v: number): string =>
    text.split(`function flock_may_announce${v}()`)[1]?.split("\n}")[0] ?? "";
  assertStringIncludes(body(4), "return net ~ [ 203.0.113.0/24{32,32} ];");
  assert(body(6).trimEnd().endsWith("return false;"), body(6));
});

Deno.test("renderMinimalBirdConfig() holds a router id, the device protocol and no route", () => {
  const text = renderMinimalBirdConfig("1.2.3.4");
  assertStringIncludes(text, "router id 1.2.3.4;");
  assertEquals([...text.matchAll(/^protocol (\S+)/gm)].map((m) => m[1]), ["device"]);
});

Deno.test("renderBirdConfig() refuses what cannot be a session or cannot be written", async (t) => {
  const a = parseAddress;
  const cases: readonly (readonly [string, BirdInput, typeof Error, string])[] = [
    ["router id text", input({ routerId: "1.2.3.4; }" }), SyntaxError, "Cannot parse address"],
    ["router id 0", input({ routerId: "0.0.0.0" }), SyntaxError, 'router id "0.0.0.0"'],
    ["router id IPv6", input({ routerId: "::1" }), SyntaxError, 'router id "::1"'],
    ["own AS number", input({ asn: 0 }), RangeError, 'AS number "0"'],
    ["AS number", input({ peers: [peer({ asn: 2 ** 32 })] }), RangeError, "AS number"],
    ["fraction", input({ peers: [peer({ med: 1.5 })] }), RangeError, 'MED "1.5"'],
    ["NaN", input({ peers: [peer({ port: NaN })] }), RangeError, 'port "NaN"'],
    ["hold time", input({ peers: [peer({ holdTime: 2 })] }), RangeError, "hold time is 2"],
    ["keepalive", input({ peers: [peer({ keepaliveTime: 10 })] }), RangeError, "keepalive time"],
    ["link-local", input({ peers: [peer({ address: a("fe80::1") })] }), RangeError, "link-local"],
    ["family", input({ peers: [peer({ address: a("192.0.2.1") })] }), RangeError, "another family"],
    [
      "local address",
      input({ peers: [peer({}, { localAddress: a("fe80::11") })] }),
      RangeError,
      'local address "fe80::11"',
    ],
    [
      "itself",
      input({ peers: [peer({}, { localAddress: a("2001:db8:25::1") })] }),
      RangeError,
      "its own local address",
    ],
    ["twice", input({ peers: [peer(), peer({ asn: 65001 })] }), RangeError, "in the list twice"],
    [
      "ge",
      input({ import: [{ prefix: parsePrefix("2001:db8::/32"), ge: 16 }] }),
      RangeError,
      'ge of import rule "2001:db8::/32" "16"',
    ],
    [
      "le",
      input({ import: [{ prefix: parsePrefix("2001:db8::/32"), ge: 48, le: 40 }] }),
      RangeError,
      'le of import rule "2001:db8::/32" "40"',
    ],
    ...["65536:1", "1:2:4294967296", "1:2); reject; #", "no-export", "1", "1:2:3:4", "-1:1"].map((
      text,
    ) =>
      [
        `community ${text}`,
        input({ peers: [peer({ communities: [text] })] }),
        SyntaxError,
        `Cannot render community ${JSON.stringify(text)}`,
      ] as const
    ),
    ...([
      ["", "it is empty"],
      ['a"; }', "a double quote"],
      ["a\n", "a line break"],
      ["a\0b", "control character"],
      ["a\ud800", "not valid Unicode"],
      ["x".repeat(81), "81 bytes"],
      ["\u00fc".repeat(41), "82 bytes"],
    ] as const).map(([password, why]) =>
      [
        `password with ${why}`,
        input({ peers: [peer({}, { password })] }),
        SyntaxError,
        why,
      ] as const
    ),
  ];
  for (const [name, bad, type, message] of cases) {
    await t.step(name, () => {
      const error = assertThrows(() => renderBirdConfig(bad), type, message);
      assert(error.message.startsWith("Cannot "), error.message);
    });
  }
});

Deno.test("renderBirdConfig() does not put a refused password into the message", () => {
  const error = assertThrows(
    () => renderBirdConfig(input({ peers: [peer({}, { password: 'sword"fish' })] })),
    SyntaxError,
  );
  assert(!error.message.includes("fish"), error.message);
});
