/**
 * `flock explain` for people: each chain from top to bottom, the first broken fact marked.
 *
 * @module
 */
import type { ExplainedAddress, Explanation, Fact, FactName } from "../core/inspection.ts";
import { renderTable, type Tone, toned } from "./table.ts";

/** What the facts are called. */
export const FACT_NAMES: Readonly<Record<FactName, string>> = {
  pod: "pod",
  allocation: "allocation",
  eligible: "eligible",
  nextHop: "next hop",
  kernelRoute: "kernel route",
  birdRoute: "BIRD's route",
  filter: "export filter",
  exported: "exported",
  lastChange: "last change",
};
const ROLES: Readonly<Record<ExplainedAddress["role"], string>> = {
  anycast: "anycast address",
  pod: "pod's own address",
  unused: "unused address",
  node: "node's or peer's address",
  otherNode: "another node's address",
  unknown: "nobody's address",
};
const SIGNS: Readonly<Record<Fact["state"], readonly [sign: string, tone: Tone]>> = {
  ok: ["✓", "good"],
  broken: ["✗", "bad"],
  unknown: ["?", "warn"],
};

/** The chains. */
export function viewExplanation(
  { target, node, items }: Explanation,
  colour: boolean,
): string {
  return items.map((item) => {
    const what = item.address === undefined
      ? `${target} on ${node}: no address`
      : `${item.address} on ${node}: ${ROLES[item.role]}`;
    const verdict = item.ok
      ? toned("every fact is ok", "good", colour)
      : item.broken === undefined
      ? toned("not everything is known", "warn", colour)
      : toned(`broken at: ${FACT_NAMES[item.broken]}`, "bad", colour);
    const rows = item.facts.map(({ fact, state, text, firstBroken }) => {
      const [sign, tone] = SIGNS[state];
      return [
        { text: firstBroken ? "->" : "", tone },
        { text: sign, tone },
        { text: FACT_NAMES[fact], tone: state === "ok" ? undefined : tone },
        text,
      ];
    });
    return `${toned(what, "heading", colour)}, ${verdict}\n` +
      renderTable(["", "", "FACT", "WHAT IS KNOWN"], rows, colour);
  }).join("\n");
}
