/**
 * What `flock uninstall` removes of files: each that flock wrote, by its name, and the directories that are
 * empty then. Nothing is removed with what is in it.
 *
 * @module
 */
import { DEFAULT_BIRD_CONFIG, PLUGIN_NAME } from "../core/config.ts";
import { birdFiles, DELETIONS_DIR, isDeletionFile, STATE_FILES } from "../core/own_files.ts";
import { parentOf } from "../io/fs.ts";
import { isTempName } from "../io/temp_files.ts";

/** Where flock's things are. */
export interface OwnPlaces {
  readonly stateDir: string;
  /** Path of the agent's socket. */
  readonly socket: string;
  readonly birdSocket: string;
  readonly pluginDir: string;
  /** Path of the network configuration list, in the runtime's directory. */
  readonly conflist: string;
}

/** What there is. */
export interface OwnFiles {
  /** Paths to remove, each directory after what is in it. */
  readonly paths: readonly string[];
  /** Directories of flock's that stay, with what else is in them. */
  readonly kept: readonly { readonly dir: string; readonly others: readonly string[] }[];
}

/** Finds everything of flock's. */
export async function ownFiles(places: OwnPlaces): Promise<OwnFiles> {
  const { stateDir, socket, birdSocket, pluginDir, conflist } = places;
  const birdDir = parentOf(birdSocket);
  const paths = new Set<string>();
  const kept: { dir: string; others: readonly string[] }[] = [];
  /** Looks for files by their names; the directory goes too, where it is ours and nothing else is in it. */
  const look = async (dir: string, own: readonly string[], isOurs: boolean): Promise<void> => {
    const names = await namesIn(dir);
    if (names === undefined) return;
    const isOwn = (name: string): boolean =>
      own.includes(name) || isTempName(name) || paths.has(`${dir}/${name}`);
    for (const name of names.filter(isOwn)) paths.add(`${dir}/${name}`);
    const others = names.filter((name) => !isOwn(name));
    if (isOurs && others.length === 0) paths.add(dir);
    else if (isOurs) kept.push({ dir, others });
  };
  const queue = `${stateDir}/${DELETIONS_DIR}`;
  await look(queue, (await namesIn(queue) ?? []).filter(isDeletionFile), true);
  await look(stateDir, STATE_FILES, true);
  await look(
    birdDir,
    [nameOf(birdSocket), ...birdFiles(nameOf(DEFAULT_BIRD_CONFIG))],
    isRunDir(birdDir),
  );
  for (const dir of new Set([parentOf(birdDir), parentOf(socket)])) {
    await look(dir, dir === parentOf(socket) ? [nameOf(socket)] : [], isRunDir(dir));
  }
  await look(parentOf(conflist), [], false);
  await look(pluginDir, [PLUGIN_NAME], false);
  return { paths: [...paths], kept };
}

/** A directory of flock's name, or in one of it: another one is there for more than flock. */
function isRunDir(dir: string): boolean {
  return [dir, parentOf(dir)].some((path) => nameOf(path) === PLUGIN_NAME);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Undefined where there is no such directory. */
async function namesIn(dir: string): Promise<readonly string[] | undefined> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return undefined;
    }
    throw error;
  }
}
