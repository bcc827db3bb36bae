/**
 * TCP in this network namespace: sockets with the processes that hold them, and the kernel's counters.
 * Through a shell, because Deno refuses paths below /proc.
 *
 * @module
 */
import { parseTcpSockets, type Speaker, type TcpSocket } from "../core/tcp_sockets.ts";
import { type RunCommand, runCommand } from "./command.ts";

/**
 * `$@`: links in `/proc/PID/fd`, as patterns of find. Prints `LINK PID NAME`. Processes may end meanwhile:
 * find then fails, and what it found still counts.
 */
const HOLDERS = `
for link; do set -- "$@" -o -lname "$link"; shift; done
shift
find /proc/[0-9]*/fd -maxdepth 1 \\( "$@" \\) -printf '%l %p\\n' 2>/dev/null |
while read -r link path; do
  pid=\${path#/proc/} pid=\${pid%%/*}
  { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
  printf '%s %s %s\\n' "$link" "$pid" "$name"
done`;

/**
 * Processes that hold some of the sockets; of several that share one, the first.
 *
 * @param wanted which sockets
 * @throws {Error} when a socket has no process that can be seen
 */
export async function listSpeakers(
  wanted: (socket: TcpSocket) => boolean,
  run: RunCommand = runCommand,
): Promise<readonly Speaker[]> {
  const sockets = await listSockets(wanted, run);
  if (sockets.length === 0) return [];
  const patterns = sockets.map(({ inode }) => `socket:\\[${inode}\\]`);
  const { stdout } = await run("sh", ["-c", HOLDERS, "flock", ...patterns]);
  const speakers = new Map<number, { pid: number; name: string; sockets: TcpSocket[] }>();
  const seen = new Set<TcpSocket>();
  for (const line of stdout.split("\n")) {
    const [, inode, pid, name = ""] = /^socket:\[(\d+)\] (\d+) (.*)$/.exec(line) ?? [];
    const socket = sockets.find((socket) => socket.inode === inode);
    // A process made by another one has its sockets too.
    if (socket === undefined || seen.has(socket)) continue;
    seen.add(socket);
    const speaker = speakers.get(Number(pid)) ?? { pid: Number(pid), name, sockets: [] };
    speaker.sockets.push(socket);
    speakers.set(speaker.pid, speaker);
  }
  const unseen = sockets.filter((socket) => !seen.has(socket)).map(({ inode }) => inode);
  // What is gone by now had its process a moment ago.
  const still = unseen.length > 0 ? await listSockets(wanted, run) : [];
  if (still.some(({ inode }) => unseen.includes(inode))) {
    throw new Error("the process behind a socket of BGP cannot be seen from here");
  }
  return [...speakers.values()].sort((a, b) => a.pid - b.pid);
}

async function listSockets(
  wanted: (socket: TcpSocket) => boolean,
  run: RunCommand,
): Promise<readonly TcpSocket[]> {
  // A kernel without IPv6 has no tcp6.
  const script = "cat /proc/net/tcp && { cat /proc/net/tcp6 2>/dev/null || :; }";
  return parseTcpSockets((await run("sh", ["-c", script])).stdout).filter(wanted);
}

/** Counters of TCP since this network namespace was made, by name; without those that are not there. */
export async function readTcpCounters(
  names: readonly string[],
  run: RunCommand = runCommand,
): Promise<Readonly<Record<string, number>>> {
  const { stdout } = await run("sh", ["-c", "exec cat /proc/net/netstat"]);
  const found: Record<string, number> = {};
  const lines = stdout.split("\n").map((line) => line.split(" "));
  // A line of names, then a line of values, each behind the group's name.
  for (let i = 0; i + 1 < lines.length; i += 2) {
    lines[i]!.forEach((name, n) => {
      if (names.includes(name)) found[name] = Number(lines[i + 1]![n]);
    });
  }
  return found;
}
