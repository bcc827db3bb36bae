/**
 * Keeps the allocator off the addresses that annotations name, also before those pods come.
 *
 * @module
 */
import { type Address, formatAddress, parseAddress } from "../core/cidr.ts";
import { ANNOTATION_PREFIX } from "../core/config.ts";
import type { Ipam } from "../core/ipam.ts";
import type { Pod } from "../core/objects.ts";

const KEYS = ["addresses", "anycast"].map((key) => ANNOTATION_PREFIX + key);

/** Holds on the addresses that the annotations of all known pods name. */
export class AnnotationHolds {
  readonly #ipam: Ipam;
  #held: ReadonlyMap<string, Address> = new Map();

  constructor(ipam: Ipam) {
    this.#ipam = ipam;
  }

  /** Takes over the pods as they are now. */
  update(pods: Iterable<Pod>): void {
    const named = new Map<string, Address>();
    for (const pod of pods) {
      for (const key of KEYS) {
        for (const address of parseList(pod.annotations[key])) {
          named.set(formatAddress(address), address);
        }
      }
    }
    for (const [text, address] of named) if (!this.#held.has(text)) this.#ipam.markUsed(address);
    for (const [text, address] of this.#held) if (!named.has(text)) this.#ipam.release(address);
    this.#held = named;
  }
}

/** The addresses of a list; an item that is none fails its pod's ADD, not this. */
function parseList(text: string | undefined): readonly Address[] {
  // Most pods have none, and what fails is slow.
  if (text === undefined) return [];
  return text.split(",").flatMap((item) => {
    try {
      return [parseAddress(item.trim())];
    } catch {
      return [];
    }
  });
}
