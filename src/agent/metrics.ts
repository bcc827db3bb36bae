/**
 * The agent's metrics, in Prometheus' text form. What others count or know is read when it is asked for;
 * nothing here changes anything.
 *
 * @module
 */
import { Counter, Registry } from "prom-client";
import type { RouteCounters } from "./kernel_sync.ts";

/** Where the numbers come from. */
export interface MetricSources {
  readonly routes: RouteCounters;
}

/** What is served at `/metrics`. */
export interface Metrics {
  readonly contentType: string;
  /** The numbers as they are now. */
  render(): Promise<string>;
}

/** The agent's metrics. */
export function createMetrics({ routes }: MetricSources): Metrics {
  const registry = new Registry();
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  counter(
    "flock_route_reinstalls_total",
    "Routes of flock's that somebody else removed or changed, and that were installed again.",
    () => routes.reinstalls,
  );
  counter(
    "flock_route_install_failures_total",
    "Tries to install a route that failed.",
    () => routes.installFailures,
  );
  counter(
    "flock_link_repairs_total",
    "Ends of pods' links, next hops and groups that somebody else changed and that were put right.",
    () => routes.repairs,
  );
  return { contentType: registry.contentType, render: () => registry.metrics() };
}
