/**
 * An ADD whose host route would be where another route is: one of ours that was left behind gives way,
 * one of somebody else's stays as it is, and the ADD fails with its name.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Family } from "../../src/core/cidr.ts";
import { testWith } from "../support.ts";
import { FaultyTools } from "./faulty_tools.ts";
import { ask, assertNothingLeft, createNodeLab, hostIfname, refusal } from "./node_probe.ts";

/** What a pod asks for: its own address of the family, and one in addition. */
const ASKED: Readonly<Record<Family, readonly [first: string, second: string]>> = {
  ipv6: ["2001:db8:ffff::1", "2001:db8:ffff::2"],
  ipv4: ["203.0.113.201", "203.0.113.202"],
};

testWith("netns: an ADD replaces no route of another protocol, and left-over ones of ours", [
  "root",
  "bird",
], async (t) => {
  const { lab, node } = await createNodeLab({ agentArgs: ["--route-reconcile-interval", "0"] });
  await using _lab = lab;
  const tools = await FaultyTools.create(node);
  await tools.startAgent(node);
  const annotations = {
    "flock.fritzlab.net/addresses": Object.values(ASKED).flat().join(),
  };
  const pod = await node.createPod({ name: "p", annotations });
  const name = hostIfname(pod);
  /** Every route to a prefix, as `ip` prints it. */
  const routesTo = async (prefix: string): Promise<readonly string[]> => {
    const text = await node.ip(family(prefix), "-o", "route", "show", "exact", prefix);
    return text.split("\n").map((line) => line.trim().replaceAll(/ +/g, " "))
      .filter((line) => line !== "");
  };
  const works = async (): Promise<void> => {
    await ask(node, "ADD", pod);
    for (const address of Object.values(ASKED).flat()) {
      const [route, ...others] = await routesTo(hostCidr(address));
      assert(route?.includes(` dev ${name} proto 144 `), `${route}`);
      assertEquals(others, []);
    }
    await ask(node, "DEL", pod);
    await assertNothingLeft(node, [pod]);
  };
  await works();

  for (const [of, addresses] of Object.entries(ASKED)) {
    for (const address of addresses) {
      const prefix = hostCidr(address);
      await t.step(`${of}: a foreign route to ${prefix} stays, and the ADD fails`, async () => {
        const foreign = {
          [`${prefix} dev eth0 proto static metric 16`]: ', device "eth0"',
          [`unreachable ${prefix} proto 199 metric 16`]: of === "ipv6" ? ', device "lo"' : "",
        };
        for (const [route, device] of Object.entries(foreign)) {
          await node.ip(family(prefix), "route", "add", ...route.split(" "));
          const before = await routesTo(prefix);
          const protocol = / proto (\w+) /.exec(route)![1];
          const { code, message } = await refusal(ask(node, "ADD", pod));
          assertEquals([code, message], [
            104,
            `Cannot add route "${prefix}": another one is there with metric 16, ` +
            `protocol "${protocol}"${device}`,
          ]);
          assertEquals(await routesTo(prefix), before);
          await assertNothingLeft(node, [pod]);
          await node.ip(family(prefix), "route", "del", ...route.split(" "));
        }
        await works();
      });

      await t.step(`${of}: a foreign route of another metric is no obstacle`, async () => {
        const route = [prefix, "dev", "eth0", "proto", "static", "metric", "50"];
        await node.ip(family(prefix), "route", "add", ...route);
        await ask(node, "ADD", pod);
        assertEquals((await routesTo(prefix)).length, 2);
        await ask(node, "DEL", pod);
        const [left, ...others] = await routesTo(prefix);
        assert(/ dev eth0 proto static .*metric 50/.test(left ?? ""), left);
        assertEquals(others, []);
        await node.ip(family(prefix), "route", "del", ...route);
      });

      for (const protocol of ["143", "144"]) {
        await t.step(`${of}: a left-over of protocol ${protocol} gives way`, async () => {
          for (const head of [`${prefix} dev eth0`, `unreachable ${prefix}`]) {
            await node.ip(
              ...[family(prefix), "route", "add", ...head.split(" ")],
              ...["proto", protocol, "metric", "16"],
            );
            await works();
          }
        });
      }
    }

    await t.step(`${of}: a left-over that goes through a next-hop group gives way`, async () => {
      const prefix = hostCidr(addresses[1]);
      const via = of === "ipv6" ? "2001:db8:25::1" : "198.51.100.1";
      await node.ipBatch([
        `nexthop add id 77 via ${via} dev eth0 proto 144`,
        "nexthop add id 78 group 77 proto 144",
        `route add ${prefix} nhid 78 proto 144 metric 16`,
      ]);
      // They are of flock's protocol, and of no pod: the agent removes them.
      await works();
    });
  }

  await t.step(
    "a left-over link with its routes, and a left-over route, give way at once",
    async () => {
      const [v6, v4] = [ASKED.ipv6[1], ASKED.ipv4[1]].map(hostCidr);
      await node.ipBatch([
        `link add ${name} type veth peer name t-other`,
        `link set ${name} alias flock:1:default/old:u0:c0:eth0`,
        `link set ${name} up`,
        `route add ${v6} dev ${name} proto 144 metric 16`,
        `route add ${v4} dev eth0 proto 144 metric 16`,
      ]);
      await works();
      assertEquals(
        await node.ip("-o", "link", "show", "type", "veth").then((text) =>
          text.includes("t-other")
        ),
        false,
      );
    },
  );

  await t.step("somebody else's link of the name stays, and the ADD fails", async () => {
    await node.ipBatch([
      `link add ${name} type veth peer name t-other`,
      `link set ${name} alias theirs`,
    ]);
    const { code, message } = await refusal(ask(node, "ADD", pod));
    assertEquals(code, 104, message);
    assert(message.includes("File exists"), message);
    await node.ip("link", "show", "dev", "t-other");
    await node.ip("link", "del", "dev", "t-other");
    await works();
  });

  await t.step(
    "the host routes of a pod without annotations are added, never replaced",
    async () => {
      const plain = await node.createPod({ name: "plain" });
      await ask(node, "ADD", plain);
      const lines = await tools.seen("host", hostIfname(plain));
      assertEquals(
        lines.filter((line) => line.startsWith("route ")).map((line) => line.split(" ")[1]),
        ["add", "add"],
      );
      await ask(node, "DEL", plain);
      await assertNothingLeft(node, [plain, pod]);
    },
  );
});

function family(prefix: string): string {
  return prefix.includes(":") ? "-6" : "-4";
}

function hostCidr(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}
