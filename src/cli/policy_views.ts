/**
 * `flock policies` and `flock policies explain` for people: who selects whom, what is allowed, what was
 * denied.
 *
 * @module
 */
import type { Count } from "../core/policy_counters.ts";
import type {
  PolicyEnd,
  PolicyExplanation,
  PolicyForce,
  PolicyItem,
  PolicyJudgement,
  PolicyList,
  PolicyPath,
  PolicyPodDirection,
  PolicyPodItem,
} from "../core/policy_inspection.ts";
import { omittedLine, type ViewOptions } from "./inspect_views.ts";
import { type Cell, renderTable, toned, withoutControls } from "./table.ts";

/** Names in a cell, unless everything is wanted. */
const MAX_NAMES = 3;

/** The policies, then the pods. */
export function viewPolicies(list: PolicyList, options: ViewOptions): string {
  const { items, pods, omitted, podsOmitted, countersError } = list;
  const { wide, colour } = options;
  const problems = items.flatMap(({ namespace, name, problems }) =>
    problems.map((text): Cell[] => [`${namespace}/${name}`, { text, tone: "bad" }])
  );
  const policies = items.length === 0 ? "There is no NetworkPolicy.\n" : renderTable(
    ["POLICY", "OF PODS", "HERE", "DIRECTION", "ALLOWS", ...(wide ? ["UID"] : [])],
    items.flatMap((item) => policyRows(item, wide)),
    colour,
  );
  const shown = wide ? pods : pods.filter(isNoteworthy);
  const named = Map.groupBy(pods, ({ pod }) => pod);
  const nameOf = ({ pod, hostIfname }: PolicyPodItem): string =>
    wide || named.get(pod)?.length === 1 ? pod : `${pod} (${hostIfname})`;
  const hidden = pods.length - shown.length;
  const headings = ["POD", "MODE", "INGRESS BY", "EGRESS BY", "DENIED IN", "DENIED OUT", "SPOOFED"];
  const table = shown.length === 0 ? "" : "\n" +
    renderTable(
      [...headings, ...(wide ? ["LINK"] : [])],
      shown.map((pod) => [nameOf(pod), ...podRow(pod, wide)]),
      colour,
    );
  return forceLine(list, colour) +
    (problems.length === 0
      ? ""
      : `${
        renderTable(["POLICY", "WHAT CANNOT BE USED, AND ALLOWS NOTHING"], problems, colour)
      }\n`) +
    policies + omittedLine(omitted) + table + omittedLine(podsOmitted) +
    (hidden === 0
      ? ""
      : `\nNo policy is about ${hidden} ${
        shown.length > 0 ? "other " : ""
      }of this node's pods.\n`) +
    (countersError === undefined
      ? ""
      : `\nWhat was denied cannot be read: ${withoutControls(countersError)}\n`);
}

/** A line for each rule, with what they have in common on the first. */
function policyRows(item: PolicyItem, wide: boolean): readonly Cell[][] {
  const { namespace, name, podSelector, selects, selectsOmitted = 0, rulesOmitted, uid } = item;
  const rules = [
    ...rulesOf("ingress", item.ingress),
    ...rulesOf("egress", item.egress),
    ...(rulesOmitted === undefined ? [] : [["", `… and ${rulesOmitted} more rules`] as const]),
  ];
  return (rules.length === 0 ? [["-", "-"] as const] : rules).map((
    [direction, text],
    n,
  ): Cell[] => [
    ...(n === 0
      ? [
        `${namespace}/${name}`,
        podSelector || "every pod",
        String(selects.length + selectsOmitted),
      ]
      : ["", "", ""]),
    direction,
    text,
    ...(wide && n === 0 ? [uid || "-"] : []),
  ]);
}

function rulesOf(
  direction: string,
  rules: readonly string[] | undefined,
): readonly (readonly [string, Cell])[] {
  if (rules === undefined) return [];
  if (rules.length === 0) return [[direction, { text: "nothing", tone: "warn" }]];
  return rules.map((text, n) => [rules.length === 1 ? direction : `${direction} ${n + 1}`, text]);
}

/** Some policy is about it, or something of it was dropped. */
function isNoteworthy({ ingress, egress, spoofed }: PolicyPodItem): boolean {
  return ingress.policies !== undefined || egress.policies !== undefined ||
    (spoofed?.packets ?? 0) > 0;
}

function podRow(
  { mode, ingress, egress, spoofed, hostIfname }: PolicyPodItem,
  wide: boolean,
): Cell[] {
  return [
    mode === "audit" ? { text: mode, tone: "warn" } : mode,
    namesCell(ingress, wide),
    namesCell(egress, wide),
    deniedCell(ingress, wide),
    deniedCell(egress, wide),
    spoofed === undefined ? "?" : countCell(spoofed, "", wide),
    ...(wide ? [hostIfname] : []),
  ];
}

function namesCell({ policies, policiesOmitted = 0 }: PolicyPodDirection, wide: boolean): Cell {
  if (policies === undefined) return { text: "-", tone: "faint" };
  if (policies.length === 0) return { text: "pod not known", tone: "bad" };
  const shown = wide ? policies : policies.slice(0, MAX_NAMES);
  const more = policies.length - shown.length + policiesOmitted;
  return shown.join(",") + (more === 0 ? "" : ` +${more}`);
}

/** What was dropped, and what only would have been. */
function deniedCell({ dropped, audited }: PolicyPodDirection, wide: boolean): Cell {
  if (dropped === undefined || audited === undefined) return "?";
  if (audited.packets === 0) return countCell(dropped, "", wide);
  if (dropped.packets === 0) return countCell(audited, " (audit)", wide);
  const [first, second] = [countText(dropped, wide), countText(audited, wide)];
  return { text: `${first} + ${second} (audit)`, tone: "warn" };
}

function countCell(count: Count, note: string, wide: boolean): Cell {
  const text = countText(count, wide) + note;
  return count.packets === 0 ? { text, tone: "faint" } : { text, tone: "warn" };
}

function countText({ packets, bytes }: Count, wide: boolean): string {
  return wide ? `${packets} (${bytes} B)` : String(packets);
}

/** The ways, each with what both directions say. */
export function viewPolicyExplanation(answer: PolicyExplanation, colour: boolean): string {
  return forceLine(answer, colour) +
    answer.items.map((path) => viewPath(path, colour)).join("\n") + omittedLine(answer.omitted);
}

function viewPath(path: PolicyPath, colour: boolean): string {
  const { from, to, protocol, port, egress, ingress } = path;
  const what = `${endText(from)} to ${endText(to)}, ${protocol}${
    port === undefined ? "" : `/${port}`
  }`;
  const result = path.allowed
    ? toned("allowed", "good", colour)
    : path.passes
    ? toned("denied, and passes in audit mode", "warn", colour)
    : toned("denied", "bad", colour);
  const rows = [
    judgementRow("egress", from, egress),
    judgementRow("ingress", to, ingress),
  ];
  return `${toned(withoutControls(what), "heading", colour)}: ${result}\n` +
    renderTable(["", "", "OF", "WHAT POLICIES SAY"], rows, colour);
}

function judgementRow(
  direction: string,
  { pod, node, address }: PolicyEnd,
  { outcome, passes, text }: PolicyJudgement,
): Cell[] {
  const sign: Cell = outcome !== "denied"
    ? { text: "✓", tone: "good" }
    : passes
    ? { text: "!", tone: "warn" }
    : { text: "✗", tone: "bad" };
  return [sign, direction, pod ?? (node === undefined ? address : `node ${node}`), text];
}

function endText({ address, pod, node }: PolicyEnd): string {
  if (pod !== undefined) return `${pod} (${address}${node === undefined ? "" : `, on ${node}`})`;
  return node === undefined ? address : `${address} (node ${node})`;
}

/** That the kernel does not do what is told here. */
function forceLine({ inForce, error }: PolicyForce, colour: boolean): string {
  if (inForce) return "";
  const why = error === undefined ? "they are not in the kernel yet" : withoutControls(error);
  return `${toned(`This is not in force: ${why}`, "bad", colour)}\n\n`;
}
