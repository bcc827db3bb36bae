/**
 * Attachments on their way out, from the moment before the first thing is taken from them until the
 * kernel has been read without them: what is still seen of them meanwhile is nobody's stray.
 *
 * @module
 */
import { type Attachment, attachmentKey } from "../core/attachment.ts";

/** A container may be attached again under the same key. */
export function identityOf(attachment: Attachment): string {
  return `${attachmentKey(attachment)} ${attachment.allocatedAt}`;
}

/** Who leaves. */
export class Leaving {
  /** Those that are about to be detached, by key. */
  readonly #going = new Map<string, Attachment>();
  /** Links of those that left since the kernel was read last. */
  readonly #left = new Set<string>();

  /** An attachment is about to be detached. */
  add(attachment: Attachment): void {
    this.#going.set(attachmentKey(attachment), attachment);
  }

  /** True for the key of one that is about to be detached. */
  has(key: string): boolean {
    return this.#going.has(key);
  }

  /** True for the link of one that is about to be detached. */
  isGoing(dev: string | undefined): boolean {
    return this.#going.values().some(({ hostIfname }) => hostIfname === dev);
  }

  /** True for the link of one that left since the kernel was read last. */
  hasLeft(dev: string): boolean {
    return this.#left.has(dev);
  }

  /** Whoever was about to be detached and is not among the attachments any more has left. */
  update(attachments: readonly Attachment[]): void {
    // What has the key of one that left may have been attached since.
    const there = new Set(attachments.map(identityOf));
    for (const [key, one] of this.#going) {
      if (there.has(identityOf(one))) continue;
      this.#going.delete(key);
      this.#left.add(one.hostIfname);
    }
  }

  /** The kernel is about to be read: it has nothing of those that left before. */
  reading(attachments: readonly Attachment[]): void {
    this.update(attachments);
    this.#left.clear();
  }

  /** All of it, for comparing. */
  get basis(): readonly string[] {
    return [...this.#going.keys(), ...this.#left];
  }
}
