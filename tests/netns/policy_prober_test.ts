/**
 * The prober itself: without rules everything comes through, and with rules written by hand exactly what
 * they drop does not.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { formatAddress, parseAddress } from "../../src/core/cidr.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { type Outcome, PolicyProber, type Probe, type ProbeHost } from "./policy_prober.ts";
import { forgetFlows } from "./sockets.ts";
import { createTestLab, waitRoutes } from "./test_lab.ts";

const PORTS = [80, 81, 82] as const;

testWith("netns: the prober tells what comes through from what is dropped", [
  "root",
  "bird",
], async (t) => {
  await using lab = await createTestLab({ executable: EXECUTABLE });
  await lab.start();
  await waitRoutes(lab);
  const hosts = await attachPods(lab);
  const client = Object.values(lab.plan.client.addresses);
  hosts.push({ name: "client", netnsPath: lab.client.netnsPath, addresses: client });
  using prober = new PolicyProber(hosts, PORTS);
  const probes = allPairs(hosts);

  await t.step("all of a thousand, in less than three seconds", async () => {
    const began = performance.now();
    const outcomes = await prober.run(probes);
    const took = performance.now() - began;
    assertEquals(outcomes.filter(({ answered }) => !answered), []);
    for (const { probe, arrived } of outcomes) {
      assertEquals(arrived, hosts.find(({ addresses }) => addresses.includes(probe.to))?.name);
    }
    assert(probes.length >= 1_000, `${probes.length} probes`);
    assert(took < 3_000, `${probes.length} probes took ${took} ms`);
  });

  await t.step("exactly what is not dropped", async () => {
    const n1 = lab.nodes[0]!;
    // The first pod's link; what is dropped on the way back arrives and is not answered.
    const link = await linkTo(lab, hosts[0]!.addresses[0]!);
    await n1.exec(["nft", "-f", "-"], {
      stdin: `table inet by_hand {
        chain forward {
        type filter hook forward priority 0;
        oifname "${link}" tcp dport 81 ct state new drop
        oifname "${link}" udp dport 80-81 drop
        oifname "${link}" sctp dport 82 drop
        oifname "${link}" icmp type echo-request drop
        iifname "${link}" udp sport 82 drop
        }
      }`,
    });
    lab.nodes.forEach((node) => forgetFlows(node.netnsPath));
    const outcomes = await prober.run(probes.map((probe) => ({ ...probe, expected: true })));
    const toFirst = ({ probe }: Outcome): boolean => hosts[0]!.addresses.includes(probe.to);
    const dropped = ({ probe: { protocol, port, to } }: Outcome): boolean =>
      protocol === "tcp" && port === 81 || protocol === "udp" && port < 82 ||
      protocol === "sctp" && port === 82 || protocol === "icmp" && !to.includes(":");
    for (const outcome of outcomes) {
      const halfway = toFirst(outcome) && outcome.probe.protocol === "udp" &&
        outcome.probe.port === 82;
      const through = !(toFirst(outcome) && dropped(outcome));
      assertEquals([outcome.arrived !== undefined, outcome.answered], [
        through,
        through && !halfway,
      ], JSON.stringify(outcome));
    }
  });
});

async function attachPods(lab: Lab): Promise<ProbeHost[]> {
  const hosts: ProbeHost[] = [];
  for (const [i, node] of lab.nodes.entries()) {
    for (const name of ["a", "b", "c", "d"]) {
      const pod = await node.createPod({ name: `${name}${i}` });
      const { ips = [] } = await node.add(pod);
      const addresses = ips.map(({ address }) =>
        formatAddress(parseAddress(address.split("/")[0]!))
      );
      hosts.push({ name: pod.key, netnsPath: pod.netnsPath, addresses });
    }
  }
  return hosts;
}

function allPairs(hosts: readonly ProbeHost[]): Probe[] {
  const pairs = hosts.flatMap((from) =>
    hosts.filter((to) => to !== from).flatMap((to) =>
      from.addresses.flatMap((source) =>
        to.addresses.filter((address) => address.includes(":") === source.includes(":"))
          .map((address) => ({ host: from.name, from: source, to: address }))
      )
    )
  );
  return pairs.flatMap((pair): Probe[] => [
    ...(["tcp", "udp", "sctp"] as const).flatMap((protocol) =>
      PORTS.map((port) => ({ ...pair, protocol, port }))
    ),
    { ...pair, protocol: "icmp", port: 0 },
  ]);
}

async function linkTo(lab: Lab, address: string): Promise<string> {
  const [route] = await lab.nodes[0]!.ipJson("route", "get", address);
  return String(route?.dev);
}
