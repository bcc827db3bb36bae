/**
 * What operators see of policies is what the kernel does with packets: `flock policies`, its explanations, the
 * rendered table, the status and the metrics, beside pings.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Inspection, Rendered, Status } from "../../src/core/inspection.ts";
import type { PolicyExplanation, PolicyList } from "../../src/core/policy_inspection.ts";
import type { ExecResult } from "../../src/lab/host.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { networkPolicy } from "../policy_objects.ts";
import { testWith } from "../support.ts";
import { createNodeLab, hostIfname } from "./node_probe.ts";
import { METRICS_ADDRESS, parseScrape, scrape } from "./scrape.ts";

const MODE = "flock.fritzlab.net/policy-mode";

async function flock(node: Node, args: string): Promise<ExecResult> {
  const env = { FLOCK_SOCKET: node.socket };
  return await node.attempt([EXECUTABLE, ...args.split(" ")], { env });
}

async function ask<T extends Inspection>(node: Node, args: string, status = 0): Promise<T> {
  const { code, stdout, stderr } = await flock(node, `${args} -o json`);
  assertEquals([code, stderr], [status, ""], args);
  return JSON.parse(stdout);
}

/** Packets that went out and came back. */
async function ping(from: Pod, to: string, ...options: readonly string[]): Promise<number> {
  const args = ["ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", ...options, to];
  const { stdout } = await from.attempt(args);
  return Number(/(\d+) received/.exec(stdout)?.[1] ?? NaN);
}

testWith("netns: what is told of policies is what the kernel does", ["root", "bird"], async (t) => {
  const { lab, node } = await createNodeLab({ agentArgs: ["--metrics-address", METRICS_ADDRESS] });
  await using _lab = lab;
  await node.writeManifest("policies.json", [
    networkPolicy("default", "db", {
      podSelector: { matchLabels: { app: "db" } },
      ingress: [
        { from: [{ ipBlock: { cidr: "300.0.0.0/8" } }] },
        { from: [{ podSelector: { matchLabels: { app: "web" } } }], ports: [{ port: 5432 }] },
      ],
    }),
  ]);
  await lab.start();
  const add = async (app: string): Promise<Pod> => {
    const pod = await node.createPod({ name: app, labels: { app }, ready: true });
    await node.add(pod);
    return pod;
  };
  const [web, db] = [await add("web"), await add("db")];
  const link = hostIfname(db);
  const podOf = async (name: string) =>
    (await ask<PolicyList>(node, "policies")).pods.find(({ pod }) => pod === `default/${name}`)!;

  await t.step("explain says what a ping meets, in both families", async () => {
    const denied = await ask<PolicyExplanation>(
      node,
      "policies explain default/web default/db icmp",
      1,
    );
    assertEquals(denied.items.map(({ family, allowed }) => [family, allowed]), [
      ["ipv6", false],
      ["ipv4", false],
    ]);
    const back = await ask<PolicyExplanation>(
      node,
      "policies explain default/db default/web icmp",
    );
    assertEquals(back.passes, true);
    const [six, four] = [db.address("ipv6")!, db.address("ipv4")!];
    assertEquals([await ping(web, six), await ping(web, four)], [0, 0]);
    // Replies are not asked about.
    assertEquals([await ping(db, web.address("ipv6")!), await ping(db, web.address("ipv4")!)], [
      2,
      2,
    ]);
    assertEquals([await ping(db, six), await ping(db, four)], [2, 2]);
    const sql = await flock(node, "policies explain default/web default/db 5432");
    assertEquals(sql.code, 0, sql.stderr);
    assertStringIncludes(
      sql.stdout,
      "allowed by default/db, ingress rule 2: from pods app=web of this namespace, on tcp/5432",
    );
  });

  await t.step("the list counts what was denied, and names what it cannot use", async () => {
    const { items: [policy], inForce } = await ask<PolicyList>(node, "policies");
    assertEquals([policy?.selects, policy?.problems.length, inForce], [["db"], 1, true]);
    assertEquals((await flock(node, "policies --check")).code, 1);
    const pod = await podOf("db");
    assertEquals([pod.hostIfname, pod.ingress.policies, pod.ingress.dropped?.packets], [
      link,
      ["db"],
      4,
    ]);
    assertEquals(pod.ingress.dropped?.bytes, 2 * 84 + 2 * 104);
    assertEquals((await podOf("web")).ingress.policies, undefined);
    const { stdout } = await flock(node, "policies");
    assert(
      stdout.split("\n").some((line) => /^default\/db +enforce +db +- +4 +0 +0$/.test(line)),
      stdout,
    );
  });

  await t.step("an address that a pod does not have is counted as spoofed", async () => {
    await web.ip("address", "add", "198.51.100.200/32", "dev", "eth0");
    assertEquals(
      await ping(web, "198.51.100.1", "-I", "198.51.100.200"),
      0,
    );
    assertEquals((await podOf("web")).spoofed?.packets, 2);
    await web.ip("address", "del", "198.51.100.200/32", "dev", "eth0");
  });

  await t.step("metrics have the same numbers", async () => {
    const values = parseScrape(await scrape(node));
    const of = (key: string): number | undefined => values[key];
    const labels = 'namespace="default",pod="db"';
    assertEquals(
      of(`flock_netpol_denied_packets_total{${labels},direction="ingress",mode="enforce"}`),
      4,
    );
    assertEquals(of('flock_spoofed_packets_total{namespace="default",pod="web"}'), 2);
    assertEquals(of(`flock_spoofed_packets_total{${labels}}`), 0);
    assertEquals([of("flock_netpol_policies"), of("flock_netpol_selected_pods")], [1, 1]);
    assertEquals(of("flock_netpol_in_force"), 1);
    assert(of('flock_netpol_apply_duration_seconds_count{result="success"}')! >= 1);
    const { stdout } = await node.exec(["nft", "-s", "list", "table", "inet", "flock"]);
    const rules = stdout.split("\n").filter((line) =>
      /^\t\t\S/.test(line) && /(accept|drop|goto \S+|jump \S+|vmap @\S+|return)$/.test(line)
    );
    assertEquals(of("flock_netpol_rules"), rules.length, stdout);
  });

  await t.step("in audit mode it passes, and all say so", async () => {
    await node.updatePod(db, { annotations: { [MODE]: "audit" } });
    await until("audit mode", async () => (await podOf("db")).mode === "audit");
    assertEquals(await ping(web, db.address("ipv6")!), 2);
    const { passes, items } = await ask<PolicyExplanation>(
      node,
      "policies explain default/web default/db icmp",
    );
    assertEquals([passes, items[0]?.allowed, items[0]?.ingress.mode], [true, false, "audit"]);
    const { ingress } = await podOf("db");
    assertEquals(ingress.audited?.packets, 1, "the rest of the flow is established");
    const status = await ask<Status>(node, "status");
    assertEquals(status.policies, { total: 1, selectedPods: 1, inForce: true });
  });

  await t.step("a table that somebody deletes is there again, with the same rules", async () => {
    const list = async (): Promise<string> =>
      (await node.attempt(["nft", "-s", "list", "table", "inet", "flock"])).stdout;
    const before = await list();
    await node.exec(["nft", "delete", "table", "inet", "flock"]);
    await until("the table", async () => (await list()).length === before.length);
    assertEquals((await list()).split("\n").sort(), before.split("\n").sort());
    await until(
      "that it is counted",
      async () => parseScrape(await scrape(node)).flock_netpol_restores_total === 1,
    );
    await node.updatePod(db);
    await until("enforcement", async () => (await podOf("db")).mode === "enforce");
  });

  await t.step("without an agent it stays denied; the next one goes on counting", async () => {
    await node.killAgent();
    assertEquals(await ping(web, db.address("ipv4")!), 0);
    await node.startAgent();
    await node.waitReady();
    await until("its policies", async () => (await ask<PolicyList>(node, "policies")).inForce);
    assertEquals((await podOf("db")).ingress.dropped?.packets, 2);
  });

  await t.step("the rendered table is what nft takes, and what is there", async () => {
    const { text, inForce } = await ask<Rendered>(node, "render nft");
    assertEquals(inForce, true);
    await node.exec(["nft", "-c", "-f", "-"], { stdin: text });
    const list = async (): Promise<string> =>
      (await node.exec(["nft", "-s", "list", "table", "inet", "flock"])).stdout;
    const before = await list();
    await node.exec(["nft", "-f", "-"], { stdin: text });
    assertEquals((await list()).split("\n").sort(), before.split("\n").sort());
  });

  await t.step("without policies there is none to tell of", async () => {
    await node.writeManifest("policies.json", []);
    await until(
      "the end of the policies",
      async () => (await ask<PolicyList>(node, "policies")).items.length === 0,
    );
    assertStringIncludes((await flock(node, "policies")).stdout, "There is no NetworkPolicy.");
  });
});
