/**
 * `flock render`: what would be applied, as the tools read it. Nothing is.
 *
 * @module
 */
import { renderBirdConfig } from "../core/bird_config.ts";
import { CniCode, CniError } from "../core/errors.ts";
import type { Rendered } from "../core/inspection.ts";
import { observedState } from "../core/own_state.ts";
import { diffState, renderState } from "../core/state_diff.ts";
import type { InspectOptions } from "./inspect.ts";
import { pendingLinks } from "./inspect_facts.ts";

/**
 * Renders.
 *
 * @param what `bird`, `routes` or `nft`
 * @throws {CniError} 4 when it is something else; 11 while it is not known yet
 */
export async function renderedOf(options: InspectOptions, what: string): Promise<Rendered> {
  switch (what) {
    case "bird": {
      const { bgpInput, speaker } = options;
      if (bgpInput.last === undefined) {
        const why = bgpInput.waitingFor ?? "a NodeConfig";
        throw new CniError(
          CniCode.tryAgainLater,
          `Cannot render BIRD's configuration: it waits for ${why}`,
        );
      }
      return {
        kind: "Rendered",
        what,
        text: renderBirdConfig(bgpInput.last, { redact: true }),
        inForce: speaker.state.applied && bgpInput.waitingFor === undefined,
      };
    }
    case "routes": {
      const { wanted, planned } = options.kernel;
      if (!planned) {
        throw new CniError(
          CniCode.tryAgainLater,
          "Cannot render routes: no pass over them was made yet",
        );
      }
      const present = observedState(await options.ip.observe());
      const changes = diffState(wanted, present, pendingLinks(options.store.list()));
      return {
        kind: "Rendered",
        what,
        text: renderState(wanted, present).map((line) => `${line}\n`).join(""),
        inForce: changes.length === 0,
      };
    }
    case "nft": {
      const { policies } = options;
      const text = policies.render();
      if (text === undefined) {
        throw new CniError(
          CniCode.tryAgainLater,
          "Cannot render the packet filter's rules: caches are not in sync yet",
        );
      }
      return { kind: "Rendered", what, text, inForce: policies.inForce };
    }
    default:
      throw new CniError(
        CniCode.invalidEnvironment,
        `Cannot render ${JSON.stringify(what)}: it is none of "bird", "routes" and "nft"`,
      );
  }
}
