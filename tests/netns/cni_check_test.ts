/**
 * CHECK: whatever of an attachment is taken away or changed, on the pod's end or the node's, is noticed
 * and named; what later plugins may add is not.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import type { Pod, PodOptions } from "../../src/lab/pod.ts";
import { delay } from "../../src/lab/wait.ts";
import { testWith } from "../support.ts";
import { assertRefused, createCniHost, createTestPod } from "./cni_host.ts";
import { deafen } from "./node_probe.ts";

const PREFIX = "flock.fritzlab.net/";

/** Addresses that are known beforehand: primary, extra and anycast ones of both families. */
const OPTIONS: Partial<PodOptions> = {
  annotations: {
    [`${PREFIX}addresses`]: "2001:db8:f001::5, 10.244.1.77, 2001:db8:ffff::5, 203.0.113.205",
    [`${PREFIX}anycast`]: "2001:db8:ffff::a, 203.0.113.201",
  },
};
const ROUTED = [
  "2001:db8:f001::5/128",
  "10.244.1.77/32",
  "2001:db8:ffff::5/128",
  "203.0.113.205/32",
];
const ANYCAST = ["2001:db8:ffff::a/128", "203.0.113.201/32"];

interface Tamper {
  /** `ip` commands; `$dev` is the end's link. */
  readonly ip?: readonly string[];
  /** Path below /proc/sys and value. */
  readonly sysctl?: readonly [path: string, value: string];
  /** What CHECK has to name. */
  readonly says: string;
}

const IN_POD: Readonly<Record<string, Tamper>> = {
  ...Object.fromEntries(ROUTED.map((cidr) => [`address ${cidr}`, {
    ip: [`addr del ${cidr} dev $dev`],
    says: `address ${cidr} on eth0 is missing in the pod`,
  }])),
  ...Object.fromEntries(ANYCAST.map((cidr) => [`anycast ${cidr}`, {
    ip: [`addr del ${cidr} dev lo`],
    says: `address ${cidr} on lo is missing in the pod`,
  }])),
  "address with another length": {
    ip: ["addr del 203.0.113.205/32 dev $dev", "addr add 203.0.113.205/24 dev $dev"],
    says: "address 203.0.113.205/32 on eth0",
  },
  "address on the other link": {
    ip: ["addr del 2001:db8:ffff::a/128 dev lo", "addr add 2001:db8:ffff::a/128 dev $dev nodad"],
    says: "address 2001:db8:ffff::a/128 on lo",
  },
  "IPv6 default route": { ip: ["route del ::/0"], says: "route ::/0 via fe80::1 dev eth0" },
  "IPv4 default route": {
    ip: ["route del 0.0.0.0/0"],
    says: "route 0.0.0.0/0 via 169.254.1.1 dev eth0",
  },
  "IPv4 gateway's route": {
    ip: ["route del 169.254.1.1"],
    says: "route 169.254.1.1/32 dev eth0",
  },
  "IPv6 default route without its source": {
    ip: ["route replace ::/0 via fe80::1 dev $dev"],
    says: "route ::/0 via fe80::1 dev eth0 src 2001:db8:f001::5",
  },
  "IPv4 default route by another gateway": {
    ip: ["route replace default via 169.254.1.2 dev $dev onlink"],
    says: "route 0.0.0.0/0 via 169.254.1.1",
  },
  "default route in another table": {
    ip: ["route del ::/0", "route add ::/0 via fe80::1 dev $dev table 100"],
    says: "route ::/0 via fe80::1",
  },
  "IPv6 neighbor entry": { ip: ["neigh del fe80::1 dev $dev"], says: "neighbor entry fe80::1" },
  "IPv4 neighbor entry": {
    ip: ["neigh del 169.254.1.1 dev $dev"],
    says: "neighbor entry 169.254.1.1",
  },
  "neighbor entry of another address": {
    ip: ["neigh replace fe80::1 dev $dev lladdr 02:00:00:00:00:01 nud permanent"],
    says: "neighbor entry fe80::1",
  },
  "neighbor entry that expires": {
    ip: ["neigh change 169.254.1.1 dev $dev nud reachable"],
    says: "neighbor entry 169.254.1.1",
  },
  "link down": { ip: ["link set $dev down"], says: "link eth0 is down in the pod" },
  "lo down": { ip: ["link set lo down"], says: "link lo is down in the pod" },
  "hardware address": {
    ip: ["link set $dev address 02:00:00:00:00:01"],
    says: "link eth0 in the pod has hardware address 02:00:00:00:00:01, not 06:f0:",
  },
  "link renamed": {
    ip: ["link set $dev down", "link set $dev name eth9", "link set eth9 up"],
    says: "link eth0 is missing in the pod",
  },
  "link deleted": { ip: ["link del $dev"], says: " is missing on the node" },
  "IPv6 switched off": {
    sysctl: ["net/ipv6/conf/$dev/disable_ipv6", "1"],
    says: "sysctl net.ipv6.conf.eth0.disable_ipv6 is 1 in the pod, not 0",
  },
  "no probing for the MTU": {
    sysctl: ["net/ipv4/tcp_mtu_probing", "0"],
    says: "sysctl net.ipv4.tcp_mtu_probing is 0 in the pod, not 1",
  },
};

const ON_NODE: Readonly<Record<string, Tamper>> = {
  "IPv6 gateway": {
    ip: ["addr del fe80::1/64 dev $dev"],
    says: "address fe80::1/64 on flock",
  },
  "IPv4 gateway": {
    ip: ["addr del 169.254.1.1/32 dev $dev"],
    says: "address 169.254.1.1/32 on flock",
  },
  ...Object.fromEntries(ROUTED.map((cidr) => [`route ${cidr}`, {
    ip: [`route del ${cidr} dev $dev`],
    says: `route ${cidr} dev flock`,
  }])),
  "route to another link": {
    ip: ["route replace 10.244.1.77/32 dev eth0 proto 143 metric 16"],
    says: "route 10.244.1.77/32 dev flock",
  },
  "route of another protocol": {
    ip: ["route replace 10.244.1.77/32 dev $dev proto 98 metric 16"],
    says: "has protocol 98, not 143",
  },
  "announced route that is not": {
    ip: ["route replace 2001:db8:ffff::5/128 dev $dev proto 143 metric 16"],
    says: "has protocol 143, not 144",
  },
  "route with another metric": {
    ip: [
      "route del 10.244.1.77/32 dev $dev",
      "route add 10.244.1.77/32 dev $dev proto 143 metric 17",
    ],
    says: "route 10.244.1.77/32 dev flock",
  },
  ...Object.fromEntries(
    ROUTED.map((cidr) => cidr.split("/")[0]!).map((address) => [
      `neighbor entry ${address}`,
      { ip: [`neigh del ${address} dev $dev`], says: `neighbor entry ${address}` },
    ]),
  ),
  "neighbor entry of another address": {
    ip: ["neigh replace 10.244.1.77 dev $dev lladdr 02:00:00:00:00:01 nud permanent"],
    says: "neighbor entry 10.244.1.77",
  },
  "link down": { ip: ["link set $dev down"], says: " is down on the node" },
  "hardware address": {
    ip: ["link set $dev address 02:00:00:00:00:01"],
    says: "on the node has hardware address 02:00:00:00:00:01, not 02:f0:",
  },
  "alias changed": { ip: ["link set $dev alias somebody"], says: ' is "somebody"' },
  "alias removed": { ip: ['link set $dev alias ""'], says: ' is ""' },
  "link renamed": {
    ip: ["link set $dev down", "link set $dev name other0"],
    says: " is missing on the node",
  },
  "reverse path filter": {
    sysctl: ["net/ipv4/conf/$dev/rp_filter", "1"],
    says: ".rp_filter is 1 on the node, not 0",
  },
  "router advertisements": {
    sysctl: ["net/ipv6/conf/$dev/accept_ra", "2"],
    says: ".accept_ra is 2 on the node, not 0",
  },
};

for (const [where, table] of Object.entries({ "in the pod": IN_POD, "on the node": ON_NODE })) {
  testWith(`netns: CHECK names what was changed ${where}`, ["root", "bird"], async (t) => {
    await using host = await createCniHost();
    const { node } = host;
    await using made = await createTestPod(node, OPTIONS);
    const { pod } = made;
    await node.add(pod);
    // It would repair what is changed below before anybody could see it.
    await deafen(node);
    for (const [name, { ip = [], sysctl, says }] of Object.entries(table)) {
      await t.step(name, async () => {
        await node.check(pod);
        // The last ADD's pass may be to come: it would make links and routes whole again.
        if (where === "on the node" && ip.length > 0) {
          await restful(node);
        }
        const dev = where === "in the pod" ? "eth0" : hostIfname(pod);
        const end = where === "in the pod" ? pod : node;
        const fill = (text: string): string => text.replaceAll("$dev", dev);
        if (ip.length > 0) await end.ipBatch(ip.map(fill));
        if (sysctl !== undefined) {
          const [path, value] = sysctl;
          await end.exec(["sh", "-c", 'echo "$2" >"/proc/sys/$1"', "sh", fill(path), value]);
        }
        const conf = { prevResult: pod.result };
        assertRefused(await node.cni("CHECK", pod, { conf }), 104, says);

        // Whatever is missing, DEL and ADD make it whole.
        await node.del(pod);
        if (name === "link renamed" && end === node) await node.ip("link", "del", "other0");
        await node.add(pod);
        await node.check(pod);
      });
    }
  });
}

testWith("netns: CHECK leaves alone what other plugins add", ["root", "bird"], async () => {
  await using host = await createCniHost();
  const { node } = host;
  await using made = await createTestPod(node, OPTIONS);
  const { pod } = made;
  await node.add(pod);
  await pod.ipBatch([
    "link set eth0 mtu 1400",
    "addr add 2001:db8:99::1/64 dev eth0 nodad",
    "route add 203.0.113.0/26 via 169.254.1.1 dev eth0",
    "link add more0 type veth peer name more1",
    "neigh add fe80::2 dev eth0 lladdr 02:00:00:00:00:02 nud permanent",
  ]);
  const result = pod.result as unknown as {
    interfaces: unknown[];
    ips: unknown[];
    routes: unknown[];
  };
  const prevResult = {
    ...result,
    interfaces: [...result.interfaces, { name: "ifb0" }],
    ips: [...result.ips, { address: "2001:db8:99::1/64", interface: 1 }],
    routes: [...result.routes, { dst: "203.0.113.0/26" }],
  };
  const answer = await node.cni("CHECK", pod, { conf: { prevResult } });
  assertEquals([answer.code, answer.stdout], [0, ""]);
});

testWith("netns: CHECK compares prevResult, sandbox and container", ["root", "bird"], async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await using made = await createTestPod(node, OPTIONS);
  await using other = await createTestPod(node);
  const { pod } = made;
  await node.add(pod);
  await node.add(other.pod);
  const result = pod.result as unknown as {
    interfaces: { name: string }[];
    ips: { address: string }[];
  };
  for (const cidr of ROUTED) {
    await t.step(`prevResult without ${cidr}`, async () => {
      const ips = result.ips.filter(({ address }) => address !== cidr);
      assertEquals(ips.length, ROUTED.length - 1);
      const conf = { prevResult: { ...result, ips } };
      assertRefused(
        await node.cni("CHECK", pod, { conf }),
        104,
        `prevResult lacks address ${cidr}`,
      );
    });
  }
  await t.step("prevResult of another interface", async () => {
    const interfaces = result.interfaces.map((i) => i.name === "eth0" ? { ...i, name: "eth1" } : i);
    const answer = await node.cni("CHECK", pod, {
      conf: { prevResult: { ...result, interfaces } },
    });
    assertRefused(answer, 104, `prevResult lacks interface eth0 in ${pod.netnsPath}`);
  });
  const { interfaces, ips, routes } = pod.result as unknown as {
    interfaces: Record<string, unknown>[];
    ips: Record<string, unknown>[];
    routes: Record<string, unknown>[];
  };
  const [hostEnd, podEnd] = interfaces;
  const wrong: Readonly<Record<string, readonly [Record<string, unknown>, string]>> = {
    "hardware address": [
      { interfaces: [hostEnd, { ...podEnd, mac: "02:00:00:00:00:99" }] },
      "prevResult has hardware address 02:00:00:00:00:99 for eth0",
    ],
    "host interface": [
      { interfaces: [{ ...hostEnd, name: "other0" }, podEnd] },
      `prevResult lacks interface ${hostEnd!.name} of the node`,
    ],
    "gateway": [
      { ips: [{ ...ips[0], gateway: "fe80::2" }, ...ips.slice(1)] },
      "prevResult has gateway fe80::2 for",
    ],
    "address that is not there": [
      { ips: [...ips, { address: "10.244.1.200/32", interface: 1 }] },
      "address 10.244.1.200/32 of prevResult is missing on eth0",
    ],
    "route that is not there": [
      { routes: [...routes, { dst: "203.0.113.0/26", gw: "169.254.1.1" }] },
      "route 203.0.113.0/26 via 169.254.1.1 of prevResult is missing",
    ],
  };
  for (const [what, [change, says]] of Object.entries(wrong)) {
    await t.step(`prevResult with another ${what}`, async () => {
      const answer = await node.cni("CHECK", pod, {
        conf: { prevResult: { ...result, ...change } },
      });
      assertRefused(answer, 104, says);
    });
  }
  await t.step("another pod's prevResult", async () => {
    const conf = { prevResult: other.pod.result };
    assertRefused(await node.cni("CHECK", pod, { conf }), 104, "prevResult lacks");
  });
  await t.step("another pod's network namespace", async () => {
    const env = { CNI_NETNS: other.pod.netnsPath };
    const answer = await node.cni("CHECK", pod, { conf: { prevResult: result }, env });
    assertRefused(answer, 104, `network namespace is ${other.pod.netnsPath}`);
  });
  await t.step("a network namespace that is gone", async () => {
    const env = { CNI_NETNS: "/run/netns/no-such" };
    const answer = await node.cni("CHECK", pod, { conf: { prevResult: result }, env });
    assertRefused(answer, 8, "/run/netns/no-such");
  });
  await t.step("an unknown container", async () => {
    const env = { CNI_CONTAINERID: "0123456789abcdef" };
    const answer = await node.cni("CHECK", pod, { conf: { prevResult: result }, env });
    assertRefused(answer, 3, "0123456789abcdef/eth0");
  });
  await t.step("no prevResult", async () => {
    assertRefused(await node.cni("CHECK", pod), 7, '"prevResult" is missing');
  });
  await t.step("and is content with the right ones", () => node.check(pod));
});

/** The node's end, as ADD returned it. */
function hostIfname(pod: Pod): string {
  const [end] = pod.result?.interfaces ?? [];
  if (end === undefined) {
    throw new Error(`Cannot find link of pod "${pod.key}": it is not attached`);
  }
  return end.name;
}

/** Waits until the agent has made no pass for longer than one is put off after another. */
async function restful(node: Node): Promise<void> {
  const passes = async (): Promise<number> =>
    (await Deno.readTextFile(`${node.dir}/agent.log`)).split('"msg":"Reconciled"').length;
  for (let before = -1, now = await passes(); now !== before;) {
    before = now;
    await delay(600);
    now = await passes();
  }
}
