/**
 * Metrics whose values are read at the moment they are asked for: with each reading the values of the one
 * before are gone, so that nothing is left of a peer that is configured no more.
 *
 * @module
 */
import { Counter, Gauge, type Registry } from "prom-client";

/** Puts one value of a metric. */
export type Put = (value: number, labels?: Readonly<Record<string, string>>) => void;

/** Adds a metric that is read by a function. */
export type Add = (
  metric: {
    readonly name: string;
    readonly help: string;
    readonly labelNames?: readonly string[];
  },
  read: (put: Put) => void | Promise<void>,
) => void;

/** One for each kind of metric. */
export interface Adders {
  readonly gauge: Add;
  readonly counter: Add;
}

/** Adds to a registry. */
export function readAdders(registry: Registry): Adders {
  const registers = [registry];
  return {
    gauge: (metric, read) =>
      void new Gauge({
        ...metric,
        registers,
        async collect() {
          const values = await valuesOf(read);
          this.reset();
          for (const { value, labels } of values) this.set(labels, value);
        },
      }),
    counter: (metric, read) =>
      void new Counter({
        ...metric,
        registers,
        async collect() {
          const values = await valuesOf(read);
          this.reset();
          for (const { value, labels } of values) this.inc(labels, value);
        },
      }),
  };
}

interface Value {
  readonly value: number;
  readonly labels: Record<string, string>;
}

/** All values, before any is put in place: two readings at a time must not mix. */
async function valuesOf(read: Parameters<Add>[1]): Promise<readonly Value[]> {
  const values: Value[] = [];
  await read((value, labels = {}) => values.push({ value, labels: { ...labels } }));
  return values;
}
