/**
 * Policies of a lab: written as manifests, waited for, and read from the kernel as `nft` lists them.
 *
 * @module
 */
import type { PolicyList } from "../../src/core/policy_inspection.ts";
import { callAgent } from "../../src/io/socket.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import { until } from "../../src/lab/wait.ts";
import { type ApiNamespace, type ApiPolicy, namespace } from "../policy_objects.ts";

export interface ListedTable {
  /** The whole listing. */
  readonly text: string;
  /** Rules of each chain, as listed. */
  readonly chains: ReadonlyMap<string, string>;
  /** Elements of each set and map, as listed. */
  readonly sets: ReadonlyMap<string, readonly string[]>;
}

/** The table `inet flock` of a node. @throws {Error} when there is none */
export async function listTable(node: Node): Promise<ListedTable> {
  const { stdout: text } = await node.exec(["nft", "list", "table", "inet", "flock"]);
  const chains = new Map<string, string>();
  const sets = new Map<string, readonly string[]>();
  for (const [, kind, name = "", body = ""] of text.matchAll(BLOCK)) {
    if (kind === "chain") chains.set(name, body);
    const elements = /elements = \{(.*?)\}/s.exec(body)?.[1] ?? "";
    const listed = elements.split(",").map((element) => element.trim());
    if (kind !== "chain") sets.set(name, listed.filter((element) => element !== ""));
  }
  return { text, chains, sets };
}

const BLOCK = /^\t(chain|set|map) (\S+) \{\n(.*?)^\t\}$/gms;

/** What `flock policies` is made of. */
export async function askPolicies(node: Node): Promise<PolicyList> {
  const options = { connectMs: 2_000, timeoutMs: 10_000 };
  return await callAgent(node.socket, { op: "policies" }, options) as PolicyList;
}

/**
 * Writes all policies that there are, each as if it was made anew, and waits until every agent says that
 * these and no others are in force.
 *
 * @returns their UIDs
 */
export async function putPolicies(
  lab: Lab,
  policies: readonly ApiPolicy[],
): Promise<readonly string[]> {
  const uids = await writePolicies(lab.nodes[0]!, policies);
  await Promise.all(lab.nodes.map((node) => waitInForce(node, uids)));
  return uids;
}

/** Only writes them. @returns their UIDs */
export async function writePolicies(
  node: Node,
  policies: readonly ApiPolicy[],
  namespaces: readonly ApiNamespace[] = [namespace("default")],
): Promise<readonly string[]> {
  const fresh = policies.map((policy) => ({
    ...policy,
    metadata: { ...policy.metadata, uid: crypto.randomUUID() },
  }));
  await node.writeManifest("policies.yaml", [...namespaces, ...fresh]);
  return fresh.map(({ metadata }) => metadata.uid);
}

/** Waits until an agent says that exactly the policies with these UIDs are in force. */
export async function waitInForce(node: Node, uids: readonly string[]): Promise<void> {
  await until(`policies in force on ${node.name}`, async () => {
    const { items, inForce, error } = await askPolicies(node);
    const different = new Set(items.map(({ uid }) => uid)).symmetricDifference(new Set(uids));
    if (different.size > 0) throw new Error(`${different.size} of ${uids.length} differ`);
    if (!inForce) throw new Error(`not in force: ${error ?? "on the way"}`);
    return true;
  }, { everyMs: 10 });
}
