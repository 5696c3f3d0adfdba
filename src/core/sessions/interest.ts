/**
 * Which topics some durable session wants, so that all else is not stored. Filters are counted here once, however many sessions
 * have them. Thread: the owner of the sessions; other threads' filters come through the shared table.
 */
import type { InterestTable } from '../routing/interest-table.ts';
import { SubscriptionIndex } from '../routing/subscription-index.ts';

interface CountedFilter {
  readonly filter: string;
  count: number;
}

export class SessionInterest {
  readonly #filters = new Map<string, CountedFilter>();
  readonly #index = new SubscriptionIndex<CountedFilter>();
  readonly #table: InterestTable | null;
  readonly #found: CountedFilter[] = [];

  /** `table`: this thread's view of a table for filters of durable sessions alone; null when no other thread has any. */
  constructor(table: InterestTable | null) {
    this.#table = table;
  }

  get filterCount(): number {
    return this.#filters.size;
  }

  /** Moves when an answer of `wants` can have changed; keep it with the answer. Load it before `wants`. */
  get epoch(): number {
    // Both only grow, each by one at a change.
    return this.#index.epoch + (this.#table?.epoch() ?? 0);
  }

  /** From the return on, whoever asks for a topic that the filter matches is told that it is wanted. */
  add(filter: string): void {
    const known = this.#filters.get(filter);
    if (known !== undefined) {
      known.count += 1;
      return;
    }
    const counted = { filter, count: 1 };
    this.#filters.set(filter, counted);
    this.#index.add(filter, counted);
    this.#table?.add(filter);
  }

  remove(filter: string): void {
    const known = this.#filters.get(filter);
    if (known === undefined) return;
    known.count -= 1;
    if (known.count > 0) return;
    this.#filters.delete(filter);
    this.#index.remove(filter, known);
    this.#table?.remove(filter);
  }

  /** May say yes for a topic that nobody wants (the table has collisions), never no for one that somebody does. */
  wants(topic: string): boolean {
    this.#found.length = 0;
    this.#index.match(topic, this.#found);
    if (this.#found.length > 0 || this.#table === null) return this.#found.length > 0;
    this.#table.workersFor(topic);
    return (this.#table.maskLow | this.#table.maskHigh) !== 0;
  }
}
