/**
 * Audit mode: what policies deny passes, is counted, and is in the log, with the policies' names.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { namespace, networkPolicy } from "../policy_objects.ts";
import { testWith } from "../support.ts";
import { createTestLab } from "./test_lab.ts";
import { askPolicies, waitInForce, writePolicies } from "./policy_table.ts";

const MODE = "flock.fritzlab.net/policy-mode";
const POLICIES = [
  networkPolicy("default", "deny-all", {
    podSelector: { matchLabels: { app: "db" } },
    policyTypes: ["Ingress", "Egress"],
  }),
  networkPolicy("default", "web-to-db", {
    podSelector: { matchLabels: { app: "db" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }] }],
  }),
];

/** True when one echo comes back. */
async function pings(from: Pod, to: Pod): Promise<boolean> {
  const address = to.address("ipv4")!;
  return (await from.attempt(["ping", "-q", "-c", "1", "-W", "1", address])).code === 0;
}

async function podOf(node: Node, name: string) {
  return (await askPolicies(node)).pods.find(({ pod }) => pod === `default/${name}`);
}

/** The log, as `tcpdump` prints or writes it. It has one reader at a time. */
async function follow(node: Node, name: string, ...args: readonly string[]) {
  const tcpdump = await node.spawn(name, ["tcpdump", "-l", "-n", "-i", "nflog:7", ...args]);
  const text = (): string => new TextDecoder("latin1").decode(Deno.readFileSync(tcpdump.log));
  const sees = (what: string): Promise<boolean> =>
    until(`${what} in the log`, () => Promise.resolve(text().includes(what)));
  await sees("listening on nflog");
  return {
    text,
    sees,
    async [Symbol.asyncDispose](): Promise<void> {
      await tcpdump.stop();
    },
  };
}

testWith("netns: policies in audit mode", ["root", "bird", "tcpdump"], async (t) => {
  await using lab = await createTestLab({ executable: EXECUTABLE, nodes: 1 });
  await lab.start();
  const node = lab.node("n1");
  const add = async (app: string): Promise<Pod> => {
    const pod = await node.createPod({ name: app, labels: { app } });
    await node.add(pod);
    return pod;
  };
  const [web, other, db] = [await add("web"), await add("other"), await add("db")];
  const audit = { ...namespace("default"), metadata: { name: "default", annotations: {} } };
  const put = async (annotations: Record<string, string>): Promise<void> => {
    const object = { ...audit, metadata: { ...audit.metadata, annotations } };
    await waitInForce(node, await writePolicies(node, POLICIES, [object]));
  };

  await t.step("enforced, it is denied", async () => {
    await put({});
    assertEquals([await pings(web, db), await pings(other, db)], [true, false]);
  });

  await t.step("in audit mode by its namespace it passes, is counted and logged", async () => {
    await put({ [MODE]: "audit" });
    await until("audit mode", async () => (await podOf(node, "db"))?.mode === "audit");
    await using log = await follow(node, "nflog");
    assertEquals([await pings(web, db), await pings(other, db)], [true, true]);
    const pod = await podOf(node, "db");
    // What was dropped before stays counted.
    assertEquals([pod?.ingress.audited?.packets, pod?.ingress.dropped?.packets], [1, 1]);
    await log.sees(`IP ${other.address("ipv4")} > ${db.address("ipv4")}: ICMP echo request`);
    assert(!log.text().includes(`IP ${web.address("ipv4")} >`), "what is allowed is not logged");
  });

  await t.step("each direction is counted by itself, and logged with its policies", async () => {
    await using log = await follow(node, "nflog-bytes", "-U", "-w", "-");
    assertEquals([await pings(db, other), await pings(other, db)], [true, true]);
    const pod = await podOf(node, "db");
    assertEquals([pod?.egress.audited?.packets, pod?.ingress.audited?.packets], [1, 2]);
    await log.sees("flock egress default/deny-all: \0");
    await log.sees("flock ingress default/deny-all,default/web-to-db: \0");
  });

  await t.step("a pod's own annotation counts more than its namespace's", async () => {
    await node.updatePod(db, { annotations: { [MODE]: "enforce" } });
    await until("enforcement", async () => (await podOf(node, "db"))?.mode === "enforce");
    assertEquals([await pings(web, db), await pings(other, db)], [true, false]);
  });

  await t.step("a value that is none is enforced, and warned about once", async () => {
    await put({ [MODE]: "off" });
    await node.updatePod(db);
    await until("enforcement", async () => (await podOf(node, "db"))?.mode === "enforce");
    assertEquals(await pings(other, db), false);
    const logged = await Deno.readTextFile(node.agent!.log);
    const warnings = logged.split("\n").filter((line) => line.includes("Ignored policy-mode"));
    assertEquals(warnings.length, 1, warnings.join("\n"));
    assertStringIncludes(warnings[0] ?? "", "Namespace default");
  });
});
