import { assertEquals, assertMatch } from "@std/assert";
import { link, network, peers, POD_LINK, route, sysctls } from "../../../tests/doctor_facts.ts";
import type { HostFacts } from "./facts.ts";
import {
  judgeAcceptRa,
  judgeForwarding,
  judgeLinkAddresses,
  judgeNeighborTable,
  judgeNexthops,
  judgeRpFilter,
  uplinksOf,
} from "./kernel.ts";

Deno.test("judgeForwarding() wants both families forwarded once there are pods", () => {
  const off = { "net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0" };
  assertEquals(judgeForwarding(network(), sysctls()), []);
  assertEquals(judgeForwarding(network(), sysctls(off)).length, 2);
  assertEquals(judgeForwarding(network({ links: [link("eth0")] }), sysctls(off)), []);
});

Deno.test("judgeAcceptRa() looks at default routes from router advertisements only", async (t) => {
  const learned = network({ routes: [route("::/0", { protocol: "ra", dev: "eth0" })] });
  const networkd: HostFacts = {
    processes: [{ name: "systemd-network", commandLine: "" }],
    files: [],
  };
  const nobody: HostFacts = { processes: [], files: [] };
  const cases: readonly (readonly [string, string, string, HostFacts | undefined, number])[] = [
    ["accepted while forwarding", "2", "1", nobody, 0],
    ["ignored while forwarding", "1", "1", nobody, 1],
    ["not forwarding", "1", "0", nobody, 0],
    ["switched off by a client that runs", "0", "1", networkd, 0],
    ["switched off, and no client runs", "0", "1", nobody, 1],
    ["switched off, and who runs is not known", "0", "1", undefined, 0],
    ["ignored although a client runs", "1", "1", networkd, 1],
  ];
  for (const [name, accepts, forwards, host, count] of cases) {
    await t.step(name, () => {
      const values = sysctls({
        "net/ipv6/conf/eth0/accept_ra": accepts,
        "net/ipv6/conf/eth0/forwarding": forwards,
      });
      assertEquals(judgeAcceptRa(learned, values, host).length, count);
      assertEquals(judgeAcceptRa(network(), values, host), []);
    });
  }
});

Deno.test("judgeRpFilter() takes the larger of both values, on links to the world", async (t) => {
  const cases: readonly (readonly [all: string, own: string, count: number])[] = [
    ["0", "0", 0],
    ["0", "1", 1],
    ["1", "0", 1],
    ["1", "2", 0],
    ["2", "1", 0],
  ];
  for (const [all, own, count] of cases) {
    await t.step(`all ${all}, eth0 ${own}`, () => {
      const values = sysctls({
        "net/ipv4/conf/all/rp_filter": all,
        "net/ipv4/conf/eth0/rp_filter": own,
        "net/ipv4/conf/eth1/rp_filter": "1",
      });
      const two = network({ links: [...network().links, link("eth1")] });
      assertEquals(judgeRpFilter(two, values, undefined).length, count);
    });
  }
});

Deno.test("uplinksOf() has links of default routes and towards peers", () => {
  const links = [link("eth0"), link("eth1"), link("eth2"), link(POD_LINK)];
  const multi = route("::/0", { nextHops: ["eth1", POD_LINK].map((dev) => ({ dev, weight: 1 })) });
  const names = (given: Parameters<typeof uplinksOf>): readonly string[] =>
    uplinksOf(...given).map(({ ifname }) => ifname);
  assertEquals(names([{ links, routes: [multi] }]), ["eth1"]);
  assertEquals(names([{ links, routes: [multi] }, peers()]), ["eth0", "eth1"]);
});

Deno.test("judgeNexthops() wants flows spread by ports, and next hops shown", () => {
  assertEquals(judgeNexthops(sysctls()), []);
  const changed = sysctls({
    "net/ipv6/fib_multipath_hash_policy": "0",
    "net/ipv4/fib_multipath_hash_policy": "3",
    "net/ipv4/nexthop_compat_mode": "0",
  });
  const ids = judgeNexthops(changed).map(({ id }) => id);
  assertEquals(ids, ["multipath-hash", "nexthop-compat"]);
  assertEquals(judgeNexthops({}), [], "a kernel without them");
});

Deno.test("judgeNeighborTable() wants room for twice what is there and the pods", async (t) => {
  const sized = (first: number, second: number, most: number): Record<string, string> =>
    sysctls(Object.fromEntries(
      [first, second, most].map((v, i) => [`net/ipv4/neigh/default/gc_thresh${i + 1}`, `${v}`]),
    ));
  const cases: readonly (readonly [string, Record<string, string>, number, RegExp | undefined])[] =
    [
      ["enough", sized(128, 512, 1024), 300, undefined],
      ["in no order", sized(2048, 512, 1024), 3, /not in order/],
      ["nearly full", sized(128, 512, 1024), 768, /holds 768 of at most 1024/],
      ["too small", sized(128, 512, 1024), 512, /512 now and 1 pods ask for 1026/],
    ];
  for (const [name, values, used, finding] of cases) {
    await t.step(name, () => {
      const problems = judgeNeighborTable(
        network({ neighbors: { ipv4: used, ipv6: 0 } }),
        values,
      );
      assertEquals(typeof problems === "string" ? undefined : problems.length, finding ? 1 : 0);
      if (finding === undefined || typeof problems === "string") return;
      assertMatch(problems[0]!.finding, finding);
      // What it says to paste is enough.
      const fixed = Object.fromEntries(
        problems[0]!.fix.flatMap((line) => {
          const [, path, value] = /^sysctl -w (\S+)=(\d+)$/.exec(line) ?? [];
          return path === undefined ? [] : [[path, value!]];
        }),
      );
      assertEquals(
        judgeNeighborTable(network({ neighbors: { ipv4: used, ipv6: 0 } }), {
          ...values,
          ...fixed,
        }),
        [],
      );
    });
  }
  await t.step("not visible", () => {
    assertMatch(judgeNeighborTable(network(), {}) as string, /not visible/);
  });
});

Deno.test("judgeLinkAddresses() knows the address that flock gives a pod's link", () => {
  assertEquals(judgeLinkAddresses(network()), []);
  const [problem] = judgeLinkAddresses(network({ links: [link(POD_LINK)] }));
  assertEquals(problem?.id, "link-address");
  assertEquals(problem?.fix, [`ip link set dev ${POD_LINK} address 02:f0:01:23:ab:cd`]);
});
