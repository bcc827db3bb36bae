/**
 * What the plugin may rely on: nothing but CNI's own variables and its own file. The host that execs it
 * need not have any tool installed.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { TOOL_DIRS, TOOLS } from "../../src/io/command.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { testWith } from "../support.ts";
import { createCniHost, createTestPod, EXECUTABLE, picture } from "./cni_host.ts";

/**
 * In a mount namespace of its own (it goes with the process): every directory where tools are looked
 * for holds a shell and `env`, and Deno if it is there, which the launcher of `dist/flock` runs.
 */
const BARE = `
  set -e
  bare=$1 deno=$2; shift 2
  mount -t tmpfs flock-bare "$bare"
  cp /bin/sh /usr/bin/env "$bare"
  case " ${TOOL_DIRS.join(" ")} " in
    *" \${deno%/*} "*) touch "$bare/deno"; mount --bind "$deno" "$bare/deno" ;;
  esac
  # The last one takes "mount" away; where one is a link to another, it is done already.
  for dir in /sbin /bin /usr/sbin; do [ -L $dir ] || mount --rbind "$bare" $dir; done
  mount --rbind "$bare" /usr/bin
  exec "$@"`;

const NEEDS = ["root", "bird"] as const;

testWith("netns: the plugin needs no variable but CNI's", NEEDS, async () => {
  await using host = await createCniHost();
  await liveAndDie(host.node, (argv) => argv);
});

testWith("netns: the plugin needs no tool on the host that execs it", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  const bare = `${node.dir}/bare`;
  await Deno.mkdir(bare);
  const without = (argv: readonly string[]): readonly string[] => [
    ...["unshare", "--mount", "sh", "-c", BARE, "sh", bare, Deno.execPath()],
    ...argv,
  ];
  await t.step("there is none", async () => {
    const look = `for tool in ${TOOLS.filter((tool) => tool !== "sh").join(" ")}; do
      for dir in ${TOOL_DIRS.join(" ")}; do [ ! -e "$dir/$tool" ] || echo "$dir/$tool"; done
      command -v $tool
    done; echo looked`;
    assertEquals((await node.exec(without(["sh", "-c", look]))).stdout, "looked\n");
  });
  await t.step("and it works", () => liveAndDie(node, without));
  await t.step("and the machine still has its tools", async () => {
    assertEquals((await Deno.readTextFile("/proc/self/mounts")).includes("flock-bare"), false);
    assert((await Deno.stat("/usr/bin/mount")).isFile);
  });
});

/** Every verb, with an environment of CNI's variables and nothing else, run in some way. */
async function liveAndDie(
  node: Node,
  wrap: (argv: readonly string[]) => readonly string[],
): Promise<void> {
  await using made = await createTestPod(node);
  const { pod } = made;
  const call = async (verb: Parameters<Node["cniEnv"]>[0], of?: Pod, prevResult?: unknown) => {
    const env = Object.entries(node.cniEnv(verb, of)).map(([name, value]) => `${name}=${value}`);
    assert(env.every((variable) => variable.startsWith("CNI_")), env.join(" "));
    const { code, stdout, stderr } = await node.attempt(
      wrap(["env", "-i", ...env, EXECUTABLE]),
      { stdin: JSON.stringify(node.netConf(prevResult ? { prevResult } : {})), timeoutMs: 40_000 },
    );
    assertEquals([code, stderr], [0, ""], `${verb}: ${stdout}`);
    return stdout;
  };
  const before = await picture(node);
  assert((await call("VERSION")).includes("supportedVersions"));
  assertEquals(await call("STATUS"), "");
  const result = JSON.parse(await call("ADD", pod));
  const [address = ""] = result.ips.map((ip: { address: string }) => ip.address.split("/")[0]);
  assert(await node.ping(address) !== undefined, `the node reaches ${address}`);
  assertEquals(await call("CHECK", pod, result), "");
  assertEquals(await call("DEL", pod, result), "");
  assertEquals(await picture(node), before);
}
