import { assertEquals } from "@std/assert";
import { parseAddress, parsePrefix } from "./cidr.ts";
import { claimRefusal, claimsOf } from "./node_claims.ts";
import type { NodeConfigObject } from "./objects.ts";

function nodeConfig(name: string, spec: unknown): NodeConfigObject {
  return { name, annotations: {}, spec };
}

const CLAIMS = claimsOf({
  nodeConfigs: [
    nodeConfig("n2", {
      cidr6: ["2001:db8:f002::/64", "no prefix", 7],
      cidr4: ["10.244.2.0/24"],
      bgp: {
        peers: [
          { address: "198.51.100.9", localAddress: "198.51.100.12" },
          { address: "nobody" },
          "no peer",
        ],
      },
    }),
    nodeConfig("default", { cidr4: ["10.0.0.0/8"], bgp: { peers: [{ address: "198.51.100.8" }] } }),
    nodeConfig("broken", { cidr6: "2001:db8::/64", bgp: { peers: 7 } }),
    nodeConfig("empty", undefined),
  ],
  nodes: [{
    name: "n3",
    podCidrs: ["10.244.3.0/24"],
    addresses: ["198.51.100.13", "2001:db8:25::13"],
  }],
});

function refusal(address: string, own: readonly string[] = []): string | undefined {
  return claimRefusal(CLAIMS, parseAddress(address), own.map(parsePrefix));
}

Deno.test("claimRefusal() names what of which node an address is", () => {
  const cases: Readonly<Record<string, string | undefined>> = {
    "2001:db8:f002::77": 'in 2001:db8:f002::/64, a prefix of node "n2"',
    "10.244.2.77": 'in 10.244.2.0/24, a prefix of node "n2"',
    "10.244.3.1": 'in 10.244.3.0/24, a prefix of node "n3"',
    "198.51.100.12": 'an address of node "n2"',
    "198.51.100.13": 'an address of node "n3"',
    "2001:db8:25::13": 'an address of node "n3"',
    "198.51.100.9": 'a peer of node "n2"',
    "198.51.100.8": "a peer of other nodes",
    // The NodeConfig named default supplies no prefixes, and a bad one none that could be read.
    "10.245.0.1": undefined,
    "2001:db8::1": undefined,
    "198.51.100.14": undefined,
  };
  for (const [address, why] of Object.entries(cases)) assertEquals(refusal(address), why, address);
});

Deno.test("claimRefusal() leaves a node its own prefixes, unless another node's is inside", () => {
  assertEquals(refusal("10.244.2.77", ["10.244.2.0/24"]), undefined);
  assertEquals(refusal("10.244.2.77", ["10.244.2.64/26"]), undefined);
  assertEquals(
    refusal("10.244.2.77", ["10.244.0.0/16"]),
    'in 10.244.2.0/24, a prefix of node "n2"',
  );
  // Also inside the own prefix, a node's address is a node's address.
  assertEquals(refusal("198.51.100.12", ["198.51.100.0/24"]), 'an address of node "n2"');
});
