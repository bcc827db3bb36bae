/**
 * NetworkPolicies in words, for people: selectors as `kubectl` writes them, rules as sentences.
 *
 * @module
 */
import { formatPrefix } from "./cidr.ts";
import type { LabelRequirement, LabelSelector } from "./label_selector.ts";
import type { PolicyPeer, PolicyPort, PolicyRule } from "./network_policy.ts";
import type { Direction } from "./policy.ts";

/** Longest text of one selector, and most peers or ports of a rule that are told. */
const MAX_SELECTOR = 300;
const MAX_ENTRIES = 20;
const LAST_PORT = 65_535;

/** A selector as `kubectl get pods --selector` takes it; empty when it selects everything. */
export function selectorText(selector: LabelSelector): string {
  const text = selector.map(requirementText).join(",");
  return text.length > MAX_SELECTOR ? `${text.slice(0, MAX_SELECTOR - 1)}…` : text;
}

/** A port: `tcp/80`, `tcp/8000-8100`, `tcp/http`, `tcp` for all of them. */
export function portText(port: PolicyPort): string {
  const protocol = port.protocol.toLowerCase();
  if (port.kind === "named") return `${protocol}/${port.name}`;
  const { first, last } = port;
  if (first === 0 && last === LAST_PORT) return protocol;
  return `${protocol}/${first === last ? first : `${first}-${last}`}`;
}

/** A peer: `pods app=web of this namespace`, `10.0.0.0/8 except 10.1.0.0/16`. */
export function peerText(peer: PolicyPeer): string {
  if (peer.kind === "block") {
    const except = peer.except.map(formatPrefix);
    return formatPrefix(peer.cidr) + (except.length === 0 ? "" : ` except ${listed(except, ", ")}`);
  }
  const pods = peer.pods.length === 0 ? "every pod" : `pods ${selectorText(peer.pods)}`;
  if (peer.namespaces === undefined) return `${pods} of this namespace`;
  if (peer.namespaces.length === 0) return `${pods} of every namespace`;
  return `${pods} of namespaces ${selectorText(peer.namespaces)}`;
}

/** A rule: `from pods app=web of this namespace or 10.0.0.0/8, on tcp/80 or udp/53`. */
export function ruleText(direction: Direction, { peers, ports }: PolicyRule): string {
  const [word, all, none] = direction === "ingress"
    ? ["from", "from everybody", "from nobody: no entry of it can be used"]
    : ["to", "to everybody", "to nobody: no entry of it can be used"];
  const who = peers === undefined
    ? all
    : peers.length === 0
    ? none
    : `${word} ${listed(peers.map(peerText), " or ")}`;
  const where = ports === undefined
    ? "on every port and protocol"
    : ports.length === 0
    ? "on no port: no entry of it can be used"
    : `on ${listed(ports.map(portText), " or ")}`;
  return `${who}, ${where}`;
}

/** Names of policies of one namespace, in a sentence. */
export function namesText(names: readonly string[]): string {
  return listed(names, ", ");
}

function requirementText({ key, operator, values }: LabelRequirement): string {
  switch (operator) {
    case "In":
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${values.join(",")})`;
    case "NotIn":
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${values.join(",")})`;
    case "Exists":
      return key;
    case "DoesNotExist":
      return `!${key}`;
  }
}

function listed(texts: readonly string[], separator: string): string {
  const more = texts.length - MAX_ENTRIES;
  if (more <= 0) return texts.join(separator);
  return `${texts.slice(0, MAX_ENTRIES).join(separator)}${separator}${more} more`;
}
