/**
 * What `flock policies explain` is asked: two ends and a port, and which packets they stand for in the
 * world as it is.
 *
 * @module
 */
import { FAMILIES, type Family, FAMILY_NAMES, formatAddress, parseAddress } from "./cidr.ts";
import { messageOf } from "./errors.ts";
import type { PortProtocol } from "./network_policy.ts";
import {
  type Endpoint,
  endpointOf,
  ownersOf,
  type Packet,
  type PolicyPod,
  type PolicyWorld,
} from "./policy.ts";
import { qualified } from "./policy_view.ts";
import { quote } from "./quote.ts";

/** One end, as it was asked. */
export type QuestionEnd =
  | { readonly kind: "pod"; readonly namespace: string; readonly name: string }
  | { readonly kind: "address"; readonly address: string; readonly family: Family };

/** What is asked. */
export interface PolicyQuestion {
  readonly from: QuestionEnd;
  readonly to: QuestionEnd;
  /** `icmp` is that of the family, `icmpv6` of IPv6 only. */
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp" | "icmpv6";
  /** A name is the one that the pod has which the packet goes to; none for ICMP. */
  readonly port?: number | string;
}

/** A packet, and the pods that its ends are: also those with their node's network. */
export interface AskedPacket extends Packet {
  readonly family: Family;
  readonly fromPod?: PolicyPod;
  readonly toPod?: PolicyPod;
}

const PORT = /^(?:(tcp|udp|sctp)\/)?(?:(\d{1,5})|([a-z0-9-]*[a-z][a-z0-9-]*))$/i;
const POD = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

/**
 * Reads the words of a question.
 *
 * @param text `FROM TO [PROTOCOL/]PORT`
 * @throws {SyntaxError} when a word cannot be understood
 */
export function parsePolicyQuestion(text: string): PolicyQuestion {
  const words = text.split(" ").filter((word) => word !== "");
  const [from, to, port] = words;
  if (from === undefined || to === undefined || port === undefined || words.length > 3) {
    throw new SyntaxError(
      `Cannot explain ${quote(text)}: it has to be FROM TO [PROTOCOL/]PORT, as in ` +
        '"web/front-0 web/db-0 tcp/5432"',
    );
  }
  return { from: parseEnd(from), to: parseEnd(to), ...parsePort(port) };
}

/**
 * The packets that are asked for: one for each family that both ends have, and for each pod that has an
 * address which was asked.
 *
 * @throws {RangeError} when there is no such pod, port or pair of addresses
 */
export function packetsOf(
  { from, to, protocol, port }: PolicyQuestion,
  world: PolicyWorld,
): readonly AskedPacket[] {
  const [sources, targets] = [endsOf(from, world), endsOf(to, world)];
  const families = FAMILIES.filter((family) => protocol !== "icmpv6" || family === "ipv6");
  const packets = families.flatMap((family) =>
    sources.flatMap((source) =>
      targets.flatMap((target): AskedPacket[] => {
        const [a, b] = [source.at[family], target.at[family]];
        if (a === undefined || b === undefined) return [];
        return [{
          family,
          from: endpoint(a, source.pod),
          to: endpoint(b, target.pod),
          fromPod: source.pod,
          toPod: target.pod,
          protocol: protocol === "icmp" && family === "ipv6" ? "icmpv6" : protocol,
          port: typeof port === "string" ? numberOf(port, protocol, target) : port,
        }];
      })
    )
  );
  if (packets.length > 0) return packets;
  const has = [[from, sources], [to, targets]] as const;
  throw new RangeError(
    `Cannot explain ${endText(from)} to ${endText(to)}: ` +
      `${protocol === "icmpv6" ? "ICMPv6 is between" : "a packet has"} ` +
      `${protocol === "icmpv6" ? "IPv6 addresses" : "addresses of one family"}, and ` +
      has.map(([end, ends]) => `${endText(end)} ${familiesText(ends)}`).join(", "),
  );
}

function parseEnd(text: string): QuestionEnd {
  const [namespace = "", name, ...rest] = text.split("/");
  if (name !== undefined) {
    if (isAddress(namespace)) {
      throw new SyntaxError(
        `Cannot explain ${quote(text)}: it is a prefix, and a packet has a single address`,
      );
    }
    if (rest.length === 0 && POD.test(namespace) && POD.test(name)) {
      return { kind: "pod", namespace, name };
    }
    throw new SyntaxError(`Cannot read pod ${quote(text)}: it has to be NAMESPACE/NAME`);
  }
  try {
    const address = parseAddress(text);
    return { kind: "address", address: formatAddress(address), family: address.family };
  } catch (cause) {
    const why = `it is neither NAMESPACE/NAME nor an address (${messageOf(cause)})`;
    throw new SyntaxError(`Cannot explain ${quote(text)}: ${why}`, { cause });
  }
}

function isAddress(text: string): boolean {
  try {
    parseAddress(text);
    return true;
  } catch {
    return false;
  }
}

function parsePort(text: string): Pick<PolicyQuestion, "protocol" | "port"> {
  const lower = text.toLowerCase();
  if (lower === "icmp" || lower === "icmpv6") return { protocol: lower };
  const [, protocol = "tcp", number, name] = PORT.exec(lower) ?? [];
  const port = number === undefined ? name : Number(number);
  if (port === undefined || typeof port === "number" && (port < 1 || port > 65_535)) {
    throw new SyntaxError(
      `Cannot read port ${
        quote(text)
      }: it has to be [tcp/|udp/|sctp/] and a number from 1 to 65535 ` +
        "or a port's name, or icmp",
    );
  }
  return { protocol: protocol as PolicyQuestion["protocol"], port };
}

/** A pod or an address, with the address that stands for it in each family. */
interface End {
  readonly at: Readonly<Partial<Record<Family, string>>>;
  readonly pod?: PolicyPod;
}

function endsOf(end: QuestionEnd, world: PolicyWorld): readonly End[] {
  if (end.kind === "address") {
    const at = { [end.family]: end.address };
    const owners = [
      ...ownersOf(world, end.address),
      ...(world.unknown ?? []).filter(({ addresses }) => addresses.includes(end.address)),
    ];
    return owners.length === 0 ? [{ at }] : owners.map((pod) => ({ at, pod }));
  }
  const { pods, policies, unknown = [] } = world;
  // Several: a pod was made anew, and the one of the same name before it is not yet detached.
  const found = [...pods, ...unknown].filter(({ namespace, name }) =>
    namespace === end.namespace && name === end.name
  );
  if (found.length === 0) {
    throw new RangeError(
      `Cannot explain pod "${endText(end)}": the agent knows no pod of this name` +
        (policies.length === 0 ? " (while there is no NetworkPolicy, only this node's pods)" : ""),
    );
  }
  return found.map((pod) => {
    const [ipv6, ipv4] = FAMILIES.map((family) => endpointOf(pod, family)?.address);
    return { at: { ipv6, ipv4 }, pod };
  });
}

/** Policies judge a pod by its link; one with its node's network has none. */
function endpoint(address: string, pod: PolicyPod | undefined): Endpoint {
  return pod === undefined || pod.hostNetwork ? { address } : { address, pod };
}

function numberOf(name: string, protocol: PolicyQuestion["protocol"], { pod }: End): number {
  if (pod === undefined) {
    throw new RangeError(`Cannot find port "${name}": only pods name ports, and no pod is there`);
  }
  const wanted = protocol.toUpperCase() as PortProtocol;
  const found = pod.ports.find((port) => port.name === name && port.protocol === wanted);
  if (found !== undefined) return found.port;
  const names = pod.ports.map((port) => `${port.protocol.toLowerCase()}/${port.name}`).join(", ");
  throw new RangeError(
    `Cannot find port "${protocol}/${name}": pod "${qualified(pod)}" names ${names || "no port"}`,
  );
}

function familiesText(ends: readonly End[]): string {
  const names = FAMILIES.filter((family) => ends.some(({ at }) => at[family] !== undefined))
    .map((family) => FAMILY_NAMES[family]);
  if (names.length === 0) return "has none";
  return `has ${names.length === 1 ? "only " : ""}${names.join(" and ")}`;
}

function endText(end: QuestionEnd): string {
  return end.kind === "pod" ? qualified(end) : end.address;
}
