/**
 * Linearizable reads that wait for the leader to prove that it still leads (Ongaro's thesis, section 6.4). Raft worker; one
 * per leadership.
 *
 * Every heartbeat carries a sequence that grows within the term, and its answer carries it back. An answer to sequence n was
 * given after n was sent, so it confirms all requests that came before n was sent and none that came after: a repeated or
 * late answer has an old sequence and confirms only what is old.
 */
import { assert } from '../../std/assert.ts';
import type { LogIndex, ReplicaId } from './types.ts';

export interface ReadRequest {
  readonly from: ReplicaId;
  readonly context: number;
}

export interface ConfirmedRead extends ReadRequest {
  readonly index: LogIndex;
}

interface Waiting extends ConfirmedRead {
  readonly sequence: number;
}

export class ReadRequests {
  /** Came before this leader has committed anything, when its commit index may be behind that of the leader before it. */
  #held: ReadRequest[] = [];
  #waiting: Waiting[] = [];
  #sequence = 0;
  #isUnsent = false;

  /** What heartbeats carry now. */
  get sequence(): number {
    return this.#sequence;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** The commit index is not to be trusted yet. */
  hold(request: ReadRequest): void {
    this.#held.push(request);
  }

  /** The commit index is now to be trusted: held requests begin. */
  release(commit: LogIndex): void {
    for (const { from, context } of this.#held) this.begin(from, context, commit);
    this.#held = [];
  }

  begin(from: ReplicaId, context: number, commit: LogIndex): void {
    this.#waiting.push({ from, context, index: commit, sequence: this.#sequence + 1 });
    this.#isUnsent = true;
  }

  /** Whether heartbeats have to be sent for requests that came since the last time; `sequence` is then a new one. */
  takeUnsent(): boolean {
    if (!this.#isUnsent) return false;
    this.#isUnsent = false;
    this.#sequence++;
    return true;
  }

  /** A quorum has answered `sequence`. Answers and removes what that confirms. */
  confirm(sequence: number): readonly ConfirmedRead[] {
    assert(sequence <= this.#sequence, 'Only what was sent is answered');
    let count = 0;
    while (count < this.#waiting.length && this.#waiting[count]!.sequence <= sequence) count++;
    return this.#waiting.splice(0, count);
  }
}
