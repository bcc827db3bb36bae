import { assert, assertEquals } from "@std/assert";
import { chronyStatus } from "./chrony.ts";
import type { RunCommand } from "./command.ts";
import { viewHost } from "./host_view.ts";
import { readToolVersions } from "./tool_versions.ts";

Deno.test("viewHost() reads files as they are, empty ones and links to /dev/null too", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/a.conf`, "one\n\n two");
    await Deno.writeTextFile(`${dir}/b.conf`, "");
    await Deno.symlink("/dev/null", `${dir}/c.conf`);
    await Deno.mkdir(`${dir}/d.conf`);
    await Deno.writeTextFile(`${dir}/e.other`, "no");
    const { files } = await viewHost([], [`${dir}/*.conf`, `${dir}/absent`]);
    assertEquals(files, [
      { path: `${dir}/a.conf`, text: "one\n\n two" },
      { path: `${dir}/b.conf`, text: "" },
      { path: `${dir}/c.conf`, text: "" },
    ]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("viewHost() finds processes by their names", async () => {
  // Told from the sleep of anybody else.
  const seconds = `1000.${Deno.pid}`;
  const child = new Deno.Command("sleep", { args: [seconds] }).spawn();
  try {
    const end = performance.now() + 5_000;
    const look = async () => (await viewHost(["sleep", "flock-absent"], [])).processes;
    let processes = await look();
    // It has its name once it is what it was started as.
    while (!processes.some(({ commandLine }) => commandLine.endsWith(` ${seconds}`))) {
      assert(performance.now() < end, JSON.stringify(processes));
      processes = await look();
    }
    assertEquals(processes.filter(({ name }) => name !== "sleep"), []);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
});

/** A tool that says this. */
function saying(said: Readonly<Record<string, string>>): RunCommand {
  return (tool) => {
    if (said[tool] === undefined) throw new Deno.errors.NotFound(tool);
    return Promise.resolve({ stdout: "", stderr: said[tool] });
  };
}

Deno.test("readToolVersions() understands each tool", async () => {
  const bird = "BIRD version 2.0.12\n";
  const nft = "nftables v1.0.6 (Lester Gooch #5)\n";
  const ip = "ip utility, iproute2-6.1.0, libbpf 1.1.2\n";
  const conntrack = "conntrack v1.4.7 (conntrack-tools)\n";
  assertEquals(await readToolVersions(saying({ bird, nft, ip, conntrack })), [
    { tool: "bird", version: "2.0.12" },
    { tool: "ip", version: "6.1.0" },
    { tool: "nft", version: "1.0.6" },
    { tool: "conntrack", version: "1.4.7" },
  ]);
  assertEquals((await readToolVersions(saying({ bird, ip })))[2], { tool: "nft" });
});

Deno.test("chronyStatus() has chrony's own words", async () => {
  const run = (stdout: string): RunCommand => () => Promise.resolve({ stdout, stderr: "" });
  const tracking = "Reference ID    : CB00710F ()\nStratum         : 3\nLeap status     : Normal\n";
  assertEquals(await chronyStatus(run(tracking)), "Normal");
  assertEquals(await chronyStatus(run("")), undefined);
});
