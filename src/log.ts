/**
 * Logging: JSON lines on stderr (`ts`, `level`, `msg`, then the fields), or text for people. LogTape
 * does levels and dispatch; the two formats and the synchronous sink are here. Writing is synchronous,
 * so nothing is lost at exit.
 *
 * Not for the CNI plugin, which loads nothing from npm and writes its one stderr line itself.
 *
 * @module
 */
import { configureSync, getLogger, type LogLevel, type LogRecord } from "@logtape/logtape";

/** Levels an operator may ask for with `--log-level`. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** Formats an operator may ask for with `--log-format`. */
export const LOG_FORMATS = ["json", "text"] as const;

export type Level = typeof LOG_LEVELS[number];
export type Format = typeof LOG_FORMATS[number];

/** Values of one log line, lowerCamelCase keys. `err` may be an `Error`: its message and causes are written. */
export type Fields = Readonly<Record<string, unknown>>;

/** A warning or an error, in short. */
export interface LoggedProblem {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly level: "warn" | "error";
  /** The message with its fields, as people read it. */
  readonly message: string;
}

/** How many warnings and errors are remembered, and how long each may be. */
const MAX_PROBLEMS = 10;
const MAX_PROBLEM_LENGTH = 300;

const ENCODER = new TextEncoder();
const DIM = "\x1b[2m";
const PLAIN = "\x1b[0m";
const COLOURS: Readonly<Record<Level, string>> = {
  debug: "\x1b[90m",
  info: "\x1b[32m",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

/**
 * Sets level and format for the whole process.
 *
 * @param options.write where a finished line goes; stderr unless told
 */
export function configureLog(
  options: { level: Level; format: Format; colour?: boolean; write?: (line: string) => void },
): void {
  const write = options.write ?? ((line) => Deno.stderr.writeSync(ENCODER.encode(line)));
  const format = options.format === "json"
    ? formatJson
    : (record: LogRecord) => formatText(record, options.colour ?? false);
  configureSync({
    reset: true,
    sinks: {
      stderr: (record) => {
        remember(record);
        write(format(record) + "\n");
      },
    },
    loggers: [
      { category: ["flock"], lowestLevel: toLogTape(options.level), sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
}

/** The log of the process. `msg` is a constant; everything variable is a field. */
export const log = {
  debug: (msg: string, fields: Fields = {}): void => logger.debug(msg, { ...fields }),
  info: (msg: string, fields: Fields = {}): void => logger.info(msg, { ...fields }),
  warn: (msg: string, fields: Fields = {}): void => logger.warn(msg, { ...fields }),
  error: (msg: string, fields: Fields = {}): void => logger.error(msg, { ...fields }),
} as const;

/** The last warnings and errors that were logged, newest first. */
export function recentProblems(): readonly LoggedProblem[] {
  return problems.toReversed();
}

const problems: LoggedProblem[] = [];

/** Whether a failure that repeats is to be logged: the first, and then at each doubling. */
export function isNews(failures: number): boolean {
  return (failures & (failures - 1)) === 0;
}

const logger = getLogger(["flock"]);

function toLogTape(level: Level): LogLevel {
  return level === "warn" ? "warning" : level;
}

function levelOf(record: LogRecord): Level {
  if (record.level === "warning") return "warn";
  if (record.level === "fatal") return "error";
  return record.level === "trace" ? "debug" : record.level;
}

function fieldsOf(record: LogRecord): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(record.properties)) {
    if (value === undefined) continue;
    if (!(value instanceof Error)) fields[key] = value;
    else {
      fields[key] = value.message;
      const causes = causesOf(value);
      if (causes.length > 0) fields.cause = causes.join(": ");
    }
  }
  return fields;
}

function causesOf(error: Error): string[] {
  const causes: string[] = error instanceof AggregateError
    ? error.errors.map((e) => e instanceof Error ? e.message : String(e))
    : [];
  for (let cause = error.cause; cause !== undefined; cause = (cause as Error).cause) {
    if (!(cause instanceof Error)) return [...causes, String(cause)];
    causes.push(cause.message);
  }
  return causes;
}

function formatJson(record: LogRecord): string {
  return JSON.stringify({
    ts: new Date(record.timestamp).toISOString(),
    level: levelOf(record),
    msg: record.rawMessage,
    ...fieldsOf(record),
  });
}

function formatText(record: LogRecord, colour: boolean): string {
  const level = levelOf(record);
  const tag = level.toUpperCase().padEnd(5);
  const time = new Date(record.timestamp).toISOString().slice(11, 23);
  return `${time} ${colour ? `${COLOURS[level]}${tag}${PLAIN}` : tag} ${textOf(record, colour)}`;
}

function textOf(record: LogRecord, colour = false): string {
  const fields = Object.entries(fieldsOf(record)).map(([key, value]) =>
    ` ${colour ? `${DIM}${key}=${PLAIN}` : `${key}=`}${
      typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)
    }`
  );
  return `${record.rawMessage}${fields.join("")}`;
}

function remember(record: LogRecord): void {
  const level = levelOf(record);
  if (level !== "warn" && level !== "error") return;
  const message = textOf(record).slice(0, MAX_PROBLEM_LENGTH);
  problems.push({ at: record.timestamp, level, message });
  if (problems.length > MAX_PROBLEMS) problems.shift();
}
