/**
 * What the process can tell of itself without /proc, which Deno refuses without all permissions: hence
 * neither open files nor threads. Names are those that Prometheus' client libraries use.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import { Counter, Gauge, type Registry } from "prom-client";
import { VERSION } from "../../version.ts";

/** Adds build information and the process's own metrics. */
export function addProcessGauges(registry: Registry): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number | Promise<number>): void => {
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        this.set(await read());
      },
    });
  };
  const { deno, v8 } = Deno.version;
  new Gauge({
    name: "flock_build_info",
    help: "Always 1; the labels say what was built.",
    labelNames: ["version", "deno", "v8"],
    registers,
  }).set({ version: VERSION, deno, v8 }, 1);
  gauge(
    "process_start_time_seconds",
    "When the process began, in seconds since 1970.",
    () => performance.timeOrigin / 1000,
  );
  new Counter({
    name: "process_cpu_seconds_total",
    help: "Time on a CPU, user and system.",
    registers,
    collect() {
      const { user, system } = cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  gauge(
    "process_resident_memory_bytes",
    "Resident memory.",
    () => Deno.memoryUsage().rss,
  );
  gauge(
    "process_heap_bytes",
    "JavaScript heap in use.",
    () => Deno.memoryUsage().heapUsed,
  );
  gauge(
    "flock_event_loop_lag_seconds",
    "How late a timer was that was due at once, when the metrics were asked for.",
    async () => {
      const began = performance.now();
      await new Promise<void>((resolve) => setTimeout(resolve, 0));
      return (performance.now() - began) / 1000;
    },
  );
}
