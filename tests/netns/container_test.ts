/**
 * The agent as in its container: a root file system of its own with nothing of the host but the five
 * mounts of the DaemonSet, and the permissions that are baked into the executable.
 *
 *     /  (tmpfs)   usr, bin, sbin, lib, lib64   the image: read-only
 *                  /run                          its own
 *                  /run/netns                    the host's, HostToContainer (rslave)
 *                  /run/flock, /var/lib/flock, /opt/cni/bin, /etc/cni/net.d    the host's
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { testWith } from "../support.ts";
import { EXECUTABLE } from "../executable.ts";
import { assertNothingLeft, createNodeLab, stored } from "./node_probe.ts";

/** Directory of the executable and what belongs to it. */
const IMAGE = EXECUTABLE.replace(/\/[^/]*$/, "");
/** Directory of Deno, which the launcher starts: in the image's /usr, or where npx keeps it. */
const RUNTIME = Deno.execPath().replace(/\/[^/]*$/, "");

/**
 * Runs `$@` in a container: `$0` is where its root is put together, `$1` the host's directories, `$2` the
 * image's of the executable, `$3` that of Deno, `$4` the manifests. The host's root is gone from its mount namespace then.
 */
const CONTAINER = `
set -e
root=$0 host=$1 image=$2 runtime=$3 manifests=$4; shift 4
mkdir -p "$root"
mount -t tmpfs container "$root"
put() { mkdir -p "$root$2"; mount "\${3:---bind}" "$1" "$root$2"; }
ro() { put "$1" "$2"; mount -o remount,bind,ro "$root$2"; }
ro /usr /usr
for d in bin sbin lib lib64; do [ ! -L /$d ] || ln -s "$(readlink /$d)" "$root/$d"; done
for d in proc sys dev; do put /$d /$d --rbind; done
ro "$image" "$image"
[ -e "$root$runtime" ] || ro "$runtime" "$runtime"
ro "$manifests" /manifests
mkdir -p "$root/run" "$root/tmp"
put /run/netns /run/netns --rbind
mount --make-rslave "$root/run/netns"
put "$host/run" /run/flock
put "$host/state" /var/lib/flock
put "$host/cni-bin" /opt/cni/bin
put "$host/net.d" /etc/cni/net.d
mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l /old
rmdir /old
shift
exec "$@"`;

testWith("netns: the agent works in a container with exactly its mounts, for pods made later", [
  "root",
  "bird",
  "ping",
], async () => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  for (const dir of ["run", "state", "cni-bin", "net.d"]) {
    await Deno.mkdir(`${node.dir}/${dir}`, { recursive: true });
  }
  const before = await mountsOf("self");
  await node.startAgent({
    via: [
      ...["unshare", "--mount", "--propagation", "slave", "sh", "-c", CONTAINER],
      ...[`${node.dir}/root`, node.dir, IMAGE, RUNTIME, node.manifestsDir, "--"],
    ],
    args: [
      ...["--manifests", "/manifests", "--socket", "/run/flock/flock.sock"],
      ...["--state-dir", "/var/lib/flock", "--conflist", "/etc/cni/net.d/01-flock.conflist"],
      ...[
        "--bird-config",
        "/run/flock/bird/bird.conf",
        "--bird-socket",
        "/run/flock/bird/bird.ctl",
      ],
    ],
  });
  await node.waitReady();

  const mounts = (await mountsOf(String(node.agent?.pid))).filter((path) =>
    !/^\/(proc|sys|dev)(\/|$)/.test(path) && !path.startsWith("/run/netns/")
  );
  assertEquals(
    mounts.sort(),
    [
      "/",
      "/etc/cni/net.d",
      "/manifests",
      "/opt/cni/bin",
      "/run/flock",
      "/run/netns",
      "/usr",
      "/var/lib/flock",
      IMAGE,
      ...(RUNTIME.startsWith("/usr/") ? [] : [RUNTIME]),
    ].sort(),
  );

  // Its namespace is made after the agent started: it is there only by propagation.
  const pod = await node.createPod({
    name: "p",
    annotations: { "flock.fritzlab.net/anycast": "2001:db8:ffff::53,203.0.113.200" },
  });
  await node.add(pod);
  await node.check(pod);
  for (const family of ["ipv6", "ipv4"] as const) {
    assert(await node.ping(pod.address(family)!) !== undefined, family);
  }
  assertEquals((await stored(node)).map(({ netns }) => netns), [pod.netnsPath]);
  assertEquals(await names(`${node.dir}/net.d`), ["01-flock.conflist"]);
  await node.del(pod);
  await assertNothingLeft(node, [pod]);
  assertEquals((await node.stopAgent())?.code, 0);

  const said = await Deno.readTextFile(`${node.dir}/agent.log`);
  const refused = said.split("\n").filter((line) => /NotCapable|Requires .* access/.test(line));
  assertEquals(refused, [], "the baked permissions are enough");
  assertEquals(await mountsOf("self"), before, "nothing is mounted on the host");
});

testWith(
  "netns: the agent refuses a pod namespace that it cannot see",
  ["root", "bird"],
  async () => {
    const { lab, node } = await createNodeLab();
    await using _lab = lab;
    // As without HostToContainer: what is mounted later does not come in.
    await node.startAgent({ via: ["unshare", "--mount", "--propagation", "private"] });
    await node.waitReady();
    const pod = await node.createPod({ name: "p" });
    const { code, json } = await node.cni("ADD", pod);
    assertEquals([code, json?.code], [1, 8]);
    assert(String(json?.msg).includes(pod.netnsPath), String(json?.msg));
    await assertNothingLeft(node, [pod]);
  },
);

async function mountsOf(process: string): Promise<readonly string[]> {
  const text = await Deno.readTextFile(`/proc/${process}/mountinfo`);
  return text.trimEnd().split("\n").map((line) => line.split(" ")[4]!)
    .filter((path) => !path.startsWith("/run/netns/"));
}

async function names(dir: string): Promise<readonly string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}
