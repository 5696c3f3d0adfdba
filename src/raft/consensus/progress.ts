/**
 * What a leader knows of one follower, and how it sends to it. Raft worker.
 *
 * - `probe`: where the logs agree is unknown. One append at a time, the next one after an answer or a heartbeat's answer.
 * - `replicate`: appends follow each other without waiting, within the limits of `Inflights`.
 * - `snapshot`: the follower needs the state; no appends until it has arrived or failed.
 *
 * Always: match < next.
 */
import { assert } from '../../std/assert.ts';
import { Inflights } from './inflights.ts';
import type { ProgressState, ProgressStatus } from './options.ts';
import type { LogIndex, ReplicaId } from './types.ts';

export interface InflightLimits {
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
}

export class Progress {
  readonly replica: ReplicaId;
  readonly inflights: Inflights;
  #match: LogIndex = 0;
  #next: LogIndex;
  #state: ProgressState = 'probe';
  /** Position of the snapshot under way; 0 for none. */
  #pendingSnapshot: LogIndex = 0;
  /** Highest commit index that was sent and will be believed: not after what was sent with it. */
  #sentCommit: LogIndex = 0;
  /** In `probe`: an append is under way. */
  isProbing = false;
  /** Send an append even if there is nothing new: a message may have been lost. */
  mustPing = false;
  /** Whether it was heard of since the last check of the quorum. */
  isActive: boolean;
  /** Entries in this range are waited for at the follower: it is told at once when one of them is committed. 0: none. */
  #wantedFrom: LogIndex = 0;
  #wantedTo: LogIndex = 0;
  /** Newest read sequence that it has answered in this term. */
  readSequence = 0;

  constructor(replica: ReplicaId, next: LogIndex, isActive: boolean, limits: InflightLimits) {
    this.replica = replica;
    this.#next = next;
    this.isActive = isActive;
    this.inflights = new Inflights(limits.inflightMessagesMax, limits.inflightBytesMax);
  }

  get match(): LogIndex {
    return this.#match;
  }

  get next(): LogIndex {
    return this.#next;
  }

  get state(): ProgressState {
    return this.#state;
  }

  /** Whether no append may be sent now. */
  get isPaused(): boolean {
    if (this.#state === 'probe') return this.isProbing;
    return this.#state === 'snapshot';
  }

  /** Whether an append without entries would tell the follower of a newer commit index. */
  isCommitNews(commit: LogIndex): boolean {
    return this.#state === 'replicate' && commit > this.#sentCommit && this.#sentCommit < this.#next - 1;
  }

  /**
   * Whether that append is worth sending: the next one with entries would tell it as well. `announced`: everybody is to know
   * of what is committed up to there.
   */
  isCommitDue(commit: LogIndex, announced: LogIndex): boolean {
    if (!this.isCommitNews(commit)) return false;
    return this.#sentCommit < announced || (this.#wantedFrom !== 0 && this.#wantedFrom <= commit);
  }

  /** Somebody at the follower waits until the entries from `from` to `to` are committed. */
  wants(from: LogIndex, to: LogIndex): void {
    this.#wantedFrom = this.#wantedFrom === 0 ? from : Math.min(this.#wantedFrom, from);
    this.#wantedTo = Math.max(this.#wantedTo, to);
  }

  /** A message that tells the follower so was sent. */
  told(commit: LogIndex): void {
    this.#sentCommit = Math.max(this.#sentCommit, Math.min(commit, this.#next - 1));
    if (this.#wantedFrom > this.#sentCommit) return;
    const hasMore = this.#wantedTo > this.#sentCommit;
    this.#wantedFrom = hasMore ? this.#sentCommit + 1 : 0;
    if (!hasMore) this.#wantedTo = 0;
  }

  /** An append with `count` entries and the commit index was sent. */
  sent(count: number, bytes: number, commit: LogIndex): void {
    this.mustPing = false;
    if (this.#state === 'probe') this.isProbing = true;
    if (this.#state === 'replicate' && count > 0) {
      this.#next += count;
      this.inflights.add(this.#next - 1, bytes);
    }
    this.told(commit);
  }

  /** The follower holds everything up to `index`. False when that is no news. */
  accept(index: LogIndex): boolean {
    if (index <= this.#match) return false;
    this.#match = index;
    this.#next = Math.max(this.#next, index + 1);
    this.isProbing = false;
    return true;
  }

  /**
   * The follower refused an append after `rejected`; `hint` is the last place where the logs may agree. False when the answer
   * is older than what is known by now.
   */
  reject(rejected: LogIndex, hint: LogIndex): boolean {
    if (rejected <= this.#match) return false;
    if (this.#state === 'replicate') {
      this.becomeProbe();
      return true;
    }
    // Probes go one at a time, so any other index is the answer to an older one. The hint of a delayed answer may still be
    // low, hence the floor: never probe below what the follower is known to hold.
    if (this.#next - 1 !== rejected) return false;
    this.#setNext(Math.max(Math.min(rejected, hint + 1), this.#match + 1));
    this.isProbing = false;
    return true;
  }

  becomeProbe(): void {
    // After a snapshot the log goes on behind it, whether the follower has said so or not.
    const next = Math.max(this.#match, this.#pendingSnapshot) + 1;
    this.#enter('probe');
    this.#setNext(next);
  }

  becomeReplicate(): void {
    this.#enter('replicate');
    this.#setNext(this.#match + 1);
  }

  becomeSnapshot(index: LogIndex): void {
    assert(index > this.#match, 'A snapshot brings the follower forward');
    this.#enter('snapshot');
    this.#pendingSnapshot = index;
    this.#setNext(index + 1);
  }

  /** The stream has ended. Appends go on after the follower's answer, or after the next heartbeat's. */
  snapshotEnded(hasArrived: boolean): void {
    if (!hasArrived) this.#pendingSnapshot = 0;
    this.becomeProbe();
    this.isProbing = true;
  }

  status(): ProgressStatus {
    return { match: this.#match, next: this.#next, state: this.#state, isActive: this.isActive };
  }

  #enter(state: ProgressState): void {
    this.#state = state;
    this.#pendingSnapshot = 0;
    this.isProbing = false;
    this.mustPing = false;
    this.inflights.clear();
  }

  #setNext(next: LogIndex): void {
    assert(next > this.#match, 'Nothing is sent that the follower is known to hold');
    this.#next = next;
    this.#sentCommit = Math.min(this.#sentCommit, next - 1);
  }
}
