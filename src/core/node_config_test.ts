import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatAddress, formatPrefix } from "./cidr.ts";
import { mergeDefault, mergePodCidrs, type NodeConfig, parseNodeConfig } from "./node_config.ts";
import type { NodeConfigObject } from "./objects.ts";

function objectOf(spec: unknown, annotations: Record<string, string> = {}): NodeConfigObject {
  return { name: "host001", annotations, spec };
}

function configOf(spec: unknown): NodeConfig {
  const { config, warnings } = parseNodeConfig(objectOf(spec));
  assertEquals(warnings, []);
  return config;
}

function messageFor(spec: unknown): string {
  return (assertThrows(() => parseNodeConfig(objectOf(spec)), SyntaxError) as Error).message;
}

/** The message for a peer with these fields, the first of a spec that is good apart from it. */
function messageForPeer(peer: Record<string, unknown>): string {
  return messageFor({
    bgp: { asn: 65001, peers: [{ address: "2001:db8:25::1", asn: 65000, ...peer }] },
  });
}

const FULL = {
  cidr6: ["2001:db8:f001::/64"],
  cidr4: ["172.25.214.0/24"],
  defaults: { ipv6: true, ipv4: false },
  mtu: 1500,
  allowSpoofing: true,
  reserved: ["10.96.0.0/12"],
  bgp: {
    asn: 65001,
    allowLocalAS: true,
    routerID: "198.51.100.10",
    import: [{ cidr: "2001:db8::/32", ge: 32, le: 128 }],
    peers: [
      { address: "2001:db8:25::1", asn: 65000 },
      {
        address: "198.51.100.1",
        asn: 4200000000,
        port: 1790,
        passive: true,
        multihop: 2,
        ttlSecurity: false,
        holdTime: 30,
        keepaliveTime: 10,
        gracefulRestart: { enabled: false, restartTime: 60 },
        bfd: { enabled: true, interval: 100, multiplier: 5 },
        localAddress: "198.51.100.10",
        localPreference: 0,
        med: 4294967295,
        prepend: 2,
        communities: ["65001:100", "65001:1:2"],
        importDefaultRoute: true,
        importLimit: 5,
        passwordSecretRef: { namespace: "kube-system", name: "flock-bgp", key: "password" },
      },
    ],
  },
  announce: { allowed: [{ cidr: "2001:db8:ffff::/48", namespaces: ["edge-*"] }] },
};

Deno.test("parseNodeConfig() fills in the defaults when only the least is written", () => {
  const config = configOf({
    cidr6: ["2001:db8:f001::/64"],
    cidr4: ["172.25.214.0/24"],
    bgp: { asn: 65001, peers: [{ address: "2001:db8:25::1", asn: 65000 }] },
  });
  assertEquals(config.cidr6.map(formatPrefix), ["2001:db8:f001::/64"]);
  assertEquals(config.cidr4.map(formatPrefix), ["172.25.214.0/24"]);
  assertEquals(config.defaults, { ipv6: true, ipv4: true });
  assertEquals([config.mtu, config.allowSpoofing, config.reserved], [undefined, false, []]);
  assertEquals(config.announce.allowed, undefined);
  const { peers, ...bgp } = config.bgp;
  assertEquals(bgp, { asn: 65001, allowLocalAs: false, routerId: undefined, import: [] });
  const peer = peers[0];
  assertEquals(peer && formatAddress(peer.address), "2001:db8:25::1");
  assertEquals({ ...peer, address: undefined }, {
    address: undefined,
    asn: 65000,
    port: 179,
    passive: false,
    ttlSecurity: false,
    holdTime: 9,
    keepaliveTime: 3,
    gracefulRestart: { enabled: true, restartTime: 30 },
    bfd: undefined,
    localAddress: undefined,
    prepend: 0,
    communities: [],
    importDefaultRoute: false,
    importLimit: 20000,
  });
});

Deno.test("parseNodeConfig() keeps every field that is written", () => {
  const { config, warnings } = parseNodeConfig(
    objectOf(FULL, { "flock.fritzlab.net/ip-algo": "app" }),
  );
  assertEquals(warnings, []);
  assertEquals(config.ipAlgo, "app");
  assertEquals(config.defaults, { ipv6: true, ipv4: false });
  assertEquals([config.mtu, config.allowSpoofing], [1500, true]);
  assertEquals(config.reserved.map(formatPrefix), ["10.96.0.0/12"]);
  assertEquals(config.bgp.allowLocalAs, true);
  assertEquals(config.bgp.routerId && formatAddress(config.bgp.routerId), "198.51.100.10");
  const [rule] = config.bgp.import;
  assertEquals([rule && formatPrefix(rule.prefix), rule?.ge, rule?.le], ["2001:db8::/32", 32, 128]);
  const [allowed] = config.announce.allowed ?? [];
  assertEquals(allowed?.namespaces, ["edge-*"]);
  const { address, localAddress, ...rest } = config.bgp.peers[1] ?? {};
  assertEquals(address && formatAddress(address), "198.51.100.1");
  assertEquals(localAddress && formatAddress(localAddress), "198.51.100.10");
  const { address: _1, localAddress: _2, bfd: _3, ...written } = FULL.bgp.peers[1] ?? {};
  assertEquals(rest, { ...written, bfd: { interval: 100, multiplier: 5 } });
});

Deno.test("parseNodeConfig() chooses keepalive and BFD by what is written", () => {
  const peerOf = (fields: Record<string, unknown>) =>
    configOf({ bgp: { asn: 1, peers: [{ address: "198.51.100.1", asn: 2, ...fields }] } })
      .bgp.peers[0];
  for (const [holdTime, keepaliveTime] of [[0, 0], [3, 1], [8, 2], [9, 3], [240, 3]]) {
    assertEquals(peerOf({ holdTime })?.keepaliveTime, keepaliveTime);
  }
  assertEquals(peerOf({ bfd: { enabled: true } })?.bfd, { interval: 300, multiplier: 3 });
  assertEquals(peerOf({ bfd: {} })?.bfd, { interval: 300, multiplier: 3 });
  assertEquals(peerOf({ bfd: { enabled: false, interval: 100 } })?.bfd, undefined);
});

Deno.test("parseNodeConfig() takes null and nothing as left out", () => {
  assertEquals(configOf(undefined), configOf({}));
  assertEquals(configOf({ mtu: null, bgp: { asn: null, peers: null } }), configOf({ bgp: {} }));
});

Deno.test("parseNodeConfig() names every bad field with path and value", () => {
  const message = messageFor({
    cidr6: ["2001:db8::/64", "172.25.0.0/24"],
    cidr4: "172.25.214.0/24",
    mtu: 1279,
    bgp: {
      asn: 0,
      peers: [
        { address: "198.51.100.1" },
        { address: 'x}"', asn: 65000, multihop: 2, ttlSecurity: true, holdTime: "9" },
        { address: "198.51.100.1", asn: 65000, holdTime: 2 },
      ],
    },
    announce: { allowed: [{ cidr: "2001:db8::/48", namespaces: ["Edge"] }] },
  });
  assertEquals(message.startsWith('Cannot use NodeConfig "host001": '), true);
  const problems = message.slice('Cannot use NodeConfig "host001": '.length).split("; ");
  assertEquals(problems.sort(), [
    'spec.announce.allowed[0].namespaces[0] "Edge": it does not match /^[-a-z0-9*]+$/',
    "spec.bgp.asn 0: it is under 1",
    "spec.bgp.peers[0].asn: it is missing",
    'spec.bgp.peers[1].address "x}\\"": it is neither IPv4 nor IPv6',
    'spec.bgp.peers[1].holdTime "9": it is not a number',
    "spec.bgp.peers[1].ttlSecurity true: it excludes multihop",
    'spec.bgp.peers[2].address "198.51.100.1": it is the address of peers[0] too',
    "spec.bgp.peers[2].holdTime 2: it is neither 0 nor 3 or more",
    'spec.cidr4 "172.25.214.0/24": it is not a list',
    'spec.cidr6[1] "172.25.0.0/24": it is not IPv6',
    "spec.mtu 1279: it is under 1280",
  ]);
});

Deno.test("parseNodeConfig() refuses a peer when a field breaks its rule", () => {
  const table: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ address: "fe80::1" }, 'address "fe80::1": it is link-local'],
    [{ address: "127.0.0.1" }, 'address "127.0.0.1": it is loopback'],
    [{ address: "" }, 'address "": it is empty'],
    [{ asn: 23456 }, "asn 23456: it is AS_TRANS"],
    [{ asn: 4294967296 }, "asn 4294967296: it is over 4294967295"],
    [{ asn: 1.5 }, "asn 1.5: it is not a whole number"],
    [{ asn: "65000" }, 'asn "65000": it is not a number'],
    [{ port: 0 }, "port 0: it is under 1"],
    [{ port: 65536 }, "port 65536: it is over 65535"],
    [{ multihop: 0 }, "multihop 0: it is under 1"],
    [{ multihop: 1, ttlSecurity: true }, "ttlSecurity true: it excludes multihop"],
    [{ holdTime: 1 }, "holdTime 1: it is neither 0 nor 3 or more"],
    [{ holdTime: 65536 }, "holdTime 65536: it is over 65535"],
    [{ keepaliveTime: 4 }, "keepaliveTime 4: it is over a third of holdTime 9"],
    [{ keepaliveTime: 0 }, "keepaliveTime 0: it is 0 while holdTime is 9"],
    [{ keepaliveTime: 1, holdTime: 0 }, "keepaliveTime 1: it is over a third of holdTime 0"],
    [
      { gracefulRestart: { restartTime: 4096 } },
      "gracefulRestart.restartTime 4096: it is over 4095",
    ],
    [{ bfd: { interval: 0 } }, "bfd.interval 0: it is under 10"],
    [{ bfd: true }, "bfd true: it is not an object"],
    [{ localAddress: "198.51.100.1" }, 'localAddress "198.51.100.1": it is not of the family'],
    [{ localAddress: "2001:db8:25::1" }, 'localAddress "2001:db8:25::1": it is the peer\'s own'],
    [{ med: -1 }, "med -1: it is under 0"],
    [{ prepend: 17 }, "prepend 17: it is over 16"],
    [{ communities: ["65536:1"] }, 'communities[0] "65536:1": a part is over 65535'],
    [{ communities: ["1:2:4294967296"] }, 'communities[0] "1:2:4294967296": a part is over'],
    [{ communities: ["1"] }, 'communities[0] "1": it is neither a:b nor a:b:c'],
    [{ communities: ["1:2:3:4"] }, "it is neither a:b nor a:b:c"],
    [{ communities: ["(1,2)"] }, "it is neither a:b nor a:b:c"],
    [{ importLimit: 0 }, "importLimit 0: it is under 1"],
    [
      { passwordSecretRef: { namespace: "a", name: "b" } },
      "passwordSecretRef.key: it is missing",
    ],
    [
      { passwordSecretRef: { namespace: "../a", name: "b", key: "c" } },
      'passwordSecretRef.namespace "../a": it does not match',
    ],
  ];
  for (const [fields, expected] of table) {
    const message = messageForPeer(fields);
    assert(message.includes(`spec.bgp.peers[0].`) && message.includes(expected), message);
    assertEquals(message.includes("; "), false, message);
  }
});

Deno.test("parseNodeConfig() refuses a spec when a field breaks its rule", () => {
  const table: readonly (readonly [unknown, string])[] = [
    [[], "spec []: it is not an object"],
    ["}", 'spec "}": it is not an object'],
    [{ cidr6: ["2001:db8::/121"] }, 'spec.cidr6[0] "2001:db8::/121": it is smaller than /120'],
    [{ cidr4: ["172.25.0.0/31"] }, 'spec.cidr4[0] "172.25.0.0/31": it is smaller than /30'],
    [{ cidr4: ["172.25.0.0"] }, 'spec.cidr4[0] "172.25.0.0": it is not address/length'],
    [{ cidr4: ["2001:db8::/64"] }, 'spec.cidr4[0] "2001:db8::/64": it is not IPv4'],
    [{ cidr6: ["ff00::/16"] }, 'spec.cidr6[0] "ff00::/16": it is not unicast'],
    [{ cidr6: ["::/0"] }, 'spec.cidr6[0] "::/0": it is not unicast'],
    [{ cidr4: ["160.0.0.0/4"] }, 'spec.cidr4[0] "160.0.0.0/4": it is not unicast'],
    [
      { cidr6: ["2001:db8::/64", "2001:db9::/64", "2001:db8:0:0:1::/80"] },
      'spec.cidr6[2] "2001:db8:0:0:1::/80": it overlaps item 0',
    ],
    [{ mtu: 65536 }, "spec.mtu 65536: it is over 65535"],
    [{ defaults: { ipv6: "true" } }, 'spec.defaults.ipv6 "true": it is not true or false'],
    [{ reserved: ["10.96.0.0"] }, 'spec.reserved[0] "10.96.0.0": it is not address/length'],
    [{ reserved: Array(65).fill("10.96.0.0/12") }, "it has more than 64 items"],
    [{ bgp: { routerID: "2001:db8::1" } }, "spec.bgp.routerID"],
    [{ bgp: { routerID: "0.0.0.0" } }, 'spec.bgp.routerID "0.0.0.0": it is zero'],
    [
      { bgp: { peers: [{ address: "198.51.100.1", asn: 1 }] } },
      "spec.bgp.asn: it is missing and there are peers",
    ],
    [
      {
        bgp: {
          asn: 1,
          peers: [{ address: "2001:db8::1", asn: 1 }, { address: "2001:DB8:0::1", asn: 2 }],
        },
      },
      'spec.bgp.peers[1].address "2001:DB8:0::1": it is the address of peers[0] too',
    ],
    [
      { bgp: { import: [{ cidr: "2001:db8::/32", ge: 31 }] } },
      "spec.bgp.import[0].ge 31: it is under the prefix's length 32",
    ],
    [
      { bgp: { import: [{ cidr: "10.0.0.0/8", ge: 24, le: 16 }] } },
      "spec.bgp.import[0].le 16: it is under 24",
    ],
    [
      { bgp: { import: [{ cidr: "10.0.0.0/8", le: 33 }] } },
      "spec.bgp.import[0].le 33: it is over 32",
    ],
    [
      { announce: { allowed: [{ cidr: "2001:db8::/48", namespaces: [] }] } },
      "spec.announce.allowed[0].namespaces []: it is empty",
    ],
  ];
  for (const [spec, expected] of table) {
    const message = messageFor(spec);
    assert(message.includes(expected), message);
    assertEquals(message.includes("; "), false, message);
  }
});

Deno.test("parseNodeConfig() warns with the path when a field is not known", () => {
  const { config, warnings } = parseNodeConfig(objectOf({
    cidr6: ["2001:db8::/64"],
    vlan: 5,
    defaults: { ipv5: true },
    bgp: { asn: 1, peers: [{ address: "198.51.100.1", asn: 2, weight: 3 }] },
  }));
  assertEquals(config.bgp.peers.length, 1);
  assertEquals(warnings, [
    'Ignored field "spec.vlan": it is not known',
    'Ignored field "spec.defaults.ipv5": it is not known',
    'Ignored field "spec.bgp.peers[0].weight": it is not known',
  ]);
});

Deno.test("parseNodeConfig() gives a short error on one line for hostile strings", () => {
  for (const text of ["}", ";", "a\nb", "\0", "x".repeat(1 << 20), "1:".repeat(1 << 19)]) {
    const message = messageFor({
      cidr6: [text],
      reserved: [text],
      bgp: {
        asn: 1,
        routerID: text,
        import: [{ cidr: text }],
        peers: [{
          address: text,
          asn: 1,
          localAddress: text,
          communities: [text],
          passwordSecretRef: { namespace: text, name: text, key: text },
        }],
      },
      announce: { allowed: [{ cidr: text, namespaces: [text] }] },
    });
    assertEquals(message.split("; spec.").length, 12, message);
    assert(message.length < 3000 && !/[\n\0]/.test(message), message);
  }
});

Deno.test("parseNodeConfig() bounds its message when there are very many faults", () => {
  const peers = Array.from({ length: 30 }, () => ({ address: "x", asn: 0, port: 0, holdTime: 1 }));
  assert(messageFor({ bgp: { asn: 1, peers } }).endsWith("; and 20 more"));
  const many = messageFor({ cidr6: Array(1_000_000).fill("x") });
  assert(many.includes("it has more than 16 items") && many.length < 10_000, many.slice(0, 500));
});

Deno.test("parseNodeConfig() throws nothing but SyntaxError, whatever the spec", () => {
  const leaf = fc.oneof(
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constantFrom(null, "2001:db8::/64", "198.51.100.1", "65001:1"),
  );
  const keys = [
    ...["cidr6", "cidr4", "defaults", "mtu", "reserved", "bgp", "announce", "allowed", "cidr"],
    ...["asn", "peers", "address", "import", "ge", "le", "holdTime", "keepaliveTime", "bfd"],
    ...["communities", "__proto__", "constructor"],
  ];
  const { spec } = fc.letrec((tie) => ({
    spec: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie("spec"), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom(...keys), tie("spec"), { maxKeys: 8 }),
    ),
  }));
  fc.assert(
    fc.property(spec, spec, (own, fallback) => {
      const merged = mergeDefault(objectOf(own), objectOf(fallback));
      for (const object of [objectOf(own), merged]) {
        try {
          parseNodeConfig(object);
        } catch (error) {
          if (!(error instanceof SyntaxError)) throw error;
          assert(error.message.startsWith("Cannot use NodeConfig"));
        }
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("mergeDefault() supplies what a node leaves out, and nothing else", () => {
  const fallback = { ...objectOf(FULL, { "flock.fritzlab.net/ip-algo": "app" }), name: "default" };
  const own = objectOf({ cidr6: ["2001:db8:f002::/64"], mtu: null, bgp: { routerID: "1.2.3.4" } });
  const merged = mergeDefault(own, fallback);
  assertEquals(merged, {
    ...own,
    spec: {
      cidr6: ["2001:db8:f002::/64"],
      bgp: { routerID: "1.2.3.4", asn: 65001, peers: FULL.bgp.peers },
      defaults: FULL.defaults,
      mtu: 1500,
      announce: FULL.announce,
      reserved: FULL.reserved,
    },
  });
  const { cidr4: _, allowSpoofing: __, ...supplied } = FULL;
  const { asn, peers } = FULL.bgp;
  assertEquals(mergeDefault(objectOf({}), fallback).spec, {
    ...Object.fromEntries(Object.entries(supplied).filter(([key]) => key !== "cidr6")),
    bgp: { asn, peers },
  });
});

Deno.test("mergeDefault() leaves what a node says, false, zero and empty included", () => {
  const own = objectOf({
    defaults: { ipv4: false },
    mtu: 9000,
    reserved: [],
    announce: {},
    bgp: { asn: 65009, peers: [] },
  });
  assertEquals(mergeDefault(own, objectOf(FULL)).spec, own.spec);
  assertEquals(mergeDefault(own, undefined), own);
  assertEquals(mergeDefault(objectOf("x"), objectOf(FULL)).spec, "x");
});

Deno.test("mergePodCidrs() fills in the families that are left out", () => {
  const podCidrs = ["10.1.0.0/24", "2001:db8:f00d::/64", "10.2.0.0/24"];
  const cases = [
    [{ mtu: 1400 }, {
      mtu: 1400,
      cidr6: ["2001:db8:f00d::/64"],
      cidr4: ["10.1.0.0/24", "10.2.0.0/24"],
    }],
    [{ cidr6: ["2001:db8:1::/64"] }, {
      cidr6: ["2001:db8:1::/64"],
      cidr4: ["10.1.0.0/24", "10.2.0.0/24"],
    }],
    // Empty is not left out.
    [{ cidr4: [], cidr6: null }, { cidr4: [], cidr6: ["2001:db8:f00d::/64"] }],
    ["x", "x"],
  ] as const;
  for (const [own, merged] of cases) {
    assertEquals(mergePodCidrs(objectOf(own), podCidrs).spec, merged);
  }
  assertEquals(mergePodCidrs(objectOf({ mtu: 1400 }), []).spec, { mtu: 1400 });
});
