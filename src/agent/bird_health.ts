/**
 * Whether BIRD can announce this node, for STATUS.
 *
 * @module
 */
import { messageOf } from "../core/errors.ts";
import type { Birdc } from "../io/birdc.ts";
import type { NodeState } from "./node_state.ts";
import type { DataPathHealth } from "./server.ts";

/** Asks BIRD. A node without peers, or without a NodeConfig so far, has nobody to announce to. */
export function birdHealth(birdc: Birdc, node: NodeState): DataPathHealth {
  return {
    async degraded(): Promise<string | undefined> {
      if (node.config !== undefined && node.config.bgp.peers.length === 0) return undefined;
      try {
        const peers = (await birdc.protocols()).filter(({ proto }) => proto === "BGP");
        if (node.config === undefined && peers.length === 0) return undefined;
        return peers.some(({ info }) => info === "Established") ? undefined : "no BGP peer is up";
      } catch (error) {
        return messageOf(error);
      }
    },
  };
}
