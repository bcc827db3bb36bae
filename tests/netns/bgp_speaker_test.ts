/**
 * The agent's BIRD component, `flock bird-run` and `flock bird-stop` with a real BIRD in a network
 * namespace.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { BgpSpeaker } from "../../src/agent/bgp.ts";
import { birdStop } from "../../src/cli/bird_stop.ts";
import { renderBirdConfig } from "../../src/core/bird_config.ts";
import { BirdAbsentError } from "../../src/io/birdc.ts";
import { runCommand } from "../../src/io/command.ts";
import { configureLog } from "../../src/log.ts";
import { BIRD_STATES } from "../bird_states.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { BirdHost, until } from "./bird_host.ts";
import { confined } from "./confined.ts";

const TWO_PEERS = renderBirdConfig(BIRD_STATES.two_peers!);
const ONE_PEER = renderBirdConfig(BIRD_STATES.ipv6_only!);
const NO_PEERS = renderBirdConfig(BIRD_STATES.no_peers!);

function speakerOf(host: BirdHost): BgpSpeaker {
  configureLog({ level: "error", format: "json" });
  return new BgpSpeaker({ path: host.config, birdc: host.birdc });
}

async function peersOf(host: BirdHost): Promise<number> {
  return (await host.birdc.protocols()).filter(({ proto }) => proto === "BGP").length;
}

testWith(
  "netns: BgpSpeaker reloads BIRD at once and shares later reloads",
  ["root", "bird"],
  async () => {
    await using host = await BirdHost.create();
    host.birdRun();
    await host.answers();
    await using speaker = speakerOf(host);
    speaker.apply(TWO_PEERS);
    await until("applied", () => Promise.resolve(speaker.state.applied));
    assertEquals(await peersOf(host), 2);
    assertEquals((await host.birdc.status()).routerId, "198.51.100.11");
    for (const text of [ONE_PEER, TWO_PEERS, NO_PEERS, ONE_PEER]) speaker.apply(text);
    await until("applied", () => Promise.resolve(speaker.state.applied));
    assertEquals(speaker.state.reloads, 2);
    assertEquals(await peersOf(host), 1);
    assertEquals(await Deno.readTextFile(host.config), ONE_PEER);
  },
);

testWith(
  "netns: BgpSpeaker keeps file and sessions when BIRD refuses the text",
  ["root", "bird"],
  async () => {
    await using host = await BirdHost.create();
    host.birdRun();
    await host.answers();
    await using speaker = speakerOf(host);
    speaker.apply(TWO_PEERS);
    await until("applied", () => Promise.resolve(speaker.state.applied));
    const { configuredAt } = await host.birdc.status();
    speaker.apply(`${TWO_PEERS}}`);
    await until("refused", () => Promise.resolve(speaker.state.failures > 1));
    assertStringIncludes(speaker.state.error ?? "", "bird.conf.new:");
    assertEquals(await Deno.readTextFile(host.config), TWO_PEERS);
    assertEquals(await peersOf(host), 2);
    assertEquals((await host.birdc.status()).configuredAt, configuredAt);
    speaker.apply(ONE_PEER);
    await until("applied", () => Promise.resolve(speaker.state.applied));
    assertEquals(await peersOf(host), 1);
  },
);

testWith(
  "netns: BgpSpeaker survives that BIRD is absent, comes and goes",
  ["root", "bird"],
  async () => {
    await using host = await BirdHost.create();
    await using speaker = speakerOf(host);
    speaker.apply(TWO_PEERS);
    await until("tried", () => Promise.resolve(speaker.state.failures > 0));
    assertStringIncludes(speaker.state.error ?? "", "Cannot reach BIRD");
    assertEquals(await Deno.readTextFile(host.config), TWO_PEERS);
    speaker.apply(`${TWO_PEERS}}`);
    await until(
      "refused by bird -p",
      () => Promise.resolve(speaker.state.error?.includes("bird.conf.new:") ?? false),
    );
    assertEquals(await Deno.readTextFile(host.config), TWO_PEERS);
    host.birdRun();
    await host.answers();
    assertEquals(await peersOf(host), 2, "BIRD starts with what was put in place");
    speaker.apply(ONE_PEER);
    await until("applied", () => Promise.resolve(speaker.state.applied));
    await host.birdc.down();
    await until("gone", async () => (await host.birds()).size === 0);
    speaker.apply(TWO_PEERS);
    await until("tried", () => Promise.resolve(speaker.state.error !== undefined));
    host.birdRun();
    await until("applied", () => Promise.resolve(speaker.state.applied));
    assertEquals(await peersOf(host), 2);
  },
);

testWith("netns: bird-run recovers at every start but the first, and leaves no BIRD behind", [
  "root",
  "bird",
], async () => {
  await using host = await BirdHost.create();
  const first = host.birdRun();
  await host.answers();
  const [[firstPid, firstLine]] = [...await host.birds()] as [[number, string]];
  assert(!firstLine.includes("-R"), firstLine);
  assertStringIncludes(await Deno.readTextFile(host.config), "router id ");

  const second = await host.birdRun().output();
  assertEquals(second.success, false);
  assertStringIncludes(new TextDecoder().decode(second.stderr), "another BIRD answers there");

  first.kill("SIGKILL");
  await first.status;
  await until("BIRD gone with its parent", async () => !(await host.birds()).has(firstPid));

  const third = host.birdRun();
  await host.answers();
  const [[, thirdLine]] = [...await host.birds()] as [[number, string]];
  assertStringIncludes(thirdLine, " -R");
  third.kill("SIGTERM");
  assertEquals((await third.status).code, 0);
  assertEquals((await host.birds()).size, 0);
  await assertRejects(() => host.birdc.status(), BirdAbsentError);
});

testWith(
  "netns: bird-run ends with BIRD's status when BIRD cannot start",
  ["root", "bird"],
  async () => {
    await using host = await BirdHost.create();
    await Deno.mkdir(`${host.dir}/bird`);
    await Deno.writeTextFile(host.config, "not a configuration");
    const { code, stderr } = await host.birdRun().output();
    assertEquals(code, 1);
    assertStringIncludes(new TextDecoder().decode(stderr), "syntax error");
  },
);

testWith(
  "netns: bird-run names the directory that cannot be written",
  ["root", "bird"],
  async () => {
    await using host = await BirdHost.create();
    await Deno.writeTextFile(`${host.dir}/bird`, "a file where the directory should be");
    const { code, stderr } = await host.birdRun().output();
    assertEquals(code, 1);
    assertStringIncludes(
      new TextDecoder().decode(stderr),
      `Cannot make directory "${host.dir}/bird"`,
    );
  },
);

testWith("netns: bird-stop ends BIRD either way and waits for it", ["root", "bird"], async () => {
  configureLog({ level: "error", format: "json" });
  await using host = await BirdHost.create();
  for (const mode of ["graceful", "goodbye"] as const) {
    const run = host.birdRun();
    await host.answers();
    assertEquals(await birdStop({ socket: host.socket, mode }), 0);
    await assertRejects(() => host.birdc.status(), BirdAbsentError);
    assertEquals((await run.status).code, 0);
  }
  assertEquals(await birdStop({ socket: host.socket, mode: "goodbye" }), 0);
});

testWith("netns: bird-stop that may not ask, or gets no answer, does not say that BIRD is gone", [
  "root",
  "bird",
], async (t) => {
  await using host = await BirdHost.create();
  host.birdRun();
  await host.answers();
  const stop = async (): Promise<readonly [number, string]> => {
    const [command, ...args] = [...confined([]), EXECUTABLE, "bird-stop", "--goodbye"];
    const { code, stderr } = await new Deno.Command(command!, {
      args: [...args, "--bird-socket", host.socket],
      stdout: "null",
    }).output();
    return [code, new TextDecoder().decode(stderr)];
  };

  await t.step("permission denied", async () => {
    await Deno.chown(host.socket, 65_534, 65_534);
    await Deno.chmod(host.socket, 0o600);
    const [code, said] = await stop();
    assertEquals(code, 1, said);
    assertStringIncludes(said, "permission denied");
    assert(!said.includes("was not running"), said);
    await host.answers();
  });

  await t.step("no answer", async () => {
    await Deno.chown(host.socket, 0, 0);
    const [[pid]] = [...await host.birds()] as [[number, string]];
    Deno.kill(pid, "SIGSTOP");
    const [code, said] = await stop();
    Deno.kill(pid, "SIGCONT");
    assertEquals(code, 1, said);
    assert(!said.includes("was not running"), said);
  });

  await t.step("and ends it when it may", async () => {
    assertEquals((await stop())[0], 0);
    const [code, said] = await stop();
    assertEquals(code, 0);
    assertStringIncludes(said, "BIRD was not running");
  });
});

testWith("netns: bird-run keeps the address that went with its link out of BIRD's log", [
  "root",
  "bird",
], async () => {
  await using host = await BirdHost.create();
  const text = "router id 1.2.3.4; log stderr all; protocol device { scan time 1; }";
  const links = Array.from({ length: 20 }, (_, n) => n + 1);
  /** Deletes links while BIRD sleeps: it hears of a few of them, looks, and then hears of the others. */
  const logged = async (child: Deno.ChildProcess): Promise<string> => {
    await host.answers();
    const [[pid]] = [...await host.birds()] as [[number, string]];
    await host.ip(
      links.map((n) =>
        `link add pod${n} type veth peer name peer${n}\naddr add 10.9.8.${n}/32 dev pod${n}`
      ).join("\n"),
    );
    const known = async (): Promise<number> => {
      const { stdout } = await runCommand("birdc", ["-s", host.socket, "show", "interfaces"]);
      return stdout.match(/10\.9\.8\./g)?.length ?? 0;
    };
    await until("BIRD knows the addresses", async () => await known() === links.length);
    Deno.kill(pid, "SIGSTOP");
    await host.ip(links.map((n) => `link del pod${n}`).join("\n"));
    // Until its next scan is overdue.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    Deno.kill(pid, "SIGCONT");
    await until("BIRD knows them no more", async () => await known() === 0);
    await host.birdc.down();
    return (await new Response(child.stderr).text()).trim();
  };
  const lines = /KIF: Received address message for unknown interface/;
  assertMatch(await logged(await host.bird(text)), lines);
  const passed = await logged(host.birdRun());
  assert(!lines.test(passed), passed);
  assertMatch(passed, /<INFO> Started\n[^]*Shutdown completed$/);
});
