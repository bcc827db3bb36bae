/**
 * What the page on the CNI plugin says is what the code has.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { CNI_VERBS, CNI_VERSIONS, parseNetConf } from "../core/cni.ts";
import { CniCode } from "../core/errors.ts";

const page = await Deno.readTextFile(new URL("../../docs/cmd-cni.md", import.meta.url));

Deno.test("docs: every error code is listed with its name, in order", () => {
  const section = /<!-- codes: .*?-->(.*)<!-- \/codes -->/s.exec(page)?.[1] ?? "";
  const listed = [...section.matchAll(/^\| (\d+) +\| `(\w+)`/gm)].map((
    [, n, name],
  ) => [name, Number(n)]);
  assertEquals(listed, Object.entries(CniCode));
});

Deno.test("docs: every verb and version is named", () => {
  for (const verb of CNI_VERBS) assert(page.includes(`| ${verb} `), verb);
  for (const version of CNI_VERSIONS) assert(page.includes(version), version);
});

Deno.test("docs: the example is accepted, and the keys have the defaults that are listed", () => {
  const { plugins, ...list } = JSON.parse(/```json\n(.*?)```/s.exec(page)?.[1] ?? "");
  const conf = parseNetConf(JSON.stringify({ ...list, ...plugins[0] }));
  const listed = new Map(
    [...page.matchAll(/^\| `(\w+)` +\|.*\| +(.*?) +\|$/gm)].map(([, key, value]) => [key, value]),
  );
  assertEquals(listed.get("socket"), `\`${conf.socket}\``);
  assertEquals(listed.get("stateDir"), `\`${conf.stateDir}\``);
  assertEquals(listed.get("requirePod"), `\`${conf.requirePod}\``);
  assertEquals([conf.mtu, listed.get("mtu")], [undefined, "the NodeConfig's, or the node's"]);
});
