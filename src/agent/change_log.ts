/**
 * What happened to addresses and prefixes lately, and why: the end of what `flock explain` tells. A few
 * changes of each are kept, in memory: the whole story is in the log.
 *
 * @module
 */
import type { AnycastAddress } from "../core/anycast.ts";
import {
  type AddressChange,
  anycastChanges,
  type RecordedChange,
} from "../core/anycast_changes.ts";

/** Changes that are kept of one address or prefix. */
const MAX_CHANGES = 8;
/** Addresses and prefixes of which any are kept: those that changed last. */
const MAX_SUBJECTS = 1_024;

/** Remembers changes. */
export class ChangeLog {
  readonly #now: () => Date;
  /** Newest first; the subject that changed last is the last. */
  readonly #bySubject = new Map<string, readonly RecordedChange[]>();
  #anycast: readonly AnycastAddress[] = [];

  constructor(now: () => Date) {
    this.#now = now;
  }

  /** Records a change. */
  note({ subject: text, what, why }: AddressChange): void {
    const subject = keyOf(text);
    const known = this.#bySubject.get(subject) ?? [];
    this.#bySubject.delete(subject);
    const change = { at: this.#now().toISOString(), subject, what, why };
    this.#bySubject.set(subject, [change, ...known].slice(0, MAX_CHANGES));
    const [oldest] = this.#bySubject.keys();
    if (this.#bySubject.size > MAX_SUBJECTS) this.#bySubject.delete(oldest!);
  }

  /** Records what changed of the addresses that pods share, since it was last told of them. */
  noteAnycast(addresses: readonly AnycastAddress[]): void {
    for (const change of anycastChanges(this.#anycast, addresses)) this.note(change);
    this.#anycast = addresses;
  }

  /** What happened to an address or a prefix, newest first. */
  of(subject: string): readonly RecordedChange[] {
    return this.#bySubject.get(keyOf(subject)) ?? [];
  }
}

/** An address is the same as its host route. */
function keyOf(subject: string): string {
  if (subject.includes("/")) return subject;
  return `${subject}/${subject.includes(":") ? 128 : 32}`;
}
