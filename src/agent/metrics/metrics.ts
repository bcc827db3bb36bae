/**
 * The agent's metrics, in Prometheus' text form: `instruments.ts` is counted as it happens, `gauges.ts`
 * is read when it is asked for. Every one of them is in docs/metrics.md.
 *
 * @module
 */
import { Registry } from "prom-client";
import { addGauges, type GaugeSources } from "./gauges.ts";
import { Instruments } from "./instruments.ts";
import { addProcessGauges } from "./process_gauges.ts";

/** What is served at `/metrics`. */
export interface Metrics {
  readonly contentType: string;
  /** The numbers as they are now. */
  render(): Promise<string>;
}

/** The metrics of one agent. */
export class AgentMetrics implements Metrics {
  readonly #registry = new Registry();
  /** What happens is told to these. */
  readonly instruments = new Instruments(this.#registry);

  constructor() {
    addProcessGauges(this.#registry);
  }

  /** Adds what is read of the agent's parts. */
  read(sources: GaugeSources): void {
    addGauges(this.#registry, sources);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }
}
