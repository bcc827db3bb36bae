/**
 * The difference between what of ours is in the kernel and what should be, as changes in the order they
 * have to be made.
 *
 * @module
 */
import type { OwnObject, OwnState } from "./own_objects.ts";

/** One change. */
export interface Change {
  readonly kind: "install" | "remove";
  readonly key: string;
  /** As it should be, or as it was. */
  readonly object: OwnObject;
  /** Line for `ip -batch`. */
  readonly line: string;
}

/** Links are whole before next hops need them, routes go before what they lead to. */
const INSTALL_ORDER = ["end", "nexthop", "group", "route"] as const;
const REMOVE_ORDER = ["route", "group", "nexthop"] as const;

/**
 * The changes that turn what is there into what should be, in the order they have to be made.
 *
 * @param isPending true for the link of an attachment that is being wired or torn down
 */
export function diffState(
  wanted: OwnState,
  present: OwnState,
  isPending: (dev: string) => boolean,
): readonly Change[] {
  const installs = new Map(INSTALL_ORDER.map((kind) => [kind, [] as Change[]]));
  for (const [key, object] of wanted) {
    const there = present.get(key);
    if (there?.text === object.text || object.devs.some(isPending)) continue;
    const line = installLine(object, there !== undefined);
    installs.get(object.kind)!.push({ kind: "install", key, object, line });
  }
  const removals = new Map(INSTALL_ORDER.map((kind) => [kind, [] as Change[]]));
  for (const [key, object] of present) {
    if (wanted.has(key) || object.devs.some(isPending)) continue;
    removals.get(object.kind)!.push({ kind: "remove", key, object, line: removeLine(object) });
  }
  return [
    ...INSTALL_ORDER.flatMap((kind) => installs.get(kind)!),
    ...REMOVE_ORDER.flatMap((kind) => removals.get(kind)!),
  ];
}

/**
 * Lines for `ip -batch` that make all of a state. What is there already is replaced by the same, so that
 * the batch can be run on a node that has all of it; what is not is added, and takes nobody's place.
 */
export function renderState(wanted: OwnState, present: OwnState): readonly string[] {
  const objects = [...wanted];
  return INSTALL_ORDER.flatMap((kind) =>
    objects.filter(([, object]) => object.kind === kind)
      .map(([key, object]) => installLine(object, present.has(key)))
  );
}

/** What is there after changes. */
export function withChanges(present: OwnState, changes: readonly Change[]): OwnState {
  const next = new Map(present);
  for (const { kind, key, object } of changes) {
    if (kind === "remove") next.delete(key);
    else next.set(key, object);
  }
  return next;
}

function installLine({ kind, text }: OwnObject, isThere: boolean): string {
  // "replace" would also replace what is somebody else's.
  const verb = isThere ? "replace" : "add";
  switch (kind) {
    case "end":
      return text;
    case "nexthop":
    case "group":
      return `nexthop ${verb} ${text}`;
    case "route":
      return `route ${verb} ${text}`;
  }
}

function removeLine({ id, route, subject, text }: OwnObject): string {
  if (route === undefined) return id === undefined ? text : `nexthop del id ${id}`;
  const { type, family, protocol, metric, dev } = route;
  const head = type === "unicast" ? subject : `${type} ${subject}`;
  const on = dev && !(family === "ipv4" && type !== "unicast") ? ` dev ${dev}` : "";
  // An address of a single pod may have taken the place of a shared one meanwhile.
  const to = id === undefined ? on : ` nhid ${id}`;
  return `route del ${head}${to} proto ${protocol} metric ${metric}`;
}
