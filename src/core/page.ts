/**
 * The page that shows a node at a glance: `flock status --html`, and `/` beside the metrics. One HTML
 * document that needs nothing else: no script, no font, no request. Everything that comes from outside
 * (names of pods, errors) is escaped by the template engine. The text around the values is
 * `templates/status.html`. Pure.
 *
 * @module
 */
import { Eta } from "eta";
import template from "../../templates/status.html" with { type: "text" };
import type {
  Allocation,
  AllocationList,
  AnycastList,
  PeerList,
  RouteList,
  Status,
} from "./inspection.ts";
import { drainText } from "./page_boxes.ts";
import { pictureOf } from "./page_picture.ts";

/** What the page is made of. */
export interface PageInput {
  /** When it was asked, RFC 3339. */
  readonly at: string;
  readonly status: Status;
  readonly peers: PeerList;
  readonly anycast: AnycastList;
  readonly allocations: AllocationList;
  readonly routes: RouteList;
}

/** Rows of a table; all of them are in the commands' output. */
const MAX_ROWS = 500;

const POD_STATES: Readonly<Record<Allocation["podState"], string>> = {
  ready: "Ready",
  notReady: "not Ready",
  terminating: "being deleted",
  unknown: "not known",
};

const eta = new Eta({ autoEscape: true, autoTrim: false });

/** Renders the page. Equal input gives equal bytes. */
export function renderPage(input: PageInput): string {
  const { status, peers, anycast, allocations, routes } = input;
  const problems = problemsOf(input);
  return eta.renderString(template, {
    ...input,
    problems,
    verdict: problems.length === 0 ? "All is well" : "Something is wrong",
    drainText: drainText(status.drain),
    picture: pictureOf(input),
    peerRows: peers.items.slice(0, MAX_ROWS),
    addressRows: anycast.items.slice(0, MAX_ROWS),
    podRows: allocations.items.slice(0, MAX_ROWS).map((one) => ({
      ...one,
      stateText: one.state === "pending" ? "being attached" : POD_STATES[one.podState],
      name: one.pod === "" ? `container ${one.containerId.slice(0, 12)}` : one.pod,
    })),
    differing: routes.items.filter(({ differences }) => differences.length > 0).slice(0, MAX_ROWS),
    omitted: Math.max(0, allocations.items.length - MAX_ROWS) + (allocations.omitted ?? 0),
    prefixes: status.prefixes.map((one) => ({
      ...one,
      told: routes.items.find(({ dst }) => dst === one.prefix)?.exportedTo ?? [],
    })),
  });
}

/** What is wrong, each a sentence. */
function problemsOf({ status, peers, anycast, routes }: PageInput): readonly string[] {
  const { ready, notReady, nodeConfig, bird, differences, source, policies } = status;
  return [
    ...(ready ? [] : [`Pods cannot be attached: ${notReady ?? "nobody knows why"}`]),
    ...(nodeConfig.refused === undefined ? [] : [`NodeConfig is refused: ${nodeConfig.refused}`]),
    ...(source.damaged ? ["Some of the cluster's objects cannot be read"] : []),
    ...(policies?.error === undefined ? [] : [`Policies are not in force: ${policies.error}`]),
    ...(bird.running ? [] : [`BIRD cannot be asked: ${bird.error ?? "it does not answer"}`]),
    ...(bird.applyError === undefined
      ? []
      : [`BIRD does not run the configuration: ${bird.applyError}`]),
    ...peers.items.filter(({ state }) => state !== "Established").map((peer) =>
      `Peer ${peer.peer} is ${peer.state}: ${peer.leftOut ?? peer.lastError ?? "no session"}`
    ),
    ...anycast.items.filter(({ announced, nextHops }) => announced === false && nextHops.length > 0)
      .map(({ address }) => `${address} has pods that serve it and is not announced`),
    ...(differences.count === 0 ? [] : [
      `${differences.count} ${differences.count === 1 ? "thing is" : "things are"} not as wanted: ${
        [...differences.first, ...routes.objects.slice(0, 1)][0]
      }`,
    ]),
  ];
}
