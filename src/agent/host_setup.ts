/**
 * The identity of the boot.
 *
 * @module
 */
import type { Sysctl } from "../io/sysctl.ts";

/** The identity of this boot. */
export async function readBootId(sysctl: Sysctl): Promise<string> {
  const path = "kernel/random/boot_id";
  const bootId = (await sysctl.read([path]))[path];
  if (!bootId) throw new Error(`Cannot read "/proc/sys/${path}": it is empty or missing`);
  return bootId;
}
