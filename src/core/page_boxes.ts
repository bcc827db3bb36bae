/**
 * What the boxes of the page's picture say, and between which of them there are lines; where they are
 * drawn is `page_picture.ts`. Every colour comes with a word or a sign.
 *
 * @module
 */
import type { AnycastItem, DrainView, PeerItem } from "./inspection.ts";
import type { PageInput } from "./page.ts";

/** What a colour says. */
export type Tone = "good" | "bad" | "warn" | "plain";

/** How a line of text looks. */
export type TextKind = "title" | "text" | Exclude<Tone, "plain">;

/** A box before it has a place. */
export interface Content {
  readonly key: string;
  readonly tone: Tone;
  readonly texts: readonly (readonly [text: string, kind?: TextKind])[];
}

/** A line between two boxes, by their keys. */
export interface Edge {
  readonly from: string;
  readonly to: string;
  readonly tone: Tone;
  readonly dashed: boolean;
}

/** The boxes: peers, the node, addresses that pods share, pods. */
export function boxesOf(input: PageInput): readonly (readonly Content[])[] {
  return [
    input.peers.items.map((peer) => peerContent(peer, input)),
    [nodeContent(input)],
    input.anycast.items.map(addressContent),
    podContents(input),
  ];
}

function peerContent(
  { peer, asn, state, since, lastError, leftOut }: PeerItem,
  { routes }: PageInput,
): Content {
  const isUp = state === "Established";
  const told = routes.items.filter(({ exportedTo }) => exportedTo.includes(peer));
  const prefixes = told.filter(({ purpose }) => purpose === "prefix").length;
  return {
    key: `peer ${peer}`,
    tone: isUp ? "good" : "bad",
    texts: [
      [peer, "title"],
      [`AS${asn}`],
      isUp
        ? [`✓ ${state}${since === undefined ? "" : ` since ${shortTime(since)}`}`, "good"]
        : [`✗ ${state}: ${leftOut ?? lastError ?? "no session"}`, "bad"],
      isUp
        ? [
          `hears ${counted(prefixes, "prefix", "es")}, ${
            counted(told.length - prefixes, "address", "es")
          }`,
        ]
        : ["hears nothing from this node"],
    ],
  };
}

function nodeContent({ status, peers }: PageInput): Content {
  const { ready, notReady, prefixes, bird, drain, pods, differences } = status;
  const drained = drainText(drain);
  const isGood = ready && bird.running && bird.applied && differences.count === 0;
  return {
    key: "node",
    tone: !isGood ? "bad" : drained !== undefined ? "warn" : "good",
    texts: [
      [status.node, "title"],
      [`AS${peers.asn ?? "?"}, router id ${peers.routerId ?? "?"}`],
      ready ? ["✓ Ready: pods can be attached", "good"] : [`✗ Not ready: ${notReady ?? ""}`, "bad"],
      bird.running
        ? bird.applied
          ? ["✓ BIRD runs the configuration", "good"]
          : [`! BIRD: ${bird.applyError ?? bird.waitingFor ?? "applying"}`, "warn"]
        : ["✗ BIRD does not answer", "bad"],
      ...(drained === undefined ? [] : [[`! ${drained}`, "warn"] as const]),
      !differences.computed
        ? ["! What routes are wanted is not known yet", "warn"]
        : differences.count === 0
        ? ["✓ Routes are as they should be", "good"]
        : [`✗ ${counted(differences.count, "difference")}`, "bad"],
      [`${counted(pods, "pod")}; prefixes:`],
      ...prefixes.map(({ prefix, allocated }) => [`${prefix}: ${allocated} in use`] as const),
    ],
  };
}

/** What a drain makes of the node's anycast addresses; undefined: there is none. */
export function drainText({ phase }: DrainView): string | undefined {
  switch (phase) {
    case "none":
      return undefined;
    case "announcing":
      return "Draining: its anycast addresses are announced with GRACEFUL_SHUTDOWN";
    case "withdrawn":
      return "Drained: no anycast address is announced";
  }
}

function addressContent({ address, announced, pods, nextHops, exportedTo }: AnycastItem): Content {
  const held = pods.length - nextHops.length;
  const tone = announced
    ? "good"
    : announced === undefined || nextHops.length === 0
    ? "warn"
    : "bad";
  return {
    key: `address ${address}`,
    tone,
    texts: [
      [address, "title"],
      announced
        ? [`✓ announced to ${counted(exportedTo.length, "peer")}`, "good"]
        : announced === undefined
        ? ["! BIRD does not say whether announced", "warn"]
        : nextHops.length === 0
        ? ["! not announced: no pod serves it", "warn"]
        : ["✗ not announced", "bad"],
      [`${counted(nextHops.length, "pod")} serving${held > 0 ? `, ${held} held back` : ""}`],
    ],
  };
}

/** Pods that share addresses, each; of the others their number. */
function podContents({ anycast, allocations }: PageInput): readonly Content[] {
  const heldBack = new Map<string, string>();
  const sharing = new Set<string>();
  for (const { pods } of anycast.items) {
    for (const { pod, heldBack: why } of pods) {
      sharing.add(pod);
      if (why !== undefined) heldBack.set(pod, why);
    }
  }
  const rest = allocations.items.filter(({ pod }) => !sharing.has(pod)).length;
  const stateOf = new Map(allocations.items.map((one) => [one.pod, one]));
  const contents = [...sharing].sort().map((pod): Content => {
    const why = heldBack.get(pod);
    const { ipv6, ipv4 } = stateOf.get(pod) ?? {};
    return {
      key: `pod ${pod}`,
      tone: why === undefined ? "good" : "warn",
      texts: [
        [pod, "title"],
        ...[ipv6, ipv4].filter((text) => text !== undefined).map((text) => [text] as const),
        why === undefined ? ["✓ serves", "good"] : [`! held back: ${why}`, "warn"],
      ],
    };
  });
  if (rest === 0) return contents;
  const texts = [
    [`${sharing.size > 0 ? "other pods: " : "pods: "}${rest}`, "title"],
    ["with addresses of their own only"],
  ] as const;
  return [...contents, { key: "pods", tone: "plain", texts }];
}

/** The lines. */
export function linesOf({ peers, anycast }: PageInput): readonly Edge[] {
  return [
    ...peers.items.map(({ peer, state }): Edge => {
      const isUp = state === "Established";
      return { from: `peer ${peer}`, to: "node", tone: isUp ? "good" : "bad", dashed: !isUp };
    }),
    ...anycast.items.flatMap(({ address, announced, pods, routed }): readonly Edge[] => {
      const key = `address ${address}`;
      return [
        { from: "node", to: key, tone: announced ? "good" : "warn", dashed: !routed },
        ...pods.map(({ pod, heldBack }): Edge => ({
          from: key,
          to: `pod ${pod}`,
          tone: heldBack === undefined ? "good" : "warn",
          dashed: heldBack !== undefined,
        })),
      ];
    }),
    { from: "node", to: anycast.items.length === 0 ? "pods" : "", tone: "plain", dashed: false },
  ];
}

function counted(count: number, word: string, plural = "s"): string {
  return `${count} ${word}${count === 1 ? "" : plural}`;
}

/** A time to the second; the page says once that it is UTC. */
function shortTime(text: string): string {
  return text.replace("T", " ").replace(/(\.\d+)?Z$/, "");
}
