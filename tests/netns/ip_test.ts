/**
 * `io/ip.ts` on a kernel: what it makes of failures, and of things that are not there.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Attachment } from "../../src/core/attachment.ts";
import { ANNOTATION_PREFIX, MAX_GROUP_MEMBERS, MAX_ROUTE_HOPS } from "../../src/core/config.ts";
import { desiredState } from "../../src/core/desired_state.ts";
import { CniError } from "../../src/core/errors.ts";
import type { Pod } from "../../src/core/objects.ts";
import { observedState, ownState } from "../../src/core/own_state.ts";
import { diffState } from "../../src/core/state_diff.ts";
import { attachment, readyPod, snapshot } from "../attachments.ts";
import { testWith } from "../support.ts";
import { Namespace } from "./namespace.ts";

testWith("netns: ip changes what can be changed, and names what cannot", ["root"], async (t) => {
  await using host = await Namespace.create();
  await using pod = await Namespace.create();
  const { ip } = host;
  await host.run(["link add flock00000001 type veth peer name peer", "link set flock00000001 up"]);

  await t.step("change() goes on after a failure", async () => {
    const failed = await ip.change([
      "route replace 10.244.1.2/32 dev flock00000001 proto 143 metric 16",
      "route replace 10.244.1.3/32 dev flock0000000f proto 143 metric 16",
      "route replace unreachable 2001:db8:f001::/64 proto 143 metric 2000",
    ]);
    assertEquals(failed, [{
      line: "route replace 10.244.1.3/32 dev flock0000000f proto 143 metric 16",
      reason: 'Cannot find device "flock0000000f"',
    }]);
    assertEquals((await ip.observe()).routes.map(({ dst, type }) => `${type} ${dst}`).sort(), [
      "unicast 10.244.1.2/32",
      "unreachable 2001:db8:f001::/64",
    ]);
  });

  await t.step(
    "change() removes what may have gone meanwhile, with its link too",
    async () => {
      assertEquals(
        await ip.change([
          "route del 10.244.1.9/32 dev flock00000001 proto 143 metric 16",
          "route del 2001:db8:f001::9/128 dev flock00000001 proto 143 metric 16",
          "route del 10.244.1.9/32 dev flock0000000f proto 143 metric 16",
          "route del 2001:db8:f001::9/128 dev flock0000000f proto 143 metric 16",
          "route del 10.244.1.2/32 dev flock00000001 proto 143 metric 16",
        ]),
        [],
      );
      assertEquals((await ip.observe()).routes.map(({ dst }) => dst), ["2001:db8:f001::/64"]);
    },
  );

  await t.step("deleteLink() and link() do not mind what is not there", async () => {
    await ip.deleteLink("flock0000000f");
    assertEquals(await ip.link("flock0000000f"), undefined);
    assertEquals((await ip.inspectHost("flock0000000f", [])).links, []);
    assertEquals((await ip.link("flock00000001"))?.up, true);
  });

  await t.step("observe() tells our routes, and the default routes of the main table", async () => {
    await host.run([
      "link set peer up",
      "addr add 198.18.0.1/24 dev peer",
      "route add default via 198.18.0.2 metric 5",
      "route add default via 198.18.0.2 table 100",
      "route add 10.9.0.0/16 via 198.18.0.2 proto static",
      "route add 203.0.113.200/32 dev peer proto 144 metric 16",
      "route add 203.0.113.201/32 dev peer proto 144 metric 16 table 100",
    ]);
    const { routes, defaultRoutes } = await ip.observe();
    assertEquals(
      routes.map(({ dst, protocol, table }) => `${dst} ${protocol} ${table}`).sort(),
      [
        "2001:db8:f001::/64 143 main",
        "203.0.113.200/32 144 main",
        "203.0.113.201/32 144 100",
      ],
    );
    assertEquals(defaultRoutes.map(({ gateway, metric }) => [gateway, metric]), [[
      "198.18.0.2",
      5,
    ]]);
    const ways = await ip.routesToward(["2001:db8:1::1", "10.9.1.1"]);
    assertEquals(Array.from(ways, ([to, { gateway }]) => [to, gateway]), [
      ["10.9.1.1", "198.18.0.2"],
    ]);
  });

  await t.step("inspectAddresses() tells host routes and routers of both families", async () => {
    // BIRD's protocol by number: after a number, a batch of iproute2 6.1 takes an earlier name for that.
    await host.run([
      "addr add 2001:db8:25::1/64 dev peer nodad",
      "route add 203.0.113.7/32 via 198.18.0.2 proto 12 metric 32",
      "route add 203.0.113.7/32 dev peer proto 144 metric 16",
      "route add 203.0.113.8/32 via 198.18.0.2 proto 12 table 100",
      "route add 2001:db8:ffff::7/128 via 2001:db8:25::2 proto 12 metric 32",
      "route add 2001:db8:ffff::/64 via 2001:db8:25::2 proto 12 metric 32",
      "neigh add 2001:db8:25::3 dev peer lladdr 02:00:00:00:00:03 router",
      "neigh add 2001:db8:25::4 dev peer lladdr 02:00:00:00:00:04",
      "neigh add 2001:db8:25::5 dev flock00000001 lladdr 02:00:00:00:00:05 router",
    ]);
    const { routes, routers } = await ip.inspectAddresses([
      ...["203.0.113.7", "203.0.113.8", "2001:db8:ffff::7", "2001:db8:ffff::8"],
      ...["198.18.0.2", "198.18.0.1", "2001:db8:25::2", "2001:db8:25::3", "2001:db8:25::4"],
      "2001:db8:25::5",
    ]);
    assertEquals(
      routes.map(({ dst, protocol, metric, gateway, dev }) =>
        [dst, protocol, metric, gateway ?? dev].join(" ")
      ),
      [
        "203.0.113.7/32 144 16 peer",
        "203.0.113.7/32 bird 32 198.18.0.2",
        "2001:db8:ffff::7/128 bird 32 2001:db8:25::2",
      ],
    );
    assertEquals(routers, ["198.18.0.2", "2001:db8:25::2", "2001:db8:25::3"]);
    assertEquals(await ip.inspectAddresses([]), { routes: [], routers: [] });
  });

  await t.step("runHost() names the line that failed, and does none after it", async () => {
    const error = await assertRejects(
      () =>
        ip.runHost({
          batch: ["link set peer mtu 1400", "link set nosuch up", "link set peer mtu 1300"],
        }),
      CniError,
    ) as CniError;
    assertEquals([error.code, error.message], [
      104,
      'Cannot run "ip link set nosuch up": Cannot find device "nosuch"',
    ]);
    assertEquals((await ip.link("peer"))?.mtu, 1400);
  });

  await t.step(
    "runHost() and runPod() refuse what is no namespace of a pod, with code 8",
    async () => {
      const plain = await Deno.makeTempFile({ prefix: "flock-ip-" });
      const absent = "/run/netns/t-no-such";
      const onNode = (netns: string): Promise<void> =>
        ip.runHost({
          netns,
          batch: [`link add flock00000002 type veth peer name eth0 netns ${netns}`],
        });
      for (const netns of [absent, plain, host.path]) {
        const error = await assertRejects(() => onNode(netns), CniError) as CniError;
        assertEquals(error.code, 8, error.message);
        assert(
          error.message.startsWith(`Cannot use network namespace "${netns}": `),
          error.message,
        );
        assertEquals(await ip.link("flock00000002"), undefined);
      }
      for (const netns of ["/run/netns/t-no-such", plain]) {
        const error = await assertRejects(
          () => ip.runPod(netns, { batch: ["link show"] }),
          CniError,
        ) as CniError;
        assertEquals(error.code, 8);
        assert(
          error.message.startsWith(`Cannot use network namespace "${netns}": `),
          error.message,
        );
      }
      await Deno.remove(plain);
      await ip.runPod(pod.path, { batch: ["link set lo up"] });
      assertEquals((await pod.ip.link("lo"))?.up, true);
    },
  );

  await t.step("sysctls that do not exist are skipped, others written and read", async () => {
    const path = "net/ipv4/conf/flock00000001/rp_filter";
    await ip.runHost({
      batch: [],
      sysctls: { [path]: "2", "net/ipv4/conf/nosuch/rp_filter": "0" },
    });
    const { sysctls, links } = await ip.inspectHost("flock00000001", [path, "net/nosuch"]);
    assertEquals([sysctls, links.length], [{ [path]: "2" }, 1]);
  });
});

testWith("netns: ip takes an address of as many pods as may serve one", ["root"], async () => {
  await using host = await Namespace.create();
  const { ip } = host;
  await host.run([
    "link add flock00000001 type veth peer name peer",
    "link set flock00000001 up",
    "link set peer up",
  ]);
  const pods = Array.from({ length: 200 }, (_, i) =>
    attachment(i, {
      hostIfname: "flock00000001",
      ip6: `2001:db8:f001:abcd:abcd:abcd:abcd:${(0xa000 + i).toString(16)}`,
      ip4: `10.244.101.${i + 2}`,
      anycast: ["2001:db8:ffff:abcd:abcd:abcd:abcd:abcd", "203.0.113.200"],
    }));
  const podOf = (one: Attachment): Pod => ({
    ...readyPod(one),
    annotations: { [`${ANNOTATION_PREFIX}anycast-weight`]: "255" },
  });
  for (const [sticky, maxLegs] of [[true, MAX_GROUP_MEMBERS], [false, MAX_ROUTE_HOPS]] as const) {
    const present = observedState(await ip.observe());
    const desired = desiredState(snapshot(pods, { podOf, maxLegs }));
    const wanted = ownState(desired, present, { foreignIds: new Set(), sticky });
    const changes = diffState(wanted, present, () => false);
    assertEquals(await ip.change(changes.map(({ line }) => line)), []);
    const there = (await ip.observe()).routes.filter(({ nextHops }) => nextHops.length > 0);
    assertEquals(there.map(({ nextHops }) => nextHops.length), [maxLegs, maxLegs]);
  }
});
