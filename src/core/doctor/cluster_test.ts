import { assertEquals } from "@std/assert";
import { idsOf, network, nodeConfig, route } from "../../../tests/doctor_facts.ts";
import type { NodeConfig } from "../node_config.ts";
import {
  judgeDesign,
  judgeDesignPath,
  judgeNodeConfigs,
  judgePrefixes,
  judgeRouterIds,
} from "./cluster.ts";
import type { ClusterFacts } from "./facts.ts";

function cluster(...configs: readonly NodeConfig[]): ClusterFacts {
  return { dir: "/m", configs, refused: [] };
}

/** Another node's, with its own prefixes. */
function other(spec: Readonly<Record<string, unknown>> = {}, name = "n2"): NodeConfig {
  return nodeConfig(
    { cidr6: ["2001:db8:f002::/64"], cidr4: ["10.244.2.0/24"], ...spec },
    name,
  );
}

Deno.test("judgeNodeConfigs() names what is refused, and a node without one", () => {
  const all = cluster(nodeConfig());
  assertEquals(judgeNodeConfigs(all, "n1"), []);
  assertEquals(judgeNodeConfigs(all, undefined), []);
  assertEquals(idsOf(judgeNodeConfigs(all, "n9")), ["node-config"]);
  const refused = judgeNodeConfigs({ ...all, refused: ['Cannot use NodeConfig "n9"'] }, "n9");
  assertEquals(refused.map(({ finding }) => finding), ['Cannot use NodeConfig "n9"']);
});

Deno.test("judgePrefixes() finds overlaps between nodes", () => {
  assertEquals(judgePrefixes(cluster(nodeConfig(), other())), []);
  const problems = judgePrefixes(
    cluster(nodeConfig(), other({ cidr4: ["10.244.0.0/16"] }), other({}, "n3")),
  );
  assertEquals(problems.map(({ finding }) => finding), [
    "nodes n1 and n2 overlap: 10.244.1.0/24, 10.244.0.0/16",
    "nodes n2 and n3 overlap: 2001:db8:f002::/64, 2001:db8:f002::/64",
    "nodes n2 and n3 overlap: 10.244.0.0/16, 10.244.2.0/24",
  ]);
});

Deno.test("judgeRouterIds() compares what is configured", () => {
  const id = { bgp: { routerID: "198.51.100.11" } };
  assertEquals(judgeRouterIds(cluster(nodeConfig(), other(), other({}, "n3"))), []);
  assertEquals(judgeRouterIds(cluster(nodeConfig(id), other())), []);
  assertEquals(idsOf(judgeRouterIds(cluster(nodeConfig(id), other(id)))), ["router-id"]);
});

Deno.test("judgeDesign() tells the designs by their AS numbers", async (t) => {
  const own = { bgp: { asn: 65002 } };
  const reflected = nodeConfig({
    bgp: { asn: 65000, peers: [{ address: "2001:db8:25::1", asn: 65000 }] },
  });
  const cases: readonly (readonly [string, NodeConfig, ClusterFacts | undefined])[] = [
    ["design a: nodes share", nodeConfig(), cluster(nodeConfig(), other())],
    ["design b: each node", nodeConfig(), cluster(nodeConfig(), other(own))],
    ["design c: nodes have the router's", reflected, undefined],
    ["design a or b", nodeConfig(), undefined],
    ["design a or b", nodeConfig(), cluster(nodeConfig())],
  ];
  for (const [beginning, config, all] of cases) {
    await t.step(beginning, () => {
      const problems = judgeDesign(config, all);
      assertEquals(idsOf(problems), ["design"]);
      assertEquals(
        typeof problems !== "string" && problems[0]!.finding.startsWith(beginning),
        true,
      );
    });
  }
  await t.step("no peers", () => {
    assertEquals(
      judgeDesign(nodeConfig({ bgp: { peers: [] } }), undefined),
      "the NodeConfig has no peers",
    );
  });
});

Deno.test("judgeDesignPath() wants a way to the other nodes in design a", () => {
  const all = cluster(nodeConfig(), other());
  const without = network({ routes: [route("::/0", { type: "unreachable" })] });
  const local = nodeConfig({ bgp: { allowLocalAS: true } });
  assertEquals(judgeDesignPath(nodeConfig(), all, network()), []);
  assertEquals(judgeDesignPath(local, all, without), []);
  assertEquals(judgeDesignPath(nodeConfig(), cluster(other({ bgp: { asn: 65002 } })), without), []);
  assertEquals(
    judgeDesignPath(nodeConfig(), all, without).map(({ finding }) => finding),
    ["IPv6", "IPv4"].map((f) => `nodes share AS 65001, and there is no ${f} default route`),
  );
  assertEquals(judgeDesignPath(nodeConfig({ cidr4: [] }), all, without).length, 1);
});
