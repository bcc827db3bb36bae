/**
 * BGP and BFD sessions as BIRD shows them: `show protocols all` and `show bfd sessions`. The words are
 * those of BIRD 2's proto/bgp/bgp.c (`bgp_show_proto_info`, `bgp_show_capabilities`) and
 * proto/bfd/bfd.c.
 *
 * @module
 */
import { BirdCode, type BirdReply, parseProtocols } from "./bird_reply.ts";

/** Reply codes of the two lists. */
const DETAIL = 1006;
const BFD_LIST = 1020;

/** One BGP protocol. */
export interface BirdSession {
  readonly name: string;
  readonly peer: string;
  /** State of BGP's state machine (RFC 4271, section 8.2.2); `Down` when the protocol is off. */
  readonly state: string;
  /** `Established`, or what hinders it, as BIRD puts it. */
  readonly info: string;
  /** Router id of the peer, once it is known. */
  readonly peerId?: string;
  /** Capabilities that were sent and received, as BIRD names them; none when not established. */
  readonly localCapabilities: readonly string[];
  readonly peerCapabilities: readonly string[];
  readonly lastError?: string;
  /** Time of the last change, as BIRD prints it: local time of the node. */
  readonly since?: string;
  readonly localAddress?: string;
  /** Seconds, as negotiated. */
  readonly holdTime?: number;
  /** Restart time that the peer asked for (RFC 4724), in seconds. */
  readonly peerRestartTime?: number;
  /** Undefined where no channel is up. */
  readonly routes?: SessionRoutes;
  /** Its import limit is reached: BIRD takes no route more, not even in place of one that went, until it is reloaded. */
  readonly importLimitReached?: boolean;
}

/** Routes of a session's channels. */
export interface SessionRoutes {
  readonly imported: number;
  readonly exported: number;
  readonly preferred: number;
  /** The peer's announcements since the session is up: all, and those that the import filter dropped. */
  readonly received: number;
  readonly filtered: number;
}

/** One BFD session. */
export interface BfdSession {
  readonly peer: string;
  /** `Up`, `Down`, `Init`, `AdminDown` (RFC 5880, section 6.8.1). */
  readonly state: string;
  /** As BIRD prints it: local time of the node. */
  readonly since?: string;
}

/** The BGP protocols of a reply to `show protocols all`. @throws {SyntaxError} as `parseProtocols` */
export function parseSessions(reply: BirdReply): readonly BirdSession[] {
  const protocols = parseProtocols(reply);
  let n = -1;
  const details = protocols.map((): string[] => []);
  for (const { code, text } of reply.lines) {
    if (code === BirdCode.protocolList) n++;
    else if (code === DETAIL) details[n]?.push(text);
  }
  return protocols.flatMap((protocol, i) => {
    if (protocol.proto !== "BGP") return [];
    const lines = details[i]!;
    const value = (name: string): string | undefined =>
      lines.map((line) => line.trim()).find((line) => line.startsWith(`${name}:`))
        ?.slice(name.length + 1).trim();
    return [{
      name: protocol.name,
      peer: value("Neighbor address")?.replace(/%.*$/, "") ?? "",
      state: value("BGP state") ?? "Down",
      info: protocol.info,
      peerId: value("Neighbor ID"),
      localCapabilities: capabilities(lines, "Local capabilities"),
      peerCapabilities: capabilities(lines, "Neighbor capabilities"),
      lastError: value("Last error"),
      since: protocol.since,
      localAddress: value("Source address"),
      holdTime: numberIn(/\/(\d+)/, value("Hold timer")),
      peerRestartTime: peerRestartTime(lines),
      routes: routesOf(lines.map((line) => line.trim())),
      importLimitReached: /\[HIT\]$/.test(value("Import limit") ?? ""),
    }];
  });
}

/** The sessions of a reply to `show bfd sessions`; a peer is there once for each of its links. */
export function parseBfdSessions(reply: BirdReply): readonly BfdSession[] {
  return reply.lines.filter(({ code }) => code === BFD_LIST).flatMap(({ text }) => {
    const match = BFD_SESSION.exec(text);
    return match ? [{ peer: match[1]!, state: match[2]!, since: match[3] }] : [];
  });
}

const BFD_SESSION =
  /^\s*([0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*)\s+\S+\s+(\S+)\s+(\d{4}-\d\d-\d\d(?: [\d:.]+)?)?/;

function numberIn(pattern: RegExp, text = ""): number | undefined {
  const found = pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Its line stands among the peer's capabilities; ours has one of its own before. */
function peerRestartTime(lines: readonly string[]): number | undefined {
  const start = lines.findIndex((line) => line.trim() === "Neighbor capabilities");
  const found = start < 0
    ? undefined
    : lines.slice(start).find((line) => /Restart time:/.test(line));
  return numberIn(/Restart time:\s+(\d+)/, found);
}

/** Sums over the channels. */
function routesOf(lines: readonly string[]): SessionRoutes | undefined {
  const counts = lines.filter((line) => line.startsWith("Routes:"));
  if (counts.length === 0) return undefined;
  // received, rejected, filtered, ignored, accepted
  const updates = lines.filter((line) => line.startsWith("Import updates:"))
    .map((line) => line.split(":")[1]!.trim().split(/\s+/).map(Number));
  const sum = (numbers: readonly (number | undefined)[]): number =>
    numbers.reduce<number>((total, number) => total + (number || 0), 0);
  const counted = (word: string): number =>
    sum(counts.map((line) => numberIn(new RegExp(`(\\d+) ${word}`), line)));
  return {
    imported: counted("imported"),
    exported: counted("exported"),
    preferred: counted("preferred"),
    received: sum(updates.map(([received]) => received)),
    filtered: sum(updates.map(([, , filtered]) => filtered)),
  };
}

/** The lines one step further in than a heading. */
function capabilities(lines: readonly string[], heading: string): readonly string[] {
  const depth = (line: string): number => line.length - line.trimStart().length;
  const start = lines.findIndex((line) => line.trim() === heading);
  if (start < 0) return [];
  const outer = depth(lines[start]!);
  const found: string[] = [];
  for (const line of lines.slice(start + 1)) {
    if (depth(line) <= outer) break;
    if (depth(line) === outer + 2) found.push(line.trim());
  }
  return found;
}
