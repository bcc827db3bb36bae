/**
 * Makes a lab with processes of every kind that could be forgotten, prints what it made as one line of
 * JSON, and waits for whatever the test does to it.
 *
 * @module
 */
import { createLab } from "../../src/lab/lab.ts";

const lab = await createLab({ executable: "/bin/true", router: "bird", nodes: 1 });
const n1 = lab.node("n1");
const pod = await n1.createPod({ name: "p" });

await n1.spawn("plain", ["sleep", "1000"]);
await n1.spawn("deaf", ["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done"]);
await n1.spawn("mounts", ["unshare", "--mount", "sleep", "1000"]);
// It left the lab's network and its session; the mark stays.
await n1.spawn("left", ["sh", "-c", "setsid unshare --net sleep 1000 & wait"]);
await pod.spawn("in-pod", ["sleep", "1000"]);
// A command that is under way, not a background process.
lab.client.exec(["sleep", "1000"], { timeoutMs: 1_000_000 }).catch(() => {});
// A mount that would keep the directory.
const mountPoint = `${lab.dir}/mounted`;
await Deno.mkdir(mountPoint);
await new Deno.Command("mount", { args: ["-t", "tmpfs", "flock-lab", mountPoint] }).output();

const pids = lab.processes.map((process) => process.pid);
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify({ id: lab.id, pids }) + "\n"));
const how = Deno.args[0];
if (how === "crash") throw new Error("as asked");
if (how === "exit") Deno.exit(0);
await new Promise(() => setInterval(() => {}, 1_000_000));
