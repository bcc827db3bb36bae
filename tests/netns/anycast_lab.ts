/**
 * Replicas of anycast addresses in a lab: pods with the annotation, each with a server that says its name
 * (`flows.ts`), and the waiting for what the agent makes of them.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { parseAddress } from "../../src/core/cidr.ts";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import { hostCidr } from "../../src/core/wiring.ts";
import { gatewaysOf } from "../../src/lab/host.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod, PodOptions } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { serveFlows } from "./flows.ts";

/** Attaches a pod with anycast addresses, or with none, and starts its server, which has the pod's name. */
export async function addReplica(
  node: Node,
  name: string,
  anycast: readonly string[],
  change: Partial<PodOptions> = {},
): Promise<Pod> {
  const annotations = { [`${ANNOTATION_PREFIX}anycast`]: anycast.join(",") };
  const pod = await node.createPod({
    name,
    annotations: anycast.length > 0 ? annotations : undefined,
  });
  // As a kubelet has it: ready once it serves.
  await node.updatePod(pod, { ready: false });
  const result = await node.add(pod);
  const given = (result.ips ?? []).map(({ address }) => address.split("/")[0]!);
  await serveFlows(pod, name, [...given, ...anycast]);
  await node.updatePod(pod, change);
  return pod;
}

/** Waits until the node sends an address to exactly these pods of its own; none: it has no such route. */
export async function waitReplicas(
  node: Node,
  address: string,
  pods: readonly Pod[],
): Promise<void> {
  const { family } = parseAddress(address);
  const prefix = hostCidr(parseAddress(address));
  const wanted = pods.map((pod) => pod.address(family)!).sort();
  await until(`${address} on ${node.name} with ${pods.length} pods`, async () => {
    const routes = (await node.routes(family)).filter(({ dst, protocol }) =>
      dst === prefix && protocol === "144"
    );
    assertEquals(routes.flatMap(gatewaysOf).sort(), wanted);
    return true;
  }, { everyMs: 20 });
}
