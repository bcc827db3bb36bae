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
}

/** One BFD session. */
export interface BfdSession {
  readonly peer: string;
  /** `Up`, `Down`, `Init`, `AdminDown` (RFC 5880, section 6.8.1). */
  readonly state: string;
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
    }];
  });
}

/** The sessions of a reply to `show bfd sessions`; a peer is there once for each of its links. */
export function parseBfdSessions(reply: BirdReply): readonly BfdSession[] {
  return reply.lines.filter(({ code }) => code === BFD_LIST).flatMap(({ text }) => {
    const match = /^\s*([0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*)\s+\S+\s+(\S+)\s/.exec(text);
    return match ? [{ peer: match[1]!, state: match[2]! }] : [];
  });
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
