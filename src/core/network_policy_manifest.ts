/**
 * NetworkPolicies (networking.k8s.io/v1) as the API serves them, or as somebody wrote them by hand, to
 * flock's own types, with every default filled in as an API server does it.
 *
 * What cannot be understood allows nothing: a peer or port like that is left out and told of in
 * `problems`. An unknown field is such a thing: without it, a rule allows more than was meant. Where it
 * is not clear which pods are meant, or in which direction, the whole policy is refused.
 *
 * @module
 */
import { contains, formatPrefix, parsePrefix, type Prefix } from "./cidr.ts";
import { messageOf } from "./errors.ts";
import type { LabelRequirement, LabelSelector } from "./label_selector.ts";
import {
  type Fields,
  fieldsOf,
  isGiven,
  listOf,
  nameOf,
  textOf,
  textsOf,
  uidOf,
  wrongType,
} from "./manifest_fields.ts";
import {
  isPort,
  isPortProtocol,
  type NetworkPolicy,
  type PolicyPeer,
  type PolicyPort,
  type PolicyRule,
} from "./network_policy.ts";

/** The two sections of a policy, and what their rules call the other side. */
const SECTIONS = { Ingress: ["ingress", "from"], Egress: ["egress", "to"] } as const;

/**
 * Parses a NetworkPolicy. Without a namespace it is in `default`, as for every client.
 *
 * @param at where it is in its document, for messages
 * @throws {TypeError} naming the field: the name, the selector of its pods, its types or a section
 */
export function parseNetworkPolicy(raw: unknown, at = ""): NetworkPolicy {
  const object = fieldsOf(raw, `${at}policy`);
  const metadata = fieldsOf(object.metadata, `${at}metadata`);
  const spec = fieldsOf(object.spec ?? {}, `${at}spec`);
  const types = parseTypes(spec, at);
  const problems: string[] = [];
  const section = (type: keyof typeof SECTIONS): Partial<NetworkPolicy> => {
    const [name, others] = SECTIONS[type];
    if (!types.includes(type)) return {};
    const items = listOf(spec[name] ?? [], `${at}spec.${name}`);
    const rules = understood(
      items,
      `spec.${name}`,
      (item, path) => parseRule(item, { path, others, problems }),
      problems,
    );
    return { [name]: rules };
  };
  return {
    namespace: nameOf(metadata.namespace ?? "default", `${at}metadata.namespace`),
    name: nameOf(metadata.name, `${at}metadata.name`),
    uid: uidOf(metadata.uid ?? "", `${at}metadata.uid`),
    podSelector: parseSelector(spec.podSelector ?? {}, `${at}spec.podSelector`),
    ...section("Ingress"),
    ...section("Egress"),
    problems,
  };
}

/** `policyTypes`. Missing or empty: what an API server puts there. */
function parseTypes(spec: Fields, at: string): readonly string[] {
  const path = `${at}spec.policyTypes`;
  const types = listOf(spec.policyTypes ?? [], path).map((item, n) => {
    const type = textOf(item, `${path}[${n}]`);
    if (Object.hasOwn(SECTIONS, type)) return type;
    throw wrongType(`${path}[${n}]`, "Ingress or Egress", type);
  });
  if (types.length > 0) return types;
  const egress = listOf(spec.egress ?? [], `${at}spec.egress`);
  return egress.length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
}

/** What a function makes of a list's items, without those that it refuses. */
function understood<T>(
  items: readonly unknown[],
  path: string,
  parse: (item: unknown, path: string) => T,
  problems: string[],
): readonly T[] {
  return items.flatMap((item, n) => {
    try {
      return [parse(item, `${path}[${n}]`)];
    } catch (error) {
      problems.push(messageOf(error));
      return [];
    }
  });
}

function parseRule(
  raw: unknown,
  { path, others, problems }: {
    readonly path: string;
    readonly others: "from" | "to";
    readonly problems: string[];
  },
): PolicyRule {
  const fields = knownFields(raw, path, [others, "ports"]);
  const peers = listOf(fields[others] ?? [], `${path}.${others}`);
  const ports = listOf(fields.ports ?? [], `${path}.ports`);
  // An empty list is everybody; a list of which nothing is left is nobody.
  return {
    ...(peers.length === 0
      ? {}
      : { peers: understood(peers, `${path}.${others}`, parsePeer, problems) }),
    ...(ports.length === 0
      ? {}
      : { ports: understood(ports, `${path}.ports`, parsePort, problems) }),
  };
}

function parsePeer(raw: unknown, path: string): PolicyPeer {
  const peer = knownFields(raw, path, ["podSelector", "namespaceSelector", "ipBlock"]);
  const given = Object.keys(peer).filter((key) => isGiven(peer[key]));
  if (given.length === 0) throw new TypeError(`${path} is empty: it says nobody`);
  if (given.includes("ipBlock")) {
    if (given.length === 1) return parseBlock(peer.ipBlock, `${path}.ipBlock`);
    throw new TypeError(`${path} has both an ipBlock and a selector`);
  }
  const pods = parseSelector(peer.podSelector ?? {}, `${path}.podSelector`);
  if (!given.includes("namespaceSelector")) return { kind: "pods", pods };
  const namespaces = parseSelector(peer.namespaceSelector, `${path}.namespaceSelector`);
  return { kind: "pods", namespaces, pods };
}

function parseBlock(raw: unknown, path: string): PolicyPeer {
  const block = knownFields(raw, path, ["cidr", "except"]);
  const cidr = parseCidr(block.cidr, `${path}.cidr`);
  // A block without one of its exceptions would allow what was to be kept out.
  const except = listOf(block.except ?? [], `${path}.except`).map((item, n) => {
    const part = parseCidr(item, `${path}.except[${n}]`);
    if (contains(cidr, part) && part.length > cidr.length) return part;
    throw wrongType(`${path}.except[${n}]`, `a part of ${formatPrefix(cidr)}`, item);
  });
  return { kind: "block", cidr, except };
}

/** As API servers took them for years: decimal octets with leading zeros, bits after the length. */
function parseCidr(raw: unknown, path: string): Prefix {
  const text = textOf(raw, path);
  try {
    return parsePrefix(text.replace(/(?<=^|[./])0+(?=\d)/g, ""));
  } catch {
    throw wrongType(path, "a prefix (address/length)", text);
  }
}

function parsePort(raw: unknown, path: string): PolicyPort {
  const fields = knownFields(raw, path, ["protocol", "port", "endPort"]);
  const { port, endPort } = fields;
  const protocol = fields.protocol ?? "TCP";
  if (!isPortProtocol(protocol)) {
    throw wrongType(`${path}.protocol`, "TCP, UDP or SCTP", protocol);
  }
  if (isGiven(endPort) && typeof port !== "number") {
    throw new TypeError(`${path} has an endPort without a port that is a number`);
  }
  if (!isGiven(port)) return { kind: "range", protocol, first: 0, last: 65_535 };
  if (typeof port === "string") {
    if (isPortName(port)) return { kind: "named", protocol, name: port };
    throw wrongType(`${path}.port`, "a name of a port (RFC 6335)", port);
  }
  if (!isPort(port)) throw wrongType(`${path}.port`, "a port (1 to 65535)", port);
  const last = endPort ?? port;
  if (isPort(last) && last >= port) return { kind: "range", protocol, first: port, last };
  throw wrongType(`${path}.endPort`, `a port (${port} to 65535)`, last);
}

/** Names of ports (RFC 6335, section 5.1), in lower case: `80` is none. */
function isPortName(text: string): boolean {
  return text.length <= 15 && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(text) && /[a-z]/.test(text);
}

/**
 * Parses a `LabelSelector`.
 *
 * @throws {TypeError} naming the field
 */
function parseSelector(raw: unknown, path: string): LabelSelector {
  const selector = knownFields(raw, path, ["matchLabels", "matchExpressions"]);
  const labels = textsOf(selector.matchLabels, `${path}.matchLabels`);
  const expressions = listOf(selector.matchExpressions ?? [], `${path}.matchExpressions`);
  return [
    ...Object.entries(labels).map(([key, value]): LabelRequirement => ({
      key,
      operator: "In",
      values: [value],
    })),
    ...expressions.map((item, n) => parseRequirement(item, `${path}.matchExpressions[${n}]`)),
  ];
}

function parseRequirement(raw: unknown, path: string): LabelRequirement {
  const fields = knownFields(raw, path, ["key", "operator", "values"]);
  const key = textOf(fields.key, `${path}.key`);
  const values = listOf(fields.values ?? [], `${path}.values`).map((value, n) =>
    textOf(value, `${path}.values[${n}]`)
  );
  const { operator } = fields;
  switch (operator) {
    case "In":
    case "NotIn":
      if (values.length > 0) return { key, operator, values };
      throw new TypeError(`${path}.values is empty, and the operator is ${operator}`);
    case "Exists":
    case "DoesNotExist":
      if (values.length === 0) return { key, operator, values };
      throw new TypeError(`${path}.values is not empty, and the operator is ${operator}`);
    default:
      throw wrongType(`${path}.operator`, "In, NotIn, Exists or DoesNotExist", operator);
  }
}

/** An object that has no other fields than these. */
function knownFields(raw: unknown, path: string, known: readonly string[]): Fields {
  const fields = fieldsOf(raw, path);
  const other = Object.keys(fields).find((key) => !known.includes(key));
  if (other === undefined) return fields;
  throw new TypeError(`${path} has an unknown field ${JSON.stringify(other.slice(0, 60))}`);
}
