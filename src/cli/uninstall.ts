/**
 * `flock uninstall`: takes flock off a node. First it is made sure that nothing of flock runs and no pod
 * uses it; then everything is removed that flock ever made, known by its marks and not by anybody's
 * memory, in the order in which nothing is left half alive:
 *
 * ```
 * configuration list → BIRD → links, routes, next hops, filters → sysctls → state → plugin
 * ```
 *
 * Asked again, or after it failed half-way, it removes what is left.
 *
 * @module
 */
import { type Attachment, attachmentKey, parseState } from "../core/attachment.ts";
import { NFT_TABLE, PLUGIN_NAME, PROTO_ANNOUNCED } from "../core/config.ts";
import { messageOf, TerminalError } from "../core/errors.ts";
import { hostIfnamesOf, nexthopDeletions, routeDeletions } from "../core/leftovers.ts";
import { isOwnConflist, listAside, putBack } from "../io/conflists.ts";
import { listDeletions } from "../io/deletion_queue.ts";
import { parentOf, readTextIfPresent, removeFileDurable } from "../io/fs.ts";
import { createIp, type Ip } from "../io/ip.ts";
import { listNexthops } from "../io/nexthops.ts";
import { createNft } from "../io/nft.ts";
import { createSysctl } from "../io/sysctl.ts";
import { birdStop } from "./bird_stop.ts";

export interface UninstallOptions {
  readonly stateDir: string;
  /** Path of the agent's socket: its directory goes. */
  readonly socket: string;
  readonly birdSocket: string;
  readonly pluginDir: string;
  /** Path of the network configuration list, in the runtime's directory. */
  readonly conflist: string;
  /** Also while pods use it: they lose their network. */
  readonly force: boolean;
  /** Only tell. */
  readonly dryRun: boolean;
  /** Tells a line. */
  readonly say: (line: string) => void;
}

/** Something to remove: what it is called, and how. */
interface Step {
  readonly what: string;
  run(): Promise<void>;
}

/**
 * Removes flock from this node.
 *
 * @returns exit status: 0, or 1 when something could not be removed
 * @throws {TerminalError} when flock still runs or pods use it: then nothing was touched
 */
export async function uninstall(options: UninstallOptions): Promise<number> {
  const ip = createIp();
  await refuseRunningAgent(options.stateDir);
  if (!options.force) await refuseUse(options, ip);
  let failures = 0;
  for (const find of [configurationSteps, birdSteps, kernelSteps, sysctlSteps, fileSteps]) {
    for (const { what, run } of await find(options, ip)) {
      if (options.dryRun) {
        options.say(`would remove ${what}`);
        continue;
      }
      try {
        await run();
        options.say(`removed ${what}`);
      } catch (error) {
        failures += 1;
        options.say(`cannot remove ${what}: ${messageOf(error)}`);
      }
    }
  }
  return failures === 0 ? 0 : 1;
}

/** The agent holds a lock on its state directory; it would make again what is removed. */
async function refuseRunningAgent(stateDir: string): Promise<void> {
  let lock: Deno.FsFile;
  try {
    lock = await Deno.open(`${stateDir}/lock`, { write: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  // Not "using": the bundler would lose the end of it (scripts/bundle.ts).
  try {
    if (await lock.tryLock(true)) return;
  } finally {
    lock.close();
  }
  const holder = (await readTextIfPresent(`${stateDir}/lock`))?.trim() || "somebody";
  throw new TerminalError(
    `Cannot uninstall flock: the agent runs (${holder}); delete the DaemonSets first`,
  );
}

async function refuseUse({ stateDir }: UninstallOptions, ip: Ip): Promise<void> {
  const used = [
    ...hostIfnamesOf((await ip.observe()).links).map((ifname) => `link ${ifname}`),
    ...(await attachmentsOf(stateDir)).map(({ namespace, podName }) =>
      `pod ${namespace}/${podName}`
    ),
  ];
  if (used.length === 0) return;
  const shown = used.slice(0, 5).join(", ") + (used.length > 5 ? ", …" : "");
  throw new TerminalError(
    `Cannot uninstall flock: pods use it (${shown}); drain the node first, or --force`,
  );
}

/** Attachments of this boot that nobody has asked to delete. */
async function attachmentsOf(stateDir: string): Promise<readonly Attachment[]> {
  const text = await readTextIfPresent(`${stateDir}/allocations.json`);
  if (text === undefined) return [];
  const { bootId, attachments } = parseState(text);
  const path = "kernel/random/boot_id";
  if (bootId !== (await createSysctl().read([path]))[path]) return [];
  const deleted = new Set((await listDeletions(stateDir)).deletions.map(attachmentKey));
  return attachments.filter((attachment) => !deleted.has(attachmentKey(attachment)));
}

/** First of all the runtime must stop to use it. */
async function configurationSteps({ conflist }: UninstallOptions): Promise<readonly Step[]> {
  const dir = parentOf(conflist);
  const own: Step[] = await isOwnConflist(conflist)
    ? [{ what: conflist, run: async () => void await removeFileDurable(conflist) }]
    : [];
  return [
    ...own,
    ...(await listAside(dir)).map((name): Step => ({
      what: `what sets ${dir}/${name} aside`,
      run: () => putBack(dir, name),
    })),
  ];
}

/** A goodbye, so that the routers send nothing here any more. */
async function birdSteps({ birdSocket }: UninstallOptions): Promise<readonly Step[]> {
  try {
    using _connection = await Deno.connect({ transport: "unix", path: birdSocket });
  } catch {
    return []; // nobody answers
  }
  const stop = async (): Promise<void> => {
    const status = await birdStop({ socket: birdSocket, mode: "goodbye" });
    if (status !== 0) throw new Error("it did not end");
  };
  return [{ what: `BIRD at ${birdSocket}`, run: stop }];
}

async function kernelSteps(_: UninstallOptions, ip: Ip): Promise<readonly Step[]> {
  const { links, routes } = await ip.observe();
  const nexthops = nexthopDeletions(await listNexthops(PROTO_ANNOUNCED));
  const line = (text: string): Step => ({
    what: text.replace(/^(route|nexthop) del /, "$1 "),
    run: async () => {
      const [failed] = await ip.change([text]);
      // What went with its link is gone all the same.
      if (failed && !/No such/.test(failed.reason)) throw new Error(failed.reason);
    },
  });
  return [
    ...hostIfnamesOf(links).map((ifname): Step => ({
      what: `link ${ifname}`,
      run: () => ip.deleteLink(ifname),
    })),
    ...routeDeletions(routes).map(line),
    ...nexthops.map(line),
    ...await filterSteps(),
  ];
}

async function filterSteps(): Promise<readonly Step[]> {
  const nft = createNft();
  try {
    if (!await nft.hasTable("inet", NFT_TABLE)) return [];
  } catch (error) {
    // Without nft, flock made no table either, unless it ran in a container.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const missing = (): Promise<never> => Promise.reject(error);
    return [{ what: `table inet ${NFT_TABLE}, if there is one`, run: missing }];
  }
  return [{ what: `table inet ${NFT_TABLE}`, run: () => nft.deleteTable("inet", NFT_TABLE) }];
}

/** The sysctls as they were before the agent's first start. */
async function sysctlSteps({ stateDir }: UninstallOptions): Promise<readonly Step[]> {
  const text = await readTextIfPresent(`${stateDir}/sysctls.json`);
  if (text === undefined) return [];
  const former = Object.entries(JSON.parse(text) as Record<string, string>);
  const sysctl = createSysctl();
  const present = await sysctl.read(former.map(([path]) => path));
  return former
    .filter(([path, value]) => present[path] !== undefined && present[path] !== value)
    .map(([path, value]) => ({
      what: `sysctl ${path} ${present[path]}: back to ${value}`,
      run: () => sysctl.write([[path, value]]),
    }));
}

async function fileSteps(options: UninstallOptions): Promise<readonly Step[]> {
  const { socket, birdSocket, stateDir, pluginDir } = options;
  const paths = [
    isOwnDir(parentOf(socket)) ? parentOf(socket) : socket,
    isOwnDir(parentOf(parentOf(birdSocket))) ? parentOf(parentOf(birdSocket)) : birdSocket,
    isOwnDir(stateDir) ? stateDir : `${stateDir}/allocations.json`,
    `${pluginDir}/${PLUGIN_NAME}`,
  ];
  const there = await Promise.all(paths.map(isThere));
  return paths.filter((path, i) => there[i] && paths.indexOf(path) === i).map((path) => ({
    what: path,
    run: () => Deno.remove(path, { recursive: true }),
  }));
}

/** Everything in a directory of our name is ours; one of another name may hold other things. */
function isOwnDir(path: string): boolean {
  return path.endsWith("/flock");
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
