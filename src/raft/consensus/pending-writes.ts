/**
 * Which part of the log is durable when a round of writes is. Raft worker; used by `log-view.ts`.
 *
 * A round that is under way may hold entries that were replaced since, and that may even have come back in a later round: the
 * entry (5, term 1), overwritten by (5, term 2), written again as (5, term 1) by a leader of term 3. Its index and term alone
 * cannot tell which copy a finished round speaks of. So every round remembers up to where the log that it wrote is still the
 * log of today, and a truncation lowers that mark in all rounds under way.
 */
import { assert } from '../../std/assert.ts';
import type { LogIndex, Term } from './types.ts';

interface Round {
  readonly number: number;
  /** Last index of the log when the round was handed out, lowered by truncations since. */
  last: LogIndex;
  readonly candidateTerm: Term;
}

export class PendingWrites {
  readonly #rounds: Round[] = [];
  #newest = 0;

  /** Newest round that was handed out. */
  get newest(): number {
    return this.#newest;
  }

  /** @param candidateTerm The term whose vote for this replica itself is durable with this round; 0 for none. */
  begin(last: LogIndex, candidateTerm: Term): number {
    this.#newest++;
    this.#rounds.push({ number: this.#newest, last, candidateTerm });
    return this.#newest;
  }

  /** Everything from `index` on was replaced. */
  truncate(index: LogIndex): void {
    for (const round of this.#rounds) if (round.last >= index) round.last = index - 1;
  }

  /** All rounds up to `number` are durable. Answers the mark of the newest of them. */
  finish(number: number): { readonly last: LogIndex; readonly candidateTerm: Term } {
    assert(number <= this.#newest, 'Only rounds that were handed out become durable');
    let finished: Round | undefined;
    while (this.#rounds.length > 0 && this.#rounds[0]!.number <= number) finished = this.#rounds.shift();
    assert(finished?.number === number, 'Rounds become durable once and in order');
    return finished;
  }
}
