/**
 * `flock status` on one screen: what is wrong first, then what there is.
 *
 * @module
 */
import type { PrefixUse, Status } from "../core/inspection.ts";
import { since, type ViewOptions } from "./inspect_views.ts";
import { type Cell, renderFacts, type Tone, toned } from "./table.ts";

/** True when everything is as it should be. */
export function isHealthy(status: Status): boolean {
  const { ready, peers, differences, bird, nodeConfig, policies } = status;
  return ready && policies?.inForce !== false && nodeConfig.accepted && bird.running &&
    bird.applied &&
    peers.established === peers.total && differences.computed &&
    differences.count === 0;
}

/** The screen. */
export function viewStatus(status: Status, { wide, colour, now }: ViewOptions): string {
  const { nodeConfig, peers, anycast, differences, problems, source } = status;
  const facts: (readonly [string, Cell])[] = [
    ["Node", status.node],
    ["Agent", `${status.version}, up ${since(status.startedAt, now)}`],
    [
      "Ready",
      judged(
        status.ready,
        "yes: pods can be attached",
        `no: ${status.notReady ?? "not known why"}`,
      ),
    ],
    ["NodeConfig", configCell(nodeConfig)],
    ["Source", sourceCell(source)],
    ...status.prefixes.map((prefix, n) => [n === 0 ? "Prefixes" : "", useText(prefix)] as const),
    ["Pods", String(status.pods)],
    ["BIRD", birdCell(status, now)],
    [
      "Peers",
      peers.established === undefined
        ? { text: `${peers.total}, of unknown state`, tone: "bad" }
        : judged(
          peers.established === peers.total,
          peers.total === 0
            ? "none configured"
            : `${peers.established} of ${peers.total} established`,
          `${peers.established} of ${peers.total} established (flock bgp)`,
        ),
    ],
    ["Anycast", `${anycast.announced ?? "an unknown number"} of ${anycast.total} announced`],
    ["Policies", policiesCell(status.policies)],
    ["Drained", drainCell(status.drain, now)],
    ["Differences", differencesCell(status)],
    ...differences.first.map((text) => ["", { text, tone: "bad" }] as const),
  ];
  const shown = wide ? problems : problems.slice(0, 3);
  const lines = shown.map(({ at, level, message }) => {
    const text = `${since(at, now)} ago: ${message}`;
    return ["", { text: clipped(text, wide), tone: level === "error" ? "bad" : "warn" }] as const;
  });
  const log = lines.length === 0 ? "" : "\n" + toned("Last in the log", "heading", colour) + "\n" +
    renderFacts(lines, colour);
  return renderFacts(facts, colour) + log;
}

function judged(good: boolean, yes: string, no: string): Cell {
  return good ? { text: yes, tone: "good" } : { text: no, tone: "bad" };
}

function configCell({ name, accepted, inForce, generation, refused }: Status["nodeConfig"]): Cell {
  const which = `${name}${generation === undefined ? "" : `, generation ${generation}`}`;
  if (accepted) return { text: `${which}: accepted`, tone: "good" };
  const rest = inForce ? "; the last good one is in force" : "";
  return refused === undefined
    ? { text: `${which}: there is none${rest}`, tone: "bad" }
    : { text: `${which}: refused: ${refused}${rest}`, tone: "bad" };
}

function sourceCell({ kind, directory, inSync, damaged }: Status["source"]): Cell {
  const what = kind === "manifests" ? `manifests in ${directory}` : "Kubernetes API";
  if (!inSync) return { text: `${what}: not in sync yet`, tone: "bad" };
  if (damaged) return { text: `${what}: in sync, but something cannot be read`, tone: "warn" };
  return { text: `${what}: in sync`, tone: "good" };
}

function birdCell({ bird }: Status, now: Date): Cell {
  if (!bird.running) return { text: `does not answer: ${bird.error}`, tone: "bad" };
  const up = bird.startedAt === undefined ? "" : `, up ${since(bird.startedAt, now)}`;
  const text = `${bird.version}, router id ${bird.routerId}${up}`;
  if (bird.waitingFor !== undefined) {
    return { text: `${text}; its configuration waits for ${bird.waitingFor}`, tone: "warn" };
  }
  if (bird.applied) return { text, tone: "good" };
  const tone: Tone = bird.applyError === undefined ? "warn" : "bad";
  return { text: `${text}; configuration not applied: ${bird.applyError ?? "under way"}`, tone };
}

function drainCell({ phase, since: at, withdrawsAt }: Status["drain"], now: Date): Cell {
  const ago = at === undefined ? "" : `, for ${since(at, now)}`;
  switch (phase) {
    case "none":
      return "no";
    case "announcing": {
      const until = withdrawsAt === undefined ? "" : `, until ${withdrawsAt}`;
      return { text: `draining${ago}: announced with GRACEFUL_SHUTDOWN${until}`, tone: "warn" };
    }
    case "withdrawn":
      return { text: `yes${ago}: no anycast address is announced (flock undrain)`, tone: "warn" };
  }
}

function policiesCell(policies: Status["policies"]): Cell {
  if (policies === undefined) return "not known";
  const { total, selectedPods, inForce, error } = policies;
  const what = `${total}, about ${selectedPods} of the pods`;
  if (inForce) return { text: `${total === 0 ? "none" : what}: in force`, tone: "good" };
  return {
    text: `${what}: not in force: ${error ?? "not made yet"} (flock policies)`,
    tone: "bad",
  };
}

function differencesCell({ differences: { computed, count }, settled }: Status): Cell {
  if (!computed) return { text: "not known: no pass over the routes was made yet", tone: "bad" };
  if (count > 0) return { text: `${count} (flock routes)`, tone: "bad" };
  return settled
    ? { text: "none", tone: "good" }
    : { text: "none, but no pass over the routes has succeeded yet", tone: "warn" };
}

function useText({ prefix, allocated, capacity }: PrefixUse): string {
  const free = BigInt(capacity) - BigInt(allocated);
  const total = capacity.length > 9 ? "" : ` of ${capacity}`;
  return `${prefix}: ${allocated}${total} in use${free <= 0n ? ", full" : ""}`;
}

function clipped(text: string, wide: boolean): string {
  return wide || text.length <= 140 ? text : `${text.slice(0, 139)}…`;
}
