/**
 * The page of a real node in a real browser: from a file and from the agent, light and dark. It holds what
 * the node has, asks for nothing else, complains of nothing, and is not blank.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { show, type Shown } from "../browser.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";
import { createNodeLab } from "./node_probe.ts";

const ANY = "2001:db8:ffff::53";
const URL_OF_PAGE = "http://127.0.0.1:9474/";

testWith("netns: a browser shows the page of a node", ["root", "bird", "chromium"], async (t) => {
  const { lab, node } = await createNodeLab({
    agentArgs: ["--metrics-address", "127.0.0.1:9474"],
  });
  await using _lab = lab;
  await lab.start();
  const anycast = { "flock.fritzlab.net/anycast": ANY };
  const pods: Pod[] = [];
  for (const [name, annotations] of [["a", anycast], ["b", anycast], ["c", {}]] as const) {
    const pod = await node.createPod({ name, annotations });
    await node.add(pod);
    pods.push(pod);
  }
  await node.updatePod(pods[1]!, { ready: false });
  await lab.router.waitRoute(`${ANY}/128`);

  const file = `${node.dir}/page.html`;
  const save = (): Promise<unknown> =>
    node.exec([EXECUTABLE, "status", "--html", file, "--socket", node.socket]);
  await until("the page has the pod that is held back", async () => {
    await save();
    const page = await Deno.readTextFile(file);
    return page.includes("✓ announced to 1 peer") && page.includes("held back: it is not Ready");
  });
  const run: Parameters<typeof show>[1]["run"] = (argv, options) => node.exec(argv, options);
  const look = (url: string, dark = false): Promise<Shown> =>
    show(url, { run, dir: node.dir, dark });

  const blank = await look("about:blank");
  const assertShows = (shown: Shown): void => {
    for (
      const text of [
        "✓ All is well",
        ANY,
        "default/a",
        "! held back: it is not Ready",
        "other pods: 1",
        "2001:db8:25::1",
        "10.244.1.0/24",
        ...pods.map((pod) => pod.address("ipv6")!),
      ]
    ) assertStringIncludes(shown.dom, text);
    assertEquals(shown.console, []);
    assert(shown.ink > 20 * blank.ink && shown.ink > 50_000, `${shown.ink}, blank ${blank.ink}`);
  };

  await t.step("from a file, without any request", async () => {
    const shown = await look(`file://${file}`);
    assertShows(shown);
    assertEquals(shown.requests, []);
  });

  await t.step("from the agent, in the dark, with this one request", async () => {
    const shown = await look(URL_OF_PAGE, true);
    assertShows(shown);
    assertEquals(shown.requests, [URL_OF_PAGE]);
  });

  await t.step("a page that does ask and complain is found out", async () => {
    const bad = `${node.dir}/bad.html`;
    await Deno.writeTextFile(
      bad,
      `<img src="${URL_OF_PAGE}x.png"><script>console.error("oh")</script>`,
    );
    const { requests, console } = await look(`file://${bad}`);
    assertEquals(requests, [`${URL_OF_PAGE}x.png`]);
    assertStringIncludes(console.join("\n"), "oh");
  });

  await t.step(
    "the command writes to standard output, and says where it cannot write",
    async () => {
      const args = [EXECUTABLE, "status", "--socket", node.socket, "--html"];
      const { stdout } = await node.exec([...args, "-"]);
      assert(stdout.startsWith("<!DOCTYPE html>"));
      const { code, stderr } = await node.attempt([...args, `${node.dir}/none/page.html`]);
      assertEquals(code, 1);
      assertStringIncludes(stderr, `Cannot write page "${node.dir}/none/page.html": `);
    },
  );

  await t.step("what is wrong is on top", async () => {
    await node.stopBird();
    await save();
    const page = await Deno.readTextFile(file);
    assertStringIncludes(page, "✗ Something is wrong");
    assertStringIncludes(page, "<li>BIRD cannot be asked: ");
  });
});
