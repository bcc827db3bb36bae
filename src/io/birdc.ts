/**
 * BIRD's control socket, through `birdc`. Each call has a deadline: BIRD that hangs must not hang the
 * agent.
 *
 * @module
 */
import {
  BirdCode,
  type BirdProtocol,
  type BirdReply,
  parseBirdReply,
  parseProtocols,
} from "../core/bird_reply.ts";
import {
  type BfdSession,
  type BirdSession,
  parseBfdSessions,
  parseSessions,
} from "../core/bird_session.ts";
import { type BirdRoute, parseBirdRoutes } from "../core/bird_routes.ts";
import { parseImported } from "../core/bird_counts.ts";
import { channelView } from "../core/bird_peer.ts";
import { FAMILIES } from "../core/cidr.ts";
import { PROTO_ANNOUNCED } from "../core/config.ts";
import { CommandError, type RunCommand, runCommand } from "./command.ts";

/** Milliseconds that one call may take. */
const DEADLINE_MS = 2_000;

/**
 * What the export filters let pass, by where it is from (templates/bird.conf). With a peer several hops away BIRD has
 * other routes of the kernel, too, to resolve next hops by. One filter: asked for by name, a protocol that does not
 * exist is an error, and each is a process.
 */
const OWN_ROUTES = FAMILIES.map((family) => channelView(family).v).flatMap((v) => [
  `(proto = "flock_node${v}")`,
  `(proto = "flock_kernel${v}" && krt_source = ${PROTO_ANNOUNCED})`,
]).join(" || ");

/** Replies after which BIRD uses the file, now or when it is done with an earlier one. */
const RELOADED: readonly number[] = [
  BirdCode.reconfigured,
  BirdCode.reconfiguring,
  BirdCode.reconfigurationQueued,
];

/** The system's reasons for which nobody can be listening (LC_ALL=C). */
const NOBODY_LISTENS = ["no such file or directory", "not a directory", "connection refused"];

/** No BIRD listens on the socket. One that may not be asked, or is too slow to answer, is another error. */
export class BirdAbsentError extends Error {
  override readonly name = "BirdAbsentError";
}

/** BIRD answered that something is wrong: with the file, or with what was asked. */
export class BirdRefusedError extends Error {
  override readonly name = "BirdRefusedError";

  constructor(message: string, readonly code: number, options: ErrorOptions = {}) {
    super(message, options);
  }
}

/** What BIRD says of itself. */
export interface BirdStatus {
  readonly version: string;
  readonly routerId: string;
  /** Local times of the node, as BIRD prints them. */
  readonly startedAt: string;
  readonly configuredAt: string;
}

/** BIRD's control socket. Every method throws {@linkcode BirdAbsentError} when no BIRD listens. */
export interface Birdc {
  /**
   * Checks a file as a configuration without using it.
   *
   * @throws {BirdRefusedError} when BIRD would refuse it
   */
  configureCheck(path: string): Promise<void>;
  /**
   * Has BIRD read its configuration file again.
   *
   * @throws {BirdRefusedError} when BIRD goes on with the old one
   */
  configure(): Promise<void>;
  status(): Promise<BirdStatus>;
  protocols(): Promise<readonly BirdProtocol[]>;
  /** Whether a protocol is told of a prefix. False as long as its channel is not up. */
  exports(protocol: string, prefix: string): Promise<boolean>;
  /**
   * Has BIRD ask a peer for all of its routes (RFC 2918). Those that are known stay.
   *
   * @throws {BirdRefusedError} when the peer cannot be asked
   */
  reloadIn(protocol: string): Promise<void>;
  /** Has BIRD end so that its peers keep its routes for the restart time (RFC 4724). */
  gracefulRestart(): Promise<void>;
  /** Has BIRD say goodbye to its peers, which drop its routes, and end. */
  down(): Promise<void>;
}

/** What one look at all of BIRD's protocols tells: sessions, and the routes each has brought, by its name. */
export interface BirdOverview {
  readonly sessions: readonly BirdSession[];
  readonly imported: ReadonlyMap<string, number>;
}

/** What is asked for metrics. */
export interface BirdCounts {
  overview(): Promise<BirdOverview>;
}

/** What is asked for people only. */
export interface BirdInspection {
  /** The BGP protocols, with what was negotiated. */
  sessions(): Promise<readonly BirdSession[]>;
  /** BFD sessions; none without BFD. */
  bfdSessions(): Promise<readonly BfdSession[]>;
  /** Routes that flock means BIRD to announce: the node's prefixes, and what the agent marked in the kernel. */
  ownRoutes(): Promise<readonly BirdRoute[]>;
  /** Routes that a protocol is told of; none as long as its channel is not up. */
  routesTo(protocol: string): Promise<readonly BirdRoute[]>;
}

/** What is asked to explain one address. */
export interface BirdTrace {
  /** Routes to exactly a prefix, of any protocol. */
  routesAt(prefix: string): Promise<readonly BirdRoute[]>;
  /** Whether a protocol's export filter rejects the best route to a prefix. */
  rejects(protocol: string, prefix: string): Promise<boolean>;
}

/** The real control socket. */
export function createBirdc(
  options: { readonly socket: string; readonly run?: RunCommand },
): Birdc & BirdInspection & BirdTrace & BirdCounts {
  const { socket, run = runCommand } = options;

  async function ask(...words: readonly string[]): Promise<BirdReply> {
    const command = ["-s", socket, "-v", ...words];
    try {
      return parseBirdReply((await run("birdc", command, { timeoutMs: DEADLINE_MS })).stdout);
    } catch (error) {
      if (!(error instanceof CommandError) || error.signal !== undefined) throw error;
      // birdc ends with 1 when the reply is a failure, and when there is nobody to ask.
      if (error.stdout !== "") return parseBirdReply(error.stdout);
      const said = error.stderr.trim();
      if (!said.startsWith("Unable to connect")) throw error;
      const reason = reasonOf(said);
      const message = `Cannot reach BIRD on "${socket}": ${reason}`;
      // Anything else says nothing of BIRD: we may not ask it, or the system has no socket for us.
      if (!NOBODY_LISTENS.includes(reason)) throw new Error(message, { cause: error });
      throw new BirdAbsentError(message, { cause: error });
    }
  }

  async function command(what: string, ...words: readonly string[]): Promise<BirdReply> {
    const reply = await ask(...words);
    if (reply.status === "ok") return reply;
    const why = reply.status === "error" ? reply.message : reply.lines.at(-1)?.text;
    throw new BirdRefusedError(`Cannot ${what}: ${why}`, reply.code);
  }

  return {
    async configureCheck(path) {
      const what = `use BIRD configuration "${path}"`;
      const reply = await command(what, "configure", "check", quoted(path));
      // Nothing else is a yes, also not a connection that ended before the answer.
      if (reply.code !== BirdCode.configurationOk) throw unexpected(what, reply);
    },
    async configure() {
      const reply = await command("reload BIRD", "configure");
      if (!RELOADED.includes(reply.code)) throw unexpected("reload BIRD", reply);
    },
    async status() {
      const { lines } = await command("read BIRD's status", "show", "status");
      const after = (words: string): string =>
        lines.map(({ text }) => text.trim()).find((text) => text.startsWith(words))
          ?.slice(words.length).trim() ?? "";
      return {
        version: after("BIRD"),
        routerId: after("Router ID is"),
        startedAt: after("Last reboot on"),
        configuredAt: after("Last reconfiguration on"),
      };
    },
    async protocols() {
      return parseProtocols(await command("list BIRD's protocols", "show", "protocols"));
    },
    async ownRoutes() {
      return parseBirdRoutes(
        await command("list BIRD's routes", "show", "route", "where", OWN_ROUTES),
      );
    },
    async routesTo(protocol) {
      return parseBirdRoutes(await ask("show", "route", "exported", protocol));
    },
    async routesAt(prefix) {
      return parseBirdRoutes(await ask("show", "route", prefix));
    },
    async rejects(protocol, prefix) {
      return parseBirdRoutes(await ask("show", "route", prefix, "noexport", protocol)).length > 0;
    },
    async exports(protocol, prefix) {
      // An error means that the channel has no table yet; "not found" that the table has no such route.
      const reply = await ask("show", "route", prefix, "exported", protocol);
      return reply.status === "ok" && reply.lines.some(({ code }) => code === BirdCode.routeList);
    },
    async sessions() {
      return parseSessions(await command("list BIRD's sessions", "show", "protocols", "all"));
    },
    async overview() {
      const reply = await command("list BIRD's protocols", "show", "protocols", "all");
      return { sessions: parseSessions(reply), imported: parseImported(reply) };
    },
    async bfdSessions() {
      // Without a BFD protocol it is an error.
      return parseBfdSessions(await ask("show", "bfd", "sessions"));
    },
    async reloadIn(protocol) {
      await command(`reload BIRD's protocol "${protocol}"`, "reload", "in", protocol);
    },
    async gracefulRestart() {
      await command("restart BIRD gracefully", "graceful", "restart");
    },
    async down() {
      await command("shut BIRD down", "down");
    },
  };
}

function unexpected(what: string, reply: BirdReply): BirdRefusedError {
  const said = reply.lines.at(-1)?.text ?? "no answer";
  return new BirdRefusedError(`Cannot ${what}: BIRD said "${said}"`, reply.code);
}

/** A path as BIRD's string, which knows no escapes. */
function quoted(path: string): string {
  // deno-lint-ignore no-control-regex
  if (!/["\x00-\x1f]/.test(path)) return `"${path}"`;
  throw new SyntaxError(
    `Cannot name file ${JSON.stringify(path)} to BIRD: it holds a quote or a control character`,
  );
}

/** The system's reason in what birdc says when it cannot connect. */
function reasonOf(said: string): string {
  const reason = said.slice(said.lastIndexOf(":") + 1).trim();
  return reason.charAt(0).toLowerCase() + reason.slice(1);
}
