/**
 * The log as the consensus core sees it: the part on disk (`LogReader`), the part in memory (`LogTail`), and the marks of how
 * far it is durable, committed and applied. Raft worker.
 *
 *   snapshot < first … applied <= applying <= commit <= last,    durable <= last
 */
import { assert } from '../../std/assert.ts';
import { totalBytes } from './entry-bytes.ts';
import { LogTail } from './log-tail.ts';
import { PendingWrites } from './pending-writes.ts';
import type { Entry, LogIndex, LogReader, SnapshotPosition, Term } from './types.ts';

const nothing: readonly Entry[] = [];

export interface LogLimits {
  /** Committed entries handed out and not yet applied. */
  readonly committedBytesMax: number;
  /** Durable entries that are kept in memory because they are not applied yet. */
  readonly tailBytesMax: number;
}

export class LogView {
  readonly #reader: LogReader;
  readonly #limits: LogLimits;
  readonly #tail: LogTail;
  readonly #writes = new PendingWrites();
  /** Pages of committed entries under way to the state machine. */
  readonly #pages: { readonly last: LogIndex; readonly bytes: number }[] = [];
  #pagesBytes = 0;
  /** Last entry that was handed out for writing. */
  #handed: LogIndex;
  #durable: LogIndex;
  #commit: LogIndex;
  #applying: LogIndex;
  #applied: LogIndex;
  #lastTerm: Term;
  /** A snapshot that replaced the log; until its round is durable the reader may still show the old one. */
  #snapshot: SnapshotPosition | null = null;
  #snapshotRound = 0;

  constructor(reader: LogReader, applied: LogIndex, commit: LogIndex, limits: LogLimits) {
    const last = reader.lastIndex();
    assert(applied >= reader.firstIndex() - 1, 'The log begins where the state machine ends or before');
    assert(applied <= last, 'The log reaches the applied entry: reset it to the position of the state machine');
    assert(commit <= last, 'The log reaches the committed entry: it has lost some');
    this.#reader = reader;
    this.#limits = limits;
    this.#tail = new LogTail(last + 1);
    this.#handed = last;
    this.#durable = last;
    this.#applied = applied;
    this.#applying = applied;
    this.#commit = Math.max(commit, applied);
    const lastTerm = reader.term(last);
    assert(lastTerm !== null, 'The term of the last entry is known');
    this.#lastTerm = lastTerm;
  }

  get lastIndex(): LogIndex {
    return this.#tail.last;
  }

  get lastTerm(): Term {
    return this.#lastTerm;
  }

  get commit(): LogIndex {
    return this.#commit;
  }

  get applied(): LogIndex {
    return this.#applied;
  }

  /** Everything up to here is durable on this replica. */
  get durable(): LogIndex {
    return this.#durable;
  }

  /** Whether a snapshot has replaced the log and is not durable yet. */
  get isRestoring(): boolean {
    return this.#snapshot !== null;
  }

  get firstIndex(): LogIndex {
    return this.#snapshot === null ? this.#reader.firstIndex() : this.#snapshot.index + 1;
  }

  /** Null for what was compacted or lies beyond the end. */
  term(index: LogIndex): Term | null {
    if (index === this.#tail.last) return this.#lastTerm;
    if (index > this.#tail.last) return null;
    if (index >= this.#tail.first) return this.#tail.at(index).term;
    if (this.#snapshot !== null) return index === this.#snapshot.index ? this.#snapshot.term : null;
    return index < this.#reader.firstIndex() - 1 ? null : this.#reader.term(index);
  }

  /** Entries from `low` (at most the end + 1) to before `high`, limited by bytes; null when `low` was compacted. */
  entries(low: LogIndex, high: LogIndex, bytesMax: number): readonly Entry[] | null {
    if (low >= high || low > this.#tail.last) return nothing;
    if (low >= this.#tail.first) return this.#tail.slice(low, high, bytesMax);
    if (low < this.firstIndex) return null;
    return this.#reader.entries(low, Math.min(high, this.#tail.first), bytesMax);
  }

  snapshotPosition(): SnapshotPosition | null {
    return this.#snapshot === null ? this.#reader.snapshotPosition() : null;
  }

  /** Whether a log that ends with (term, index) has everything that may be committed here. Raft, section 5.4.1. */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    return lastTerm > this.#lastTerm || (lastTerm === this.#lastTerm && lastIndex >= this.#tail.last);
  }

  /** The leader's own entries: they follow the last one. */
  append(entries: readonly Entry[]): void {
    this.#tail.append(entries);
    this.#lastTerm = entries[entries.length - 1]!.term;
  }

  /**
   * A follower takes over what the leader sent, if its log holds (previousIndex, previousTerm). `previousIndex` is not before
   * `commit`. Answers the last index that now agrees with the leader's log, or null.
   */
  merge(previousIndex: LogIndex, previousTerm: Term, entries: readonly Entry[]): LogIndex | null {
    if (this.term(previousIndex) !== previousTerm) return null;
    let known = 0;
    while (known < entries.length && this.term(entries[known]!.index) === entries[known]!.term) known++;
    if (known < entries.length) this.#replace(entries, known);
    return previousIndex + entries.length;
  }

  /**
   * The last index not after `index` where this log's term is not above `term`: the logs cannot agree between the two. Stops
   * at `floor`, where they are known to agree.
   */
  lastNotAbove(term: Term, index: LogIndex, floor: LogIndex): { readonly index: LogIndex; readonly term: Term } {
    let at = Math.min(index, this.#tail.last);
    for (; at > floor; at--) {
      const own = this.term(at);
      if (own === null) return { index: at, term: 0 };
      if (own <= term) return { index: at, term: own };
    }
    return { index: at, term: this.term(at) ?? 0 };
  }

  commitTo(index: LogIndex): void {
    if (index <= this.#commit) return;
    assert(index <= this.#tail.last, 'Only entries that are here are committed: this log has lost some');
    this.#commit = index;
  }

  /** The state machine was replaced by a snapshot at a position that this log holds as well. */
  skipTo(index: LogIndex): void {
    this.commitTo(index);
    this.#applying = Math.max(this.#applying, index);
    this.#setApplied(Math.max(this.#applied, index));
  }

  /** The state machine was replaced by a snapshot that this log does not lead to: the log begins after it. */
  restore(position: SnapshotPosition): void {
    assert(position.index > this.#commit, 'A snapshot never takes back what is committed');
    this.#writes.truncate(this.#commit + 1);
    this.#durable = Math.min(this.#durable, this.#commit);
    this.#tail.reset(position.index + 1);
    this.#handed = position.index;
    this.#lastTerm = position.term;
    this.#snapshot = position;
    this.#snapshotRound = 0;
    this.#commit = position.index;
    this.#applying = position.index;
    this.#setApplied(position.index);
  }

  /** Whether there is something to write. */
  hasUnwritten(): boolean {
    return this.#handed < this.#tail.last || (this.#snapshot !== null && this.#snapshotRound === 0);
  }

  /** Hands out one round of writes. */
  beginWrite(candidateTerm: Term): {
    readonly number: number;
    readonly entries: readonly Entry[];
    readonly snapshot: SnapshotPosition | null;
  } {
    const last = this.#tail.last;
    const entries =
      this.#handed < last ? this.#tail.slice(this.#handed + 1, last + 1, Number.POSITIVE_INFINITY) : nothing;
    const number = this.#writes.begin(last, candidateTerm);
    this.#handed = last;
    const isNewSnapshot = this.#snapshot !== null && this.#snapshotRound === 0;
    if (isNewSnapshot) this.#snapshotRound = number;
    return { number, entries, snapshot: isNewSnapshot ? this.#snapshot : null };
  }

  /** Every round up to `number` is durable. Answers the term in which the vote for itself now is; 0 for none. */
  finishWrite(number: number): Term {
    const { last, candidateTerm } = this.#writes.finish(number);
    if (this.#snapshotRound !== 0 && number >= this.#snapshotRound) {
      this.#snapshot = null;
      this.#snapshotRound = 0;
    }
    this.#durable = Math.max(this.#durable, last);
    this.#trim();
    return candidateTerm;
  }

  /** Whether there are committed entries up to `limit` that can be handed out now. */
  hasCommitted(limit: LogIndex): boolean {
    return this.#applying < limit && this.#pagesBytes < this.#limits.committedBytesMax;
  }

  /** Hands out the next committed entries, not after `limit`. */
  takeCommitted(limit: LogIndex): readonly Entry[] {
    if (!this.hasCommitted(limit)) return nothing;
    const low = this.#applying + 1;
    const entries = this.entries(low, limit + 1, this.#limits.committedBytesMax - this.#pagesBytes);
    assert(entries !== null && entries.length > 0, 'What is not applied yet is in the log');
    const last = entries[entries.length - 1]!.index;
    const bytes = totalBytes(entries);
    this.#pages.push({ last, bytes });
    this.#pagesBytes += bytes;
    this.#applying = last;
    return entries;
  }

  appliedTo(index: LogIndex): void {
    assert(index <= this.#applying, 'Only entries that were handed out are applied');
    if (index > this.#applied) this.#setApplied(index);
  }

  #setApplied(index: LogIndex): void {
    this.#applied = index;
    while (this.#pages.length > 0 && this.#pages[0]!.last <= index) this.#pagesBytes -= this.#pages.shift()!.bytes;
    this.#trim();
  }

  #replace(entries: readonly Entry[], known: number): void {
    const from = entries[known]!.index;
    assert(from > this.#commit, 'A committed entry is never replaced');
    if (from <= this.#tail.last) {
      this.#tail.truncate(from);
      this.#writes.truncate(from);
      this.#handed = Math.min(this.#handed, from - 1);
      this.#durable = Math.min(this.#durable, from - 1);
    }
    this.#tail.append(entries, known);
    this.#lastTerm = entries[entries.length - 1]!.term;
  }

  /** What is durable may leave the memory: at once when it is applied too, else when it becomes much. */
  #trim(): void {
    // All but one: the next append message names the term of the entry before it.
    this.#tail.drop(Math.min(this.#durable, this.#applied) - 1);
    if (this.#tail.bytes > this.#limits.tailBytesMax) this.#tail.shrink(this.#durable, this.#limits.tailBytesMax);
  }
}
