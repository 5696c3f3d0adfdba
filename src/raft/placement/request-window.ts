/**
 * Which request ids were applied in the newest revisions, so that a repeated write is applied once. Part of the replicated
 * state: it follows from the change log alone, and is made from it at start. Thread: the Raft worker.
 */
import type { Revision } from '../../core/ports/placement.ts';
import type { Change } from './change-log.ts';
import { limits } from './limits.ts';

/** What is remembered of the first time. The values of the change must not stay in memory. */
export type RequestOutcome = Omit<Change, 'events'>;

export class RequestWindow {
  private readonly outcomes = new Map<string, RequestOutcome>();
  /** In the order of revisions; those before `first` are gone. */
  private order: RequestOutcome[] = [];
  private first = 0;

  get(requestId: string): RequestOutcome | null {
    return this.outcomes.get(requestId) ?? null;
  }

  /** Every change in order; forgets what is out of the window at its revision. */
  add(change: Change): void {
    if (change.requestId !== '') {
      const { revision, requestId, commandTag, succeeded, epoch } = change;
      const outcome = { revision, requestId, commandTag, succeeded, epoch };
      this.outcomes.set(requestId, outcome);
      this.order.push(outcome);
    }
    this.forget(change.revision - limits.revisionsKept);
  }

  clear(): void {
    this.outcomes.clear();
    this.order = [];
    this.first = 0;
  }

  private forget(upTo: Revision): void {
    while (this.first < this.order.length && this.order[this.first].revision <= upTo) {
      this.outcomes.delete(this.order[this.first++].requestId);
    }
    if (this.first < 1_024 || this.first * 2 < this.order.length) return;
    this.order = this.order.slice(this.first);
    this.first = 0;
  }
}
