/**
 * The network configuration list that tells the runtime of flock. It holds no credential.
 *
 * @module
 */
import { Eta } from "eta";
import template from "../../templates/cni.conflist" with { type: "text" };
import { commonVersions, type PluginAnswer } from "./cni_plugin.ts";

/** What the list says. */
export interface ConflistInput {
  readonly socket: string;
  readonly stateDir: string;
  /** The reference plugin for host ports, chained after flock; it speaks a version that the list offers. */
  readonly portmap?: ChainedPortmap;
}

export interface ChainedPortmap extends PluginAnswer {
  /** Undefined: its own choice. */
  readonly backend?: string;
}

/** The highest version that stands alone: containerd 1.7 refuses a plain 1.1.0. */
const PLAIN_VERSION = "1.0.0";

/** Renders the list. It offers the versions that all its plugins speak, and names one for old runtimes. */
export function renderConflist({ socket, stateDir, portmap }: ConflistInput): string {
  const cniVersions = commonVersions(portmap === undefined ? [] : [portmap]);
  const cniVersion = cniVersions.findLast((version) => version <= PLAIN_VERSION) ?? cniVersions[0];
  const input = { socket, stateDir, portmap, cniVersion, cniVersions };
  const text = new Eta({ autoEscape: false }).renderString(template, input);
  return `${JSON.stringify(JSON.parse(text), null, 2)}\n`;
}

/** How a list chains `portmap`; undefined when it does not, or is no list. */
export function chainedPortmapOf(text: string): { readonly backend?: string } | undefined {
  try {
    const { plugins } = JSON.parse(text) as { plugins: Record<string, unknown>[] };
    const portmap = plugins.find(({ type }) => type === "portmap");
    if (portmap === undefined) return undefined;
    return typeof portmap.backend === "string" ? { backend: portmap.backend } : {};
  } catch {
    return undefined;
  }
}
