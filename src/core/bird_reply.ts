/**
 * Replies of `birdc -v`: lines with a four-digit code, `-` after it when the code has more lines, a space
 * on the last; lines without a code belong to the one before. Decisions rest on the codes (the file
 * `doc/reply_codes` of BIRD 2), never on the prose.
 *
 * ```
 *   0001 BIRD 2.0.12 ready.
 *   0002-Reading configuration from /run/flock/bird/bird.conf
 *   0003 Reconfigured
 * ```
 *
 * @module
 */

/** Reply codes that a caller branches on. */
export const BirdCode = {
  ok: 0,
  welcome: 1,
  reconfigured: 3,
  reconfiguring: 4,
  reconfigurationQueued: 5,
  configurationOk: 20,
  protocolList: 1002,
  routeList: 1007,
  networkNotFound: 8001,
  protocolNotFound: 8003,
} as const;

/** One line of a reply, with the code it stands under. */
export interface BirdLine {
  readonly code: number;
  readonly text: string;
}

/** What BIRD answered to one command, without its greeting. */
export type BirdReply =
  | { readonly status: "ok"; readonly code: number; readonly lines: readonly BirdLine[] }
  /** What was asked for does not exist. */
  | { readonly status: "absent"; readonly code: number; readonly lines: readonly BirdLine[] }
  | {
    readonly status: "error";
    readonly code: number;
    /** What BIRD says is wrong. */
    readonly message: string;
    readonly lines: readonly BirdLine[];
  };

/** One protocol of `show protocols`. */
export interface BirdProtocol {
  readonly name: string;
  /** `BGP`, `Kernel`, … */
  readonly proto: string;
  /** Undefined for protocols of several tables. */
  readonly table?: string;
  readonly state: "up" | "down" | "start" | "stop" | "flush" | "unknown";
  /** Time of the last change, as BIRD prints it: local time of the node. */
  readonly since: string;
  /** For BGP its state, `Established` or what hinders it; empty for most others. */
  readonly info: string;
}

const STATES = ["up", "down", "start", "stop", "flush"] as const;
/** `2026-11-21 13:09:38`, `2026-11-21` or `13:09:38.123`, by `timeformat`. */
const SINCE = String.raw`\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?:\.\d+)?)?|\d\d:\d\d:\d\d(?:\.\d+)?`;
const PROTOCOL = new RegExp(String.raw`^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(${SINCE})(?:\s+(.*))?$`);

/**
 * Parses what `birdc -v` printed for one command.
 *
 * @throws {SyntaxError} when it holds a line without a code, as when birdc itself refuses a command
 */
export function parseBirdReply(text: string): BirdReply {
  const lines: BirdLine[] = [];
  let code: number | undefined;
  for (const line of text.split("\n")) {
    const match = /^(\d{4})(?:[- ](.*))?$/.exec(line);
    if (match) code = Number(match[1]);
    if (line.trim() === "" || code === BirdCode.welcome && match) continue;
    if (code === undefined || code === BirdCode.welcome) {
      throw new SyntaxError(
        `Cannot parse reply of BIRD "${line.trim().slice(0, 80)}": it has no code`,
      );
    }
    lines.push({ code, text: (match ? match[2] ?? "" : line).trimEnd() });
  }
  // An empty list is a greeting and nothing more: birdc leaves out the final "0000".
  const end = lines.at(-1) ?? { code: BirdCode.ok, text: "" };
  if (end.code < 8000) return { status: "ok", code: end.code, lines };
  if (end.code === BirdCode.networkNotFound || end.code === BirdCode.protocolNotFound) {
    return { status: "absent", code: end.code, lines };
  }
  return { status: "error", code: end.code, message: end.text, lines };
}

/**
 * The protocols of a reply to `show protocols`, in BIRD's order; none when the reply is not one.
 *
 * @throws {SyntaxError} when a line of the list is not a protocol
 */
export function parseProtocols(reply: BirdReply): readonly BirdProtocol[] {
  return reply.lines.filter(({ code }) => code === BirdCode.protocolList).map(({ text }) => {
    const match = PROTOCOL.exec(text.trim());
    if (!match) {
      throw new SyntaxError(`Cannot parse protocol "${text.trim()}": it has not six columns`);
    }
    const [, name = "", proto = "", table = "", state = "", since = "", info = ""] = match;
    return {
      name,
      proto,
      table: table === "---" ? undefined : table,
      state: STATES.find((known) => known === state) ?? "unknown",
      since,
      info: info.trim(),
    };
  });
}
