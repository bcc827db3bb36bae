/**
 * `flock uninstall`: takes flock off a node. First it is made sure that nothing of flock runs and no pod
 * uses it: until then list and plugin stay, so that the runtime can remove the pods' sandboxes (DEL is
 * queued on disk without an agent). Then everything is removed that flock ever made, known by its marks and
 * names and not by anybody's memory, in the order in which nothing is left half alive:
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
import { NFT_TABLE, NODE_LABEL, PROTO_ANNOUNCED } from "../core/config.ts";
import { messageOf, TerminalError } from "../core/errors.ts";
import { hostIfnamesOf, nexthopDeletions, routeDeletions } from "../core/leftovers.ts";
import { isOwnConflist, listAside, listConfigs, putBack } from "../io/conflists.ts";
import { listDeletions } from "../io/deletion_queue.ts";
import { isBlank, parentOf, readTextIfPresent, removeFileDurable } from "../io/fs.ts";
import { createIp, type Ip } from "../io/ip.ts";
import { listNexthopsIfAny, type Nexthop } from "../io/nexthops.ts";
import { createNft } from "../io/nft.ts";
import { createSysctl } from "../io/sysctl.ts";
import { isTempName } from "../io/temp_files.ts";
import { birdStop } from "./bird_stop.ts";
import { ownFiles, type OwnPlaces } from "./uninstall_files.ts";

export interface UninstallOptions extends OwnPlaces {
  /** Also while pods use it: they lose their network. */
  readonly force: boolean;
  /** Only tell, also that it would refuse. */
  readonly dryRun: boolean;
  /** Tells a line. */
  readonly say: (line: string) => void;
}

/** Something to remove: what it is called, and how. */
interface Step {
  readonly what: string;
  run(): Promise<void>;
}

/** What else there is to say. */
interface Note {
  readonly note: string;
}

type Finder = (options: UninstallOptions, kernel: Kernel) => Promise<readonly (Step | Note)[]>;

/** The kernel's network. */
interface Kernel {
  readonly ip: Ip;
  readonly nexthops: readonly Nexthop[];
}

/**
 * Removes flock from this node.
 *
 * @returns exit status: 0, or 1 when something could not be removed, or with `dryRun` when it would refuse
 * @throws {TerminalError} when flock still runs or pods use it: then nothing was touched
 */
export async function uninstall(options: UninstallOptions): Promise<number> {
  const { dryRun, force, say } = options;
  const nexthops = await listNexthopsIfAny(PROTO_ANNOUNCED);
  const ip = createIp(undefined, { nexthops: nexthops !== undefined });
  const kernel = { ip, nexthops: nexthops ?? [] };
  let failures = 0;
  for (const refuse of [refuseRunningAgent, ...force ? [] : [refuseUse]]) {
    try {
      await refuse(options, ip);
    } catch (error) {
      if (!dryRun) throw error;
      failures += 1;
      say(`would refuse: ${messageOf(error)}`);
    }
  }
  const finders = [configurationSteps, birdSteps, kernelSteps, filterSteps, sysctlSteps, fileSteps];
  for (const find of finders) {
    // What cannot be read keeps nothing else from being removed.
    const found = await find(options, kernel).catch((error) => {
      failures += 1;
      say(`cannot find out what to remove: ${messageOf(error)}`);
      return [];
    });
    for (const step of found) {
      if ("note" in step) say(step.note);
      else if (dryRun) say(`would remove ${step.what}`);
      else if (!await take(step, say)) failures += 1;
    }
  }
  return failures === 0 ? 0 : 1;
}

/** Carries a step out; false when that failed. */
async function take({ what, run }: Step, say: (line: string) => void): Promise<boolean> {
  try {
    await run();
    say(`removed ${what}`);
    return true;
  } catch (error) {
    say(`cannot remove ${what}: ${messageOf(error)}`);
    return false;
  }
}

/** The agent holds a lock on its state directory; it would make again what is removed. */
async function refuseRunningAgent({ stateDir, socket }: UninstallOptions): Promise<void> {
  const holder = await lockHolder(`${stateDir}/lock`) ??
    (await answers(socket) ? `it answers on ${socket}` : undefined);
  if (holder === undefined) return;
  throw new TerminalError(
    `Cannot uninstall flock: the agent runs (${holder}); ` +
      `stop it first: on a cluster by removing the node's label ${NODE_LABEL}`,
  );
}

/** Who holds a lock; undefined when nobody does. */
async function lockHolder(path: string): Promise<string | undefined> {
  let lock: Deno.FsFile;
  try {
    lock = await Deno.open(path, { write: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  // Not "using": the bundler would lose the end of it (scripts/bundle.ts).
  try {
    if (await lock.tryLock(true)) return undefined;
  } finally {
    lock.close();
  }
  return (await readTextIfPresent(path))?.trim() || "somebody";
}

/** Whether a process listens on a socket. */
async function answers(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
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
    `Cannot uninstall flock: pods use it (${shown}); ` +
      "have them leave the node first, DaemonSets' pods too, or --force",
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
const configurationSteps: Finder = async ({ conflist }) => {
  const dir = parentOf(conflist);
  const aside = await listAside(dir);
  const steps: (Step | Note)[] = aside.map((name) => ({
    what: `what sets ${dir}/${name} aside`,
    run: () => putBack(dir, name),
  }));
  if (!await isOwnConflist(conflist)) return steps;
  steps.unshift({ what: conflist, run: async () => void await removeFileDurable(conflist) });
  const others = (await listConfigs(dir)).filter(({ own }) => !own);
  if (others.length + aside.length === 0) {
    steps.push({
      note:
        `no other network configuration is in ${dir}: until there is one, the runtime can neither ` +
        "make sandboxes of pods nor remove them",
    });
  }
  return steps;
};

/** A goodbye, so that the routers send nothing here any more. */
const birdSteps: Finder = async ({ birdSocket }) => {
  if (!await answers(birdSocket)) return [];
  const stop = async (): Promise<void> => {
    const status = await birdStop({ socket: birdSocket, mode: "goodbye" });
    if (status !== 0) throw new Error("it did not end");
  };
  return [{ what: `BIRD at ${birdSocket}`, run: stop }];
};

const kernelSteps: Finder = async (_, { ip, nexthops }) => {
  const { links, routes } = await ip.observe();
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
    ...nexthopDeletions(nexthops).map(line),
  ];
};

const filterSteps: Finder = async () => {
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
};

/**
 * The sysctls as they were before the agent's first start. Forwarding stays, for who else needs it by now
 * cannot be known; and with it that links take router advertisements, which else would end with it.
 */
const sysctlSteps: Finder = async ({ stateDir }) => {
  const text = await readTextIfPresent(`${stateDir}/sysctls.json`);
  if (text === undefined || isBlank(text)) return [];
  const former = Object.entries(JSON.parse(text) as Record<string, string>);
  const sysctl = createSysctl();
  const present = await sysctl.read(former.map(([path]) => path));
  return former
    .filter(([path, value]) => present[path] !== undefined && present[path] !== value)
    .map(([path, value]): Step | Note =>
      /forward|accept_ra$/.test(path)
        ? {
          note:
            `left sysctl ${path} at ${
              present[path]
            }, it was ${value}: others may need it by now; ` +
            `to put it back: sysctl -w ${path}=${value}`,
        }
        : {
          what: `sysctl ${path} ${present[path]}: back to ${value}`,
          run: () => sysctl.write([[path, value]]),
        }
    );
};

const fileSteps: Finder = async (options) => {
  const { paths, kept } = await ownFiles(options);
  return [
    ...paths.map((path): Step => ({ what: path, run: () => removePath(path) })),
    ...kept.map(({ dir, others }) => ({ note: `left ${dir}: it holds ${others.join(", ")}` })),
  ];
};

/** Removes a file or an empty directory; a temporary directory with what is in it. */
async function removePath(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: isTempName(path.slice(path.lastIndexOf("/") + 1)) });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
