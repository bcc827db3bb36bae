/**
 * Room in the table for what policies need. A few kilobytes of selectors that select every pod would take
 * gigabytes of the kernel's memory: whoever may write policies could end the node.
 *
 * @module
 */

/** Rules, and elements of sets, that a table may have. 1,000 policies among 5,000 pods need 60,000. */
export const TABLE_ROOM = 500_000;

/** What something needs. */
export interface Need {
  /** Rules, and elements of sets, that are its own. */
  readonly own: number;
  /** Elements of the sets that it shares with others, by the set's name. */
  readonly shared: ReadonlyMap<string, number>;
}

/**
 * What does not fit, with its size: the largest ones. What several share is counted once.
 *
 * @param needs what there is
 */
export function withoutRoom<T>(
  needs: ReadonlyMap<T, Need>,
  room = TABLE_ROOM,
): ReadonlyMap<T, number> {
  const sized = Array.from(needs, ([one, need]) => {
    return { one, ...need, size: need.own + sum(need.shared.values()) };
  }).sort((a, b) => a.size - b.size);
  const refused = new Map<T, number>();
  const counted = new Set<string>();
  let taken = 0;
  for (const { one, own, shared, size } of sized) {
    const fresh = [...shared].filter(([name]) => !counted.has(name));
    const more = own + sum(fresh.map(([, elements]) => elements));
    if (taken + more > room) {
      refused.set(one, size);
      continue;
    }
    taken += more;
    for (const [name] of fresh) counted.add(name);
  }
  return refused;
}

/** What several need, as if they shared nothing. */
export function needOfAll(needs: Iterable<Need>): number {
  return sum(Array.from(needs, ({ own, shared }) => own + sum(shared.values())));
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}
