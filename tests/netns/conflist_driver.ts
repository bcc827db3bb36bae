/**
 * A list of plugins run as the specification says a runtime does it ("Section 4: Plugin execution"): in
 * order for ADD and CHECK, in reverse for DEL, each with the result before it as prevResult, and with
 * those of the runtime's values whose capability it declares.
 *
 * @module
 */
import type { CniVerb, Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";

/** `plugins[]` of a network configuration list. */
export type PluginConf = Readonly<Record<string, unknown>> & {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
};

/** A network configuration list, and where its plugins are. */
export interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly PluginConf[];
  /** Path of each plugin by its type. */
  readonly executables: Readonly<Record<string, string>>;
  /** What the runtime offers, by capability. */
  readonly runtimeConfig: Readonly<Record<string, unknown>>;
}

/** Adds a pod to a network; the last plugin's result. */
export async function addToList(list: Conflist, node: Node, pod: Pod): Promise<unknown> {
  let prevResult: unknown;
  for (const plugin of list.plugins) {
    prevResult = await runPlugin("ADD", { list, plugin, node, pod, prevResult });
  }
  return prevResult;
}

/** Checks a pod against the result of its ADD; what each plugin that is not content says. */
export async function checkList(
  list: Conflist,
  node: Node,
  pod: Pod,
  prevResult: unknown,
): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const plugin of list.plugins) {
    await runPlugin("CHECK", { list, plugin, node, pod, prevResult })
      .catch((error) => problems.push(error.message));
  }
  return problems;
}

/** Removes a pod from a network. */
export async function deleteFromList(
  list: Conflist,
  node: Node,
  pod: Pod,
  prevResult: unknown,
): Promise<void> {
  for (const plugin of list.plugins.toReversed()) {
    await runPlugin("DEL", { list, plugin, node, pod, prevResult });
  }
}

async function runPlugin(verb: CniVerb, { list, plugin, node, pod, prevResult }: {
  readonly list: Conflist;
  readonly plugin: PluginConf;
  readonly node: Node;
  readonly pod: Pod;
  readonly prevResult: unknown;
}): Promise<unknown> {
  const { capabilities = {}, ...conf } = plugin;
  const offered = Object.entries(list.runtimeConfig).filter(([name]) => capabilities[name]);
  const stdin = JSON.stringify({
    ...conf,
    cniVersion: list.cniVersion,
    name: list.name,
    ...(offered.length > 0 ? { runtimeConfig: Object.fromEntries(offered) } : {}),
    ...(prevResult === undefined ? {} : { prevResult }),
  });
  // The reference plugins look for their tools themselves.
  const env = { ...node.cniEnv(verb, pod), PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  const executable = list.executables[plugin.type] ?? "";
  const { code, stdout, stderr } = await node.attempt([executable], {
    env,
    stdin,
    timeoutMs: 40_000,
  });
  if (code !== 0) {
    throw new Error(`Cannot ${verb} "${pod.key}" by plugin "${plugin.type}": ${stdout}${stderr}`);
  }
  return stdout === "" ? undefined : JSON.parse(stdout);
}
