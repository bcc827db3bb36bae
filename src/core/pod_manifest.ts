/**
 * Pods as the API serves them, or as somebody wrote them by hand, to flock's own types.
 *
 * @module
 */
import { formatAddress, parseAddress } from "./cidr.ts";
import {
  conditionsOf,
  type Fields,
  fieldsOf,
  flagOf,
  isGiven,
  listOf,
  nameOf,
  optional,
  textOf,
  textsOf,
  uidOf,
  wrongType,
} from "./manifest_fields.ts";
import { isPort, isPortProtocol } from "./network_policy.ts";
import type { PeerPod, Pod } from "./objects.ts";
import type { NamedPort } from "./policy.ts";

/** `status.phase` of pods that run no more. */
const FINISHED = ["Succeeded", "Failed"];

/**
 * Parses a Pod. Without a namespace it is in `default`, as for every client.
 *
 * @param at where it is in its document, for messages
 * @throws {TypeError} naming the field
 */
export function parsePod(raw: unknown, at = ""): Pod {
  const object = fieldsOf(raw, `${at}pod`);
  const peer = parsePeerPod(object, at);
  const metadata = fieldsOf(object.metadata, `${at}metadata`);
  const spec = fieldsOf(object.spec ?? {}, `${at}spec`);
  const containers = listOf(spec.containers ?? [], `${at}spec.containers`);
  const container = fieldsOf(containers[0] ?? {}, `${at}spec.containers[0]`);
  const templateHash = peer.labels["pod-template-hash"];
  const owner = parseOwner(metadata, at);
  return {
    ...peer,
    ...(owner === undefined ? {} : { owner }),
    ...(templateHash === undefined ? {} : { templateHash }),
    ...optional("image", container.image, `${at}spec.containers[0].image`),
    ready: isReady(object, at),
    terminating: isGiven(metadata.deletionTimestamp),
  };
}

/**
 * Parses of a Pod what policies look at.
 *
 * @throws {TypeError} naming the field
 */
export function parsePeerPod(raw: unknown, at = ""): PeerPod {
  const object = fieldsOf(raw, `${at}pod`);
  const metadata = fieldsOf(object.metadata, `${at}metadata`);
  const spec = fieldsOf(object.spec ?? {}, `${at}spec`);
  const status = fieldsOf(object.status ?? {}, `${at}status`);
  return {
    namespace: nameOf(metadata.namespace ?? "default", `${at}metadata.namespace`),
    name: nameOf(metadata.name, `${at}metadata.name`),
    uid: uidOf(metadata.uid ?? "", `${at}metadata.uid`),
    ...optional("nodeName", spec.nodeName, `${at}spec.nodeName`),
    labels: textsOf(metadata.labels, `${at}metadata.labels`),
    annotations: textsOf(metadata.annotations, `${at}metadata.annotations`),
    addresses: parseAddresses(status, at),
    hostNetwork: flagOf(spec.hostNetwork, `${at}spec.hostNetwork`),
    ports: [
      ...parsePorts(spec.containers, `${at}spec.containers`, () => true),
      // Those run beside the containers; the others are over when a packet can come.
      ...parsePorts(
        spec.initContainers,
        `${at}spec.initContainers`,
        ({ restartPolicy }) => restartPolicy === "Always",
      ),
    ],
    finished: FINISHED.includes(textOf(status.phase ?? "", `${at}status.phase`)),
  };
}

/** `podIP` is the first of `podIPs`, and all that an old cluster, or somebody by hand, sets. */
function parseAddresses(status: Fields, at: string): readonly string[] {
  const path = `${at}status.podIPs`;
  const given = listOf(status.podIPs ?? [], path).map((item, n) =>
    fieldsOf(item, `${path}[${n}]`).ip
  );
  const texts = given.length > 0 ? given : [status.podIP];
  return [...new Set(texts.flatMap(canonical))];
}

/** An address as packets are compared with it; none, when no packet can have it. */
function canonical(text: unknown): readonly string[] {
  try {
    return typeof text === "string" ? [formatAddress(parseAddress(text))] : [];
  } catch {
    return [];
  }
}

function parsePorts(
  containers: unknown,
  path: string,
  isMeant: (container: Fields) => boolean,
): readonly NamedPort[] {
  return listOf(containers ?? [], path).flatMap((item, n) => {
    const container = fieldsOf(item ?? {}, `${path}[${n}]`);
    if (!isMeant(container)) return [];
    const at = `${path}[${n}].ports`;
    return listOf(container.ports ?? [], at).flatMap((port, m) => parsePort(port, `${at}[${m}]`));
  });
}

function parsePort(raw: unknown, path: string): readonly NamedPort[] {
  const { name, protocol, containerPort } = fieldsOf(raw, path);
  if (!isGiven(name) || name === "") return [];
  const known = isGiven(protocol) ? protocol : "TCP";
  if (!isPortProtocol(known)) {
    throw wrongType(`${path}.protocol`, "TCP, UDP or SCTP", known);
  }
  if (!isPort(containerPort)) {
    throw wrongType(`${path}.containerPort`, "a port (1 to 65535)", containerPort);
  }
  return [{ name: textOf(name, `${path}.name`), protocol: known, port: containerPort }];
}

function parseOwner(metadata: Fields, at: string): Pod["owner"] {
  const path = `${at}metadata.ownerReferences`;
  for (const [n, item] of listOf(metadata.ownerReferences ?? [], path).entries()) {
    const reference = fieldsOf(item, `${path}[${n}]`);
    if (reference.controller !== true) continue;
    return {
      kind: textOf(reference.kind, `${path}[${n}].kind`),
      name: textOf(reference.name, `${path}[${n}].name`),
      uid: textOf(reference.uid ?? "", `${path}[${n}].uid`),
    };
  }
  return undefined;
}

function isReady(object: Fields, at: string): boolean {
  return conditionsOf(object, at)
    .some((condition) => condition.type === "Ready" && condition.status === "True");
}
