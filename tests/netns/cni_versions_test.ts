/**
 * The life of an attachment in every version of the CNI specification, and its result against the kernel.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { CNI_VERSIONS } from "../../src/core/cni.ts";
import { decodeResult } from "../../src/core/cni_result.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import { assertRefused, createCniHost, createTestPod, picture, withoutLo } from "./cni_host.ts";

testWith("netns: ADD, CHECK, DEL and DEL again in every version", ["root", "bird"], async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  const before = await picture(node);
  // Without a version it is 0.1.0.
  for (const cniVersion of [undefined, ...CNI_VERSIONS]) {
    await t.step(cniVersion ?? "none", async () => {
      await using made = await createTestPod(node);
      const { pod } = made;
      const version = cniVersion ?? "0.1.0";
      const conf = { cniVersion };
      const empty = await picture(node, pod);

      const added = await node.cni("ADD", pod, { conf });
      assertEquals([added.code, added.stderr], [0, ""], added.stdout);
      assertEquals(added.json?.cniVersion, version);
      await assertIsInKernel(added.json, node, pod);
      const repeated = await node.cni("ADD", pod, { conf });
      assertEquals(repeated.stdout, added.stdout, "asked again, the same answer");

      const withResult = { conf: { ...conf, prevResult: added.json } };
      const checked = await node.cni("CHECK", pod, withResult);
      if (version < "0.4.0") {
        assertRefused(checked, 1, "config version does not allow CHECK", version);
      } else assertEquals(checked, { code: 0, stdout: "", stderr: "", json: undefined });

      for (const again of [withResult, { conf, env: { CNI_NETNS: "" } }]) {
        const deleted = await node.cni("DEL", pod, again);
        assertEquals(deleted, { code: 0, stdout: "", stderr: "", json: undefined });
      }
      // The pod's lo stays up.
      assertEquals(withoutLo(await picture(node, pod)), withoutLo(empty));
    });
  }
  assertEquals(await picture(node), before);
});

testWith("netns: VERSION, GC and STATUS through the executable", ["root", "bird"], async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await t.step("VERSION", async () => {
    for (const [stdin, cniVersion] of [["", "1.1.0"], ['{"cniVersion":"0.3.1"}', "0.3.1"]]) {
      const { code, json } = await node.cni("VERSION", undefined, { stdin });
      assertEquals([code, json], [0, { cniVersion, supportedVersions: [...CNI_VERSIONS] }]);
    }
  });
  for (const cniVersion of CNI_VERSIONS) {
    const conf = { cniVersion, "cni.dev/valid-attachments": [] };
    for (const verb of ["GC", "STATUS"] as const) {
      await t.step(`${verb} in ${cniVersion}`, async () => {
        const answer = await node.cni(verb, undefined, { conf });
        if (cniVersion === "1.1.0") {
          assertEquals([answer.code, answer.stdout, answer.stderr], [0, "", ""]);
        } else {
          assertRefused(answer, 1, `config version does not allow ${verb}`, cniVersion);
        }
      });
    }
  }
});

/** Compares a result with both ends as the kernel has them. */
async function assertIsInKernel(json: unknown, node: Node, pod: Pod): Promise<void> {
  const result = decodeResult(json);
  const addresses = await pod.ipJson("addr", "show", "dev", "eth0");
  const bound = (addresses[0]?.addr_info as { local: string; prefixlen: number }[])
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  assertEquals(result.ips.map(({ address }) => address).sort(), bound.sort());
  assertEquals(result.ips.length, 2, "both families");
  assert(result.ips[0]!.address.includes(":"), "IPv6 first");
  for (const { address } of result.ips) {
    const route = await node.route(address);
    assertEquals([route?.protocol, route?.metric], ["143", 16], `route to ${address}`);
  }
  const routes = [...await pod.routes("ipv6"), ...await pod.routes("ipv4")]
    .filter(({ gateway }) => gateway !== undefined);
  assertEquals(
    result.routes.map(({ dst, gw }) => [dst, gw]),
    routes.map(({ dst, gateway }) => [dst, gateway]),
  );
  if (result.interfaces.length === 0) return;

  const [hostEnd, podEnd] = result.interfaces;
  assertEquals([hostEnd?.sandbox, podEnd?.sandbox], [undefined, pod.netnsPath]);
  for (const [end, where] of [[hostEnd, node], [podEnd, pod]] as const) {
    const [link] = await where.ipJson("link", "show", "dev", end!.name);
    assertEquals(link?.address, end!.mac);
    // 1.1.0 and later say the MTU.
    if (end!.mtu !== undefined) assertEquals(link?.mtu, end!.mtu);
    assert((link?.flags as string[]).includes("UP"));
  }
}
