/** A log in memory with the two faces of a real one: readable at once, durable after a sync, and a crash between the two. */
import type { Entry, HardState, LogIndex, LogReader, SnapshotPosition } from '../../../src/raft/consensus/types.ts';

interface Content {
  snapshot: SnapshotPosition;
  entries: Entry[];
  hardState: HardState;
}

export interface LogWriteRound {
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
  readonly snapshot: SnapshotPosition | null;
}

export class MemoryLog implements LogReader {
  #live: Content;
  #durable: Content;
  readonly #pending: LogWriteRound[] = [];
  /** Rounds that were called durable; the newest `liesRounds` of them are not. For canaries. */
  readonly #claimed: LogWriteRound[] = [];
  liesRounds = 0;
  /** What `snapshotPosition` answers when it is not the position before the first entry. */
  offered: SnapshotPosition | null = null;

  constructor(snapshot: SnapshotPosition, entries: readonly Entry[] = [], hardState?: HardState) {
    const initial = hardState ?? { term: 0, vote: 0, commit: snapshot.index };
    this.#live = { snapshot, entries: [...entries], hardState: initial };
    this.#durable = { snapshot, entries: [...entries], hardState: initial };
  }

  write(round: LogWriteRound): void {
    put(this.#live, round);
    this.#pending.push(round);
  }

  /** The oldest round that is not durable becomes so. */
  syncOne(): void {
    this.#claimed.push(this.#pending.shift()!);
    while (this.#claimed.length > this.liesRounds) put(this.#durable, this.#claimed.shift()!);
  }

  /** Loses what is not durable. */
  crash(): void {
    this.#pending.length = 0;
    this.#claimed.length = 0;
    this.#live = { ...this.#durable, entries: [...this.#durable.entries] };
    this.offered = null;
  }

  /** Begins anew after `position`, durably. */
  reset(position: SnapshotPosition): void {
    for (const content of [this.#live, this.#durable]) {
      const { hardState } = content;
      content.snapshot = position;
      content.entries = [];
      content.hardState = {
        term: Math.max(hardState.term, position.term),
        vote: position.term > hardState.term ? 0 : hardState.vote,
        commit: position.index,
      };
    }
  }

  compact(position: SnapshotPosition): void {
    for (const content of [this.#live, this.#durable]) {
      if (position.index <= content.snapshot.index) continue;
      content.entries = content.entries.filter((entry) => entry.index > position.index);
      content.snapshot = position;
    }
  }

  /** Last index that would survive a crash now. */
  durableLastIndex(): LogIndex {
    return this.#durable.snapshot.index + this.#durable.entries.length;
  }

  all(): readonly Entry[] {
    return this.#live.entries;
  }

  get hardState(): HardState {
    return this.#live.hardState;
  }

  initialState(): { readonly hardState: HardState; readonly snapshot: SnapshotPosition } {
    return { hardState: this.#live.hardState, snapshot: this.#live.snapshot };
  }

  firstIndex(): LogIndex {
    return this.#live.snapshot.index + 1;
  }

  lastIndex(): LogIndex {
    return this.#live.snapshot.index + this.#live.entries.length;
  }

  term(index: LogIndex): number | null {
    const { snapshot, entries } = this.#live;
    if (index < snapshot.index) return null;
    return index === snapshot.index ? snapshot.term : entries[index - snapshot.index - 1]!.term;
  }

  entries(low: LogIndex, high: LogIndex, bytesMax: number): readonly Entry[] | null {
    const { snapshot, entries } = this.#live;
    if (low <= snapshot.index) return null;
    const page: Entry[] = [];
    let bytes = 0;
    for (let index = low; index < high; index++) {
      const entry = entries[index - snapshot.index - 1]!;
      bytes += entry.data.length + 32;
      if (page.length > 0 && bytes > bytesMax) break;
      page.push(entry);
    }
    return page;
  }

  snapshotPosition(): SnapshotPosition | null {
    return this.offered ?? this.#live.snapshot;
  }
}

function put(content: Content, { snapshot, entries, hardState }: LogWriteRound): void {
  if (snapshot !== null) {
    content.snapshot = snapshot;
    content.entries = [];
  }
  if (entries.length > 0) {
    const keep = entries[0]!.index - content.snapshot.index - 1;
    if (keep > content.entries.length) throw new Error('A write leaves a gap in the log');
    content.entries = [...content.entries.slice(0, keep), ...entries];
  }
  if (hardState !== null) content.hardState = hardState;
}
