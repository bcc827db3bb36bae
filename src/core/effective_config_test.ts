import { assertEquals } from "@std/assert";
import { configItems, type ConfigSources } from "./effective_config.ts";
import { mergeDefault, mergePodCidrs, parseNodeConfig } from "./node_config.ts";
import type { NodeConfigObject } from "./objects.ts";

const PEER = "2001:db8:25::1";
const NODE = { mtu: 1400, routerId: "198.51.100.11" };

function object(name: string, spec: unknown, annotations = {}): NodeConfigObject {
  return { name, spec, annotations };
}

/** Items by name: value and origin, as the agent would have them in force. */
function items(sources: ConfigSources, restored = false): ReadonlyMap<string, readonly unknown[]> {
  const { own, fallback, podCidrs } = sources;
  const { config } = parseNodeConfig(mergePodCidrs(mergeDefault(own, fallback), podCidrs));
  return new Map(
    configItems(config, restored ? undefined : sources, NODE)
      .map(({ name, value, from }) => [name, [value, from]]),
  );
}

Deno.test("configItems() says of each value which object it is from", () => {
  const found = items({
    own: object("n1", {
      cidr6: ["2001:db8:f001::/64"],
      allowSpoofing: true,
      defaults: { ipv6: true },
      bgp: { routerID: null, peers: [{ address: PEER, asn: 65000, med: 7 }] },
    }, { "flock.fritzlab.net/ip-algo": "app" }),
    fallback: object("default", {
      mtu: 9000,
      defaults: { ipv4: false },
      reserved: ["10.96.0.0/12"],
      // Only what a NodeConfig may take from it counts.
      allowSpoofing: false,
      bgp: { asn: 65001, peers: [{ address: "2001:db8::9", asn: 1, holdTime: 30 }] },
    }),
    podCidrs: ["10.244.1.0/24"],
  });
  const own = "NodeConfig n1";
  const fallback = "NodeConfig default";
  const builtIn = "built-in default";
  const expected: Readonly<Record<string, readonly unknown[]>> = {
    "spec.cidr6": [["2001:db8:f001::/64"], own],
    "spec.cidr4": [["10.244.1.0/24"], "Node podCIDRs"],
    "spec.defaults.ipv6": [true, own],
    // The own object's `defaults` are taken whole.
    "spec.defaults.ipv4": [true, builtIn],
    "spec.mtu": [9000, fallback],
    "spec.allowSpoofing": [true, own],
    "spec.reserved": [["10.96.0.0/12"], fallback],
    "spec.bgp.asn": [65001, fallback],
    "spec.bgp.allowLocalAS": [false, builtIn],
    "spec.bgp.routerID": ["198.51.100.11", "chosen by the agent"],
    [`spec.bgp.peers[${PEER}].med`]: [7, own],
    [`spec.bgp.peers[${PEER}].holdTime`]: [9, builtIn],
    [`spec.bgp.peers[${PEER}].localAddress`]: [null, builtIn],
    "spec.announce.allowed": [null, builtIn],
    "annotation flock.fritzlab.net/ip-algo": ["app", own],
  };
  for (const [name, value] of Object.entries(expected)) assertEquals(found.get(name), value, name);
});

Deno.test("configItems() says when a value is the node's, or of an earlier run", () => {
  const own = object("n1", { cidr6: ["2001:db8:f001::/64"] });
  const sources = { own, podCidrs: [] };
  assertEquals(items(sources).get("spec.mtu"), [1400, "MTU of the node's way out"]);
  assertEquals(items(sources).get("spec.cidr4"), [[], "built-in default"]);
  assertEquals(items(sources, true).get("spec.cidr6"), [
    ["2001:db8:f001::/64"],
    "last good NodeConfig (state directory)",
  ]);
});
