/**
 * What tells the cluster of the node: the NodeConfig's status and the Node's condition. None where there is no API.
 *
 * @module
 */
import type { ClusterSource, ClusterWriter } from "../core/objects.ts";
import type { Birdc } from "../io/birdc.ts";
import { ConfigStatus, type ConfigStatusOptions } from "./config_status.ts";
import { isAnnounced, NodeCondition } from "./node_condition.ts";
import type { NodeState } from "./node_state.ts";

/** What is told of. */
export interface ReporterSources extends Omit<ConfigStatusOptions, "writer" | "node"> {
  readonly node: NodeState;
  readonly source: ClusterSource;
  readonly birdc: Birdc;
}

/** Runs until the signal aborts; looks soon when woken. */
export interface Reporter {
  wake(): void;
  run(signal: AbortSignal): Promise<void>;
}

/** The reporters of a node. */
export function createReporters(
  sources: ReporterSources,
  writer: ClusterWriter | undefined,
): readonly Reporter[] {
  if (writer === undefined) return [];
  const { nodeName, node, source, birdc, speaker, bgpInput } = sources;
  const announced = (): Promise<boolean> =>
    isAnnounced(birdc, node, speaker.state.applied && bgpInput.waitingFor === undefined);
  return [
    new ConfigStatus({ ...sources, writer }),
    new NodeCondition({ nodeName, source, writer, announced }),
  ];
}
