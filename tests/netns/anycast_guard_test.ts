/**
 * What annotations cannot claim: every refusal at ADD, with its code and its reason, of an agent with a
 * router, a second node and pods. Nothing is left of a refused ADD, and the router never hears of it.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { FaultyTools } from "./faulty_tools.ts";
import { ask, assertNothingLeft, hostIfname, refusal, stored } from "./node_probe.ts";
import { createTestCluster } from "./test_lab.ts";

const PREFIX = "flock.fritzlab.net/";
type Annotations = Readonly<Record<string, string>>;

/** The guard lets almost everything through: what is refused then is refused whatever it says. */
const ALLOWED = [
  { cidr: "2001:db8:25::/64", namespaces: ["*"] },
  { cidr: "2001:db8:f000::/40", namespaces: ["*"] },
  { cidr: "2001:db8:ffff::/49", namespaces: ["*"] },
  { cidr: "2001:db8:ffff:8000::/49", namespaces: ["edge-*"] },
  { cidr: "198.51.100.0/24", namespaces: ["*"] },
  { cidr: "10.244.0.0/16", namespaces: ["*"] },
  { cidr: "203.0.113.0/24", namespaces: ["*"] },
];

testWith("netns: a pod cannot claim by annotation what is somebody else's", [
  "root",
  "bird",
], async (t) => {
  const { lab, cluster } = await createTestCluster({
    executable: EXECUTABLE,
    nodes: 2,
    defaultRoutes: true,
    spec: () => ({
      reserved: ["10.244.1.192/28", "2001:db8:eeee::/48"],
      announce: { allowed: ALLOWED },
    }),
  });
  await using _lab = lab;
  const n1 = lab.node("n1");
  const n2 = lab.node("n2");
  const tools = await FaultyTools.create(n1);
  await n2.startAgent();
  await Promise.all([n1.startBird(), n2.startBird(), tools.startAgent(n1), n2.waitReady()]);
  await lab.router.waitSessions(undefined, { timeoutMs: 30_000 });

  /** A pod whose ADD is refused, and what is left of it. */
  const assertRefused = async (
    annotations: Annotations,
    want: { readonly code: number; readonly message: RegExp; readonly namespace?: string },
    left: readonly Pod[] = [],
  ): Promise<void> => {
    const name = `no${n1.pods.length}-${crypto.randomUUID().slice(0, 8)}`;
    const { namespace } = want;
    const pod = await n1.createPod({ name, namespace, annotations: prefixed(annotations) });
    const { code, message } = await refusal(ask(n1, "ADD", pod));
    assertEquals(code, want.code, message);
    assertMatch(message, want.message);
    if (left.length === 0) await assertNothingLeft(n1, [pod]);
    else assertEquals(await podsOf(n1), left.map(nameOf).sort());
    if (cluster !== undefined) {
      const reason = code === 102 ? "AddressRefused" : "AnnotationRefused";
      await until("event", () => {
        const found = cluster.events().find((event) => event.startsWith(`Pod ${name} `));
        if (found !== undefined) assertEquals(found, `Pod ${name} ${reason}: ${message}`);
        return Promise.resolve(found !== undefined);
      });
    }
    await n1.removePod(pod);
  };
  /** Refused in both annotations. */
  const refuse = async (address: string, message: RegExp, left?: readonly Pod[]): Promise<void> => {
    for (const key of ["addresses", "anycast"]) {
      await assertRefused({ [key]: address }, { code: 102, message }, left);
    }
  };

  const always: readonly (readonly [what: string, reason: RegExp, ...addresses: string[]])[] = [
    ["the node", /it is reserved or the node's/, "2001:db8:25::11", "198.51.100.11"],
    ["a peer, the router", /it is reserved or the node's/, "2001:db8:25::1", "198.51.100.1"],
    ["a reserved range", /it is reserved .*eeee::\/48/, "2001:db8:eeee::7"],
    ["a reserved range of IPv4", /it is reserved .*10\.244\.1\.192\/28/, "10.244.1.195"],
    [
      "another node's prefix",
      /it is in .*, a prefix of node "n2"$/,
      "2001:db8:f002::77",
      "10.244.2.77",
    ],
    ["loopback", /it is loopback$/, "::1", "127.0.0.2"],
    ["link-local", /it is link-local$/, "fe80::7", "169.254.7.7"],
    ["multicast", /it is multicast$/, "ff0e::7", "239.1.2.3", "255.255.255.255"],
    ["unspecified", /it is unspecified$/, "::", "0.0.0.0", "0.1.2.3"],
    ["class E", /it is class E$/, "240.0.0.7"],
    ["outside the guard", /it is outside what may be announced/, "2001:db9::7", "192.88.99.7"],
  ];
  for (const [what, reason, ...addresses] of always) {
    await t.step(`${what} is refused`, async () => {
      for (const address of addresses) await refuse(address, reason);
    });
  }

  await t.step("the guard asks for the namespace", async () => {
    const message =
      /it is not allowed in namespace "(edge|my-edge-dns)" \(spec\.announce\.allowed\)$/;
    for (const namespace of ["edge", "my-edge-dns"]) {
      for (const key of ["addresses", "anycast"]) {
        const annotations = { [key]: "2001:db8:ffff:8000::53" };
        await assertRefused(annotations, { code: 102, message, namespace });
      }
    }
    const annotations = prefixed({ anycast: "2001:db8:ffff:8000::53" });
    const pod = await n1.createPod({ name: "ok", namespace: "edge-dns", annotations });
    await ask(n1, "ADD", pod);
    await ask(n1, "DEL", pod);
    await assertNothingLeft(n1, [pod]);
    await n1.removePod(pod);
  });

  await t.step("a family that is off is refused with 103, malformed text with 101", async () => {
    for (const key of ["addresses", "anycast"]) {
      const off = /IPv(4|6) is switched off for the pod$/;
      await assertRefused({ ipv4: "false", [key]: "203.0.113.201" }, { code: 103, message: off });
      await assertRefused({ ipv6: "false", [key]: "2001:db8:ffff::1" }, {
        code: 103,
        message: off,
      });
      for (
        const text of ["203.0.113", "203.0.113.201/32", "::ffff:203.0.113.201", "fe80::1%eth0"]
      ) {
        const message = new RegExp(`Cannot use annotation "${PREFIX}${key}" with value `);
        await assertRefused({ [key]: text }, { code: 101, message });
      }
    }
  });

  await t.step("a router that is on the node's links without being a peer is refused", async () => {
    await n1.ip("route", "add", "203.0.113.64/28", "via", "198.51.100.77");
    await n1.ip(
      "neigh",
      "add",
      "2001:db8:25::99",
      "dev",
      "eth0",
      "lladdr",
      "02:00:00:00:00:99",
      "router",
    );
    const reason = /it is a router's on the node's links$/;
    await refuse("198.51.100.77", reason);
    await refuse("2001:db8:25::99", reason);
    await n1.ip("route", "del", "203.0.113.64/28");
    await n1.ip("neigh", "del", "2001:db8:25::99", "dev", "eth0");
  });

  await t.step(
    "another pod's address is refused, and an anycast one only in addresses",
    async () => {
      const annotations = prefixed({
        addresses: "2001:db8:ffff::1,203.0.113.201",
        anycast: "2001:db8:ffff::53,203.0.113.253",
      });
      const holder = await n1.createPod({ name: "holder", annotations });
      await ask(n1, "ADD", holder);
      const plain = await n1.createPod({ name: "plain" });
      const given = (await ask(n1, "ADD", plain)).ips.map(({ address }) => address.split("/")[0]!);
      const left = [holder, plain];
      const held = ["2001:db8:ffff::1", "203.0.113.201"];
      for (const address of held) await refuse(address, /pod "default\/holder" holds it$/, left);
      for (const address of given) await refuse(address, /pod "default\/plain" holds it$/, left);
      for (const address of ["2001:db8:ffff::53", "203.0.113.253"]) {
        const message = /pod "default\/holder" holds it$/;
        await assertRefused({ addresses: address }, { code: 102, message }, left);
      }
      const sharer = await n1.createPod({
        name: "sharer",
        annotations: prefixed({ anycast: "2001:db8:ffff::53,203.0.113.253" }),
      });
      await ask(n1, "ADD", sharer);
      for (const pod of [holder, plain, sharer]) {
        await ask(n1, "DEL", pod);
        await n1.removePod(pod);
      }
    },
  );

  await t.step("an attachment that is not complete yet holds its addresses", async () => {
    const annotations = prefixed({ addresses: "203.0.113.202", anycast: "203.0.113.254" });
    const slow = await n1.createPod({ name: "slow", annotations });
    const name = hostIfname(slow);
    await tools.plan("host", name, { kind: "hold" });
    const answer = ask(n1, "ADD", slow);
    await tools.held("host", name);
    const message = /pod "default\/slow" holds it$/;
    await refuse("203.0.113.202", message, [slow]);
    await assertRefused({ addresses: "203.0.113.254" }, { code: 102, message }, [slow]);
    for (const address of ["203.0.113.202/32", "203.0.113.254/32"]) {
      assertEquals(await lab.router.route(address), undefined, "nothing is announced yet");
    }
    await tools.release("host", name);
    await answer;
    await ask(n1, "DEL", slow);
    await assertNothingLeft(n1, [slow]);
    await n1.removePod(slow);
  });

  await t.step(
    "an own address that another node announces is refused, until it does not",
    async () => {
      const addresses = ["2001:db8:ffff::9", "203.0.113.209"];
      const there = await n2.createPod({
        name: "there",
        annotations: prefixed({ addresses: addresses.join() }),
      });
      await n2.add(there);
      for (const address of addresses) {
        await n1.waitRoute(`${address}/${address.includes(":") ? 128 : 32}`);
        const message = /it is announced by somebody else \(route learned from /;
        await assertRefused({ addresses: address }, { code: 102, message });
      }
      // Anycast is for this: the same address on many nodes.
      const annotations = prefixed({ anycast: addresses.join() });
      const shares = await n1.createPod({ name: "shares", annotations });
      await ask(n1, "ADD", shares);
      await ask(n1, "DEL", shares);
      await n2.del(there);
      for (const address of addresses) {
        await n1.waitNoRoute(`${address}/${address.includes(":") ? 128 : 32}`);
      }
      const here = await n1.createPod({
        name: "here",
        annotations: prefixed({ addresses: addresses.join() }),
      });
      await ask(n1, "ADD", here);
      for (const address of addresses) {
        await lab.router.waitRoute(`${address}/${address.includes(":") ? 128 : 32}`);
      }
      await ask(n1, "DEL", here);
      await assertNothingLeft(n1, [shares, here]);
    },
  );

  await t.step("the router has heard of nothing else", async () => {
    // Whatever would have been announced by a mistake is there by now: what came later was and went.
    const routes = await Promise.all(
      ["-4", "-6"].map((family) => lab.router.ip("-o", family, "route", "show", "proto", "bird")),
    );
    const heard = routes.join("").split("\n").filter((line) => line !== "")
      .map((line) => line.split(" ")[0]).sort();
    const prefixes = lab.plan.nodes.flatMap(({ prefixes }) => Object.values(prefixes));
    assertEquals(heard, prefixes.sort());
  });
});

function prefixed(annotations: Annotations): Annotations {
  return Object.fromEntries(
    Object.entries(annotations).map(([key, value]) => [PREFIX + key, value]),
  );
}

function nameOf(pod: Pod): string {
  return pod.options.name;
}

/** Names of the pods that have an attachment. */
async function podsOf(node: Node): Promise<readonly string[]> {
  return (await stored(node)).map(({ podName }) => podName).sort();
}
