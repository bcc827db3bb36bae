/**
 * The network configuration list that tells the runtime of flock. It holds no credential.
 *
 * @module
 */
import { Eta } from "eta";
import template from "../../templates/cni.conflist" with { type: "text" };

/** What the list says. */
export interface ConflistInput {
  readonly socket: string;
  readonly stateDir: string;
  /** Chain the reference plugin for host ports after flock. */
  readonly portmap: boolean;
}

/**
 * Renders the list. `cniVersion` is 1.0.0 and the others stand in `cniVersions`: containerd 1.7 refuses a
 * plain 1.1.0.
 */
export function renderConflist(input: ConflistInput): string {
  const text = new Eta({ autoEscape: false }).renderString(template, input);
  return `${JSON.stringify(JSON.parse(text), null, 2)}\n`;
}
