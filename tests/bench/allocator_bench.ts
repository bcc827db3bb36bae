/**
 * Cost of one allocation in large pools that are nearly full.
 *
 * @module
 */
import { parsePrefix, type Prefix } from "../../src/core/cidr.ts";
import { Ipam } from "../../src/core/ipam.ts";
import { type Measurement, median } from "./report.ts";

const IN_USE = 60_000;
const SAMPLES = 2_000;

/** Microseconds of an allocation with 60,000 addresses in use. */
export function benchAllocator(): readonly Measurement[] {
  return [
    measure("allocation in a /64, 60,000 in use, p50", parsePrefix("2001:db8:f001::/64")),
    measure("allocation in a /16, 60,000 in use, p50", parsePrefix("10.244.0.0/16")),
  ];
}

function measure(name: string, pool: Prefix): Measurement {
  const ipam = new Ipam((bits) =>
    BigInt.asUintN(bits, crypto.getRandomValues(new BigUint64Array(1))[0]!)
  );
  const request = { family: pool.family, pools: [pool], reserved: [] };
  for (let i = 0; i < IN_USE; i++) ipam.allocate(request);
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const started = performance.now();
    const { address } = ipam.allocate(request);
    samples.push((performance.now() - started) * 1_000);
    ipam.release(address);
  }
  return { name, unit: "µs", value: median(samples), budget: 50 };
}
