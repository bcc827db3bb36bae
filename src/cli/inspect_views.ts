/**
 * Answers of the agent as tables for people.
 *
 * @module
 */
import type {
  AllocationList,
  AnycastList,
  Config,
  ConfigItem,
  Inspection,
  PeerItem,
  PeerList,
  RouteItem,
  RouteList,
  VersionInfo,
} from "../core/inspection.ts";
import { viewExplanation } from "./explain_view.ts";
import { viewPolicies, viewPolicyExplanation } from "./policy_views.ts";
import { viewStatus } from "./status_view.ts";
import { type Cell, renderTable, withoutControls } from "./table.ts";

/** How to show it. */
export interface ViewOptions {
  /** Also what is rarely needed. */
  readonly wide: boolean;
  readonly colour: boolean;
  readonly now: Date;
}

/** An answer as text for people. */
export function viewInspection(answer: Inspection, options: ViewOptions): string {
  switch (answer.kind) {
    case "Status":
      return viewStatus(answer, options);
    case "AllocationList":
      return viewAllocations(answer, options);
    case "RouteList":
      return viewRoutes(answer, options);
    case "PeerList":
      return viewPeers(answer, options);
    case "AnycastList":
      return viewAnycast(answer, options);
    case "Config":
      return viewConfig(answer, options);
    case "Rendered":
      return answer.text;
    case "Version":
      return viewVersion(answer, options);
    case "Explanation":
      return viewExplanation(answer, options.colour);
    case "PolicyList":
      return viewPolicies(answer, options);
    case "PolicyExplanation":
      return viewPolicyExplanation(answer, options.colour);
    case "Page":
      return answer.html;
  }
}

function viewAllocations({ items, omitted }: AllocationList, options: ViewOptions): string {
  const { wide, colour, now } = options;
  if (items.length === 0) return "No pod is attached.\n";
  const tones = { ready: "good", notReady: "warn", terminating: "warn", unknown: "faint" } as const;
  const words = {
    ready: "Ready",
    notReady: "not Ready",
    terminating: "terminating",
    unknown: "unknown",
  };
  const headings = ["POD", "STATE", "IPV6", "IPV4", "MORE", "ANYCAST", "AGE"];
  const rows = items.map((item): Cell[] => [
    item.pod || item.containerId,
    item.state === "pending"
      ? { text: "being wired", tone: "warn" }
      : { text: words[item.podState], tone: tones[item.podState] },
    item.ipv6 ?? "-",
    item.ipv4 ?? "-",
    item.addresses.join(",") || "-",
    item.anycast.join(",") || "-",
    since(item.allocatedAt, now),
    ...(wide
      ? [item.hostIfname, item.ifname, item.containerId, item.network ?? "-", item.netns || "-"]
      : []),
  ]);
  const more = wide ? ["LINK", "INTERFACE", "CONTAINER", "NETWORK", "SANDBOX"] : [];
  return renderTable([...headings, ...more], rows, colour) + omittedLine(omitted);
}

function viewRoutes(list: RouteList, { wide, colour }: ViewOptions): string {
  const { items, objects, birdRunning, computed, omitted } = list;
  const there = (is: boolean, should: boolean): Cell =>
    is === should
      ? { text: is ? "yes" : "-", tone: is ? "good" : "faint" }
      : { text: is ? "YES" : "NO", tone: "bad" };
  const unknown: Cell = { text: "?", tone: "warn" };
  const rows = items.map((item): Cell[] => [
    item.dst,
    item.purpose,
    computed ? there(item.desired !== undefined, item.desired !== undefined) : unknown,
    computed || item.kernel === undefined ? kernelCell(item) : "yes",
    !birdRunning ? unknown : there(
      item.bird !== undefined,
      computed ? item.announce : item.bird !== undefined,
    ),
    !birdRunning
      ? unknown
      : item.exportedTo.join(",") || (item.announce ? { text: "none", tone: "warn" } : "-"),
    item.pods.join(",") || "-",
    item.differences.length === 0 ? "" : { text: item.differences.join("; "), tone: "bad" },
    ...(wide ? [item.desired?.text ?? "-", ways(item)] : []),
  ]);
  const headings = ["DESTINATION", "FOR", "WANTED", "KERNEL", "BIRD", "EXPORTED TO", "PODS"];
  const more = wide ? ["ROUTE", "NEXT HOPS"] : [];
  const table = items.length === 0
    ? "There is no route of flock's.\n"
    : renderTable([...headings, "DIFFERENCE", ...more], rows, colour);
  const wrong = objects.map((text) => [{ text, tone: "bad" } as const]);
  return (wrong.length === 0 ? "" : renderTable(["OTHER DIFFERENCES"], wrong, colour) + "\n") +
    (computed ? "" : "What is wanted is not known: no pass over the routes was made yet.\n\n") +
    (birdRunning ? "" : "BIRD does not answer: what it has and announces is not known.\n\n") +
    table + omittedLine(omitted);
}

function kernelCell({ kernel, desired }: RouteItem): Cell {
  if (kernel === undefined) {
    return desired === undefined ? { text: "-", tone: "faint" } : { text: "NO", tone: "bad" };
  }
  if (desired === undefined) return { text: "YES", tone: "bad" };
  const same = kernel.text === desired.text;
  return same ? { text: "yes", tone: "good" } : { text: "OTHER", tone: "bad" };
}

function ways({ kernel, desired }: RouteItem): string {
  return (kernel ?? desired)?.nextHops.join(", ") || "-";
}

function viewPeers({ items, birdError, asn }: PeerList, options: ViewOptions): string {
  const { wide, colour, now } = options;
  const head = birdError === undefined
    ? ""
    : `BIRD does not answer: ${withoutControls(birdError)}\n\n`;
  if (items.length === 0) return `${head}No peer is configured.\n`;
  const rows = items.map((item): Cell[] => [
    item.peer,
    String(item.asn),
    { text: item.state, tone: item.state === "Established" ? "good" : "bad" },
    item.since === undefined ? "-" : since(item.since, now),
    importedCell(item),
    item.routes === undefined ? "-" : String(item.routes.exported),
    bfdCell(item),
    restartCell(item),
    item.leftOut ?? item.lastError ?? "-",
    ...(wide
      ? [
        item.localAddress ?? "-",
        asn === undefined ? "-" : String(asn),
        item.holdTime === undefined ? "-" : `${item.holdTime} s`,
        item.routes === undefined ? "-" : `${item.routes.received}/${item.routes.filtered}`,
        item.protocol,
      ]
      : []),
  ]);
  const headings = ["PEER", "ASN", "STATE", "SINCE", "IMPORTED", "EXPORTED", "BFD", "RESTART"];
  const more = wide ? ["LOCAL", "LOCAL ASN", "HOLD", "RECEIVED/FILTERED", "PROTOCOL"] : [];
  return head + renderTable([...headings, "LAST ERROR", ...more], rows, colour);
}

function importedCell({ routes, importLimitReached }: PeerItem): Cell {
  if (routes === undefined) return "-";
  const { imported } = routes;
  return importLimitReached
    ? { text: `${imported}, limit reached`, tone: "bad" }
    : String(imported);
}

function bfdCell({ bfd: { configured, state } }: PeerItem): Cell {
  if (!configured) return "-";
  return state === undefined
    ? { text: "no session", tone: "bad" }
    : { text: state, tone: state === "Up" ? "good" : "bad" };
}

/** Graceful restart is of use only when both sides can. */
function restartCell({ gracefulRestart: { configured, negotiated } }: PeerItem): Cell {
  if (!configured) return "off";
  if (negotiated === undefined) return "configured";
  return negotiated ? { text: "negotiated", tone: "good" } : { text: "not by peer", tone: "warn" };
}

function viewAnycast(
  { items, drain, omitted }: AnycastList,
  { wide, colour }: ViewOptions,
): string {
  const head = drain.phase === "none"
    ? ""
    : drain.phase === "announcing"
    ? "This node is draining: its addresses are announced with GRACEFUL_SHUTDOWN.\n\n"
    : "This node is drained: no anycast address is announced.\n\n";
  if (items.length === 0) return `${head}No pod of this node has an anycast address.\n`;
  const rows = items.flatMap((item) =>
    item.pods.map(({ pod, weight, heldBack }, n): Cell[] => {
      const hop = item.nextHops.find((one) => one.pod === pod);
      return [
        n === 0 ? item.address : "",
        n === 0 ? announcedCell(item) : "",
        pod,
        heldBack === undefined ? { text: "yes", tone: "good" } : { text: "no", tone: "warn" },
        String(weight),
        heldBack ?? "",
        ...(wide
          ? [
            hop === undefined ? "-" : `via ${hop.via} dev ${hop.dev}`,
            item.groupId === undefined ? "-" : String(item.groupId),
            item.exportedTo.join(",") || "-",
          ]
          : []),
      ];
    })
  );
  const headings = ["ADDRESS", "ANNOUNCED", "POD", "SERVES", "WEIGHT", "WHY NOT"];
  const more = wide ? ["NEXT HOP", "GROUP", "EXPORTED TO"] : [];
  return head + renderTable([...headings, ...more], rows, colour) + omittedLine(omitted);
}

function announcedCell({ announced, routed, exportedTo }: AnycastList["items"][number]): Cell {
  if (announced === undefined) return { text: "unknown", tone: "warn" };
  if (announced) {
    const peers = exportedTo.length;
    return { text: `to ${peers} peer${peers === 1 ? "" : "s"}`, tone: "good" };
  }
  return routed ? { text: "to no peer", tone: "bad" } : { text: "no", tone: "faint" };
}

function viewConfig({ items, refused }: Config, { wide, colour }: ViewOptions): string {
  const isQuiet = ({ from, name }: ConfigItem): boolean =>
    from === "built-in default" && (!name.startsWith("spec.") || name.includes("peers["));
  const shown = wide ? items : items.filter((item) => !isQuiet(item));
  const rows = shown.map(({ name, value, from }): Cell[] => [
    name,
    valueText(value),
    from === "built-in default" ? { text: from, tone: "faint" } : from,
  ]);
  const head = refused === undefined
    ? ""
    : `The NodeConfig that is there is refused, the last good one is in force:\n  ${
      withoutControls(refused)
    }\n\n`;
  return head + renderTable(["NAME", "VALUE", "FROM"], rows, colour);
}

function viewVersion({ version, agent }: VersionInfo, { now }: ViewOptions): string {
  const running = agent === undefined
    ? ""
    : `agent ${agent.version} on ${agent.node}, up ${since(agent.startedAt, now)}\n`;
  return `flock ${version}\n${running}`;
}

function valueText(value: ConfigItem["value"]): string {
  if (value === null || value === "") return "-";
  if (typeof value === "object") return value.length === 0 ? "none" : value.join(", ");
  return String(value);
}

/** Tells of what an answer leaves out. */
export function omittedLine(omitted: number | undefined): string {
  return omitted === undefined ? "" : `… and ${omitted} more, which are not shown\n`;
}

/** Time since then, in two units at most: `3d4h`, `12m5s`. */
export function since(at: string, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - Date.parse(at)) / 1000));
  if (Number.isNaN(seconds)) return "-";
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count], n) => count > 0 || n === parts.length - 1);
  return parts.slice(first, first + 2).filter(([count], n) => n === 0 || count > 0)
    .map(([count, unit]) => `${count}${unit}`).join("");
}
