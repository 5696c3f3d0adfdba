/**
 * Making and installing snapshots of the state. Both work in slices, so that the thread is never held for more than a few
 * milliseconds. Thread: the Raft worker; opened by `placement-state.ts`, driven by the transport.
 *
 * A snapshot is installed into the half of the store that is not in force. One commit of the root row puts the new half in
 * force together with its position and membership; until then nothing has happened, and afterwards the old half is waste.
 */
import type { Bytes, Done, LogIndex, SnapshotPosition, StateStore, StateView, StoreChange } from '../ports.ts';
import { uint53Key } from './bytes.ts';
import type { CommitQueue } from './commit-queue.ts';
import { SnapshotError } from './errors.ts';
import { decodeRoot, encodeRoot, otherHalf, type Root, rootKey } from './root-record.ts';
import { payloadBytesMax, SnapshotParser, SnapshotWriter } from './snapshot-format.ts';
import { tableTags } from './state-core.ts';
import { prefixBytes, successor } from './state-table.ts';

/** Rows of one chunk: small ones take longer for each byte. */
const CHUNK_ROWS = 500;
/** Rows that are removed by one commit before an installation begins. */
const PURGE_ROWS = 2_000;
/** Rows and bytes of one commit of an installation. */
const BATCH_ROWS = 2_000;
const BATCH_BYTES = 1024 * 1024;
/** Bytes that may wait for the store before the sender is asked to wait. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/** Reads a snapshot of what is committed to the store now. */
export class SnapshotSource {
  /** Of the state in it. It may be newer than what was known to be durable when it was opened. */
  readonly position: SnapshotPosition;
  private readonly view: StateView;
  private readonly writer = new SnapshotWriter();
  private header: Buffer | null;
  private isEnded = false;
  private readonly firstChange: Buffer;
  private readonly end: Buffer;
  private cursor: Bytes | null;

  /** Throws `CorruptionError`, and `SnapshotError` while there is nothing. */
  constructor(store: StateStore) {
    this.view = store.openView();
    const [row] = this.view.range(rootKey, successor(rootKey), 1);
    if (row === undefined) {
      this.view.close();
      throw new SnapshotError('Nothing is committed to the store yet');
    }
    const root = decodeRoot(row.value);
    const { index, term, membership } = root;
    this.position = { index, term, membership };
    this.header = this.writer.header(root);
    this.cursor = Buffer.from([root.half]);
    this.end = Buffer.from([root.half + 1]);
    // Compacted changes may still be in the store, and are no part of the state.
    const first = uint53Key(root.compactedRevision + 1);
    this.firstChange = Buffer.concat([Buffer.from([root.half, tableTags.changes]), first]);
  }

  /** A chunk of at most 256 KiB, from few enough rows to be quick; null after the last. Throws `CorruptionError`. */
  next(): Uint8Array | null {
    if (this.isEnded) return null;
    const { header } = this;
    if (header !== null) {
      this.header = null;
      return header;
    }
    if (this.cursor !== null && !this.writer.isFull) this.readPage(this.cursor);
    // Compacted changes were passed over, or that was the end.
    if (this.cursor !== null && !this.writer.hasRows) this.readPage(this.cursor);
    if (this.writer.hasRows) return this.writer.take();
    this.isEnded = true;
    return this.writer.end();
  }

  close(): void {
    this.isEnded = true;
    this.view.close();
  }

  private readPage(start: Bytes): void {
    const page = this.view.range(start, this.end, CHUNK_ROWS, payloadBytesMax - this.writer.rowBytes);
    for (const { key, value } of page) {
      if (key[1] === tableTags.changes && Buffer.compare(key, this.firstChange) < 0) {
        this.cursor = this.firstChange;
        return;
      }
      this.writer.add(key.subarray(1), value);
    }
    const last = page.at(-1);
    this.cursor = last === undefined ? null : successor(last.key);
  }
}

/** What an installation asks of the state that it is for. */
export interface InstallTarget {
  readonly half: number;
  readonly appliedIndex: LogIndex;
  /** The new half is in force: nothing may be applied any more to what was there before. */
  onSwitched(root: Root): void;
  /** From now on nothing newer than the snapshot may be applied. */
  onSwitching(index: LogIndex): void;
  /** It is over, one way or the other. */
  onEnded(): void;
}

/** Installs one snapshot. */
export class SnapshotSink {
  private readonly store: StateStore;
  private readonly commits: CommitQueue;
  private readonly target: InstallTarget;
  private readonly position: SnapshotPosition;
  private readonly half: number;
  private readonly parser: SnapshotParser;
  private batch: StoreChange[] = [];
  private batchBytes = 0;
  private waitingBytes = 0;
  private readonly waiting: Done[] = [];
  /** What is to follow the purge; null when it is over. */
  private held: (() => void)[] | null = [];
  private isOver = false;
  private isAborted = false;
  private failure: Error | null = null;

  /** `position`: where the snapshot must stand. */
  constructor(store: StateStore, commits: CommitQueue, target: InstallTarget, position: SnapshotPosition) {
    this.store = store;
    this.commits = commits;
    this.target = target;
    this.position = position;
    this.half = otherHalf(target.half);
    this.parser = new SnapshotParser((key, value) => this.addRow(key, value));
    this.purge();
  }

  /**
   * Takes a chunk, in order. Throws `SnapshotError` when it is damaged, out of order or of another snapshot; then `abort`
   * is to be called. `done` is called when more can be taken, maybe at once.
   */
  write(chunk: Uint8Array, done: Done = () => undefined): void {
    if (this.isOver) throw new SnapshotError('The installation is over');
    const isFirst = this.parser.root === null;
    this.parser.push(chunk);
    if (isFirst) this.checkPosition(this.parser.root!);
    if (this.batch.length >= BATCH_ROWS || this.batchBytes >= BATCH_BYTES) this.send();
    if (this.failure !== null || this.waitingBytes <= WAITING_BYTES_MAX) done(this.failure);
    else this.waiting.push(done);
  }

  /**
   * All chunks were written. With `done(null)` the state is durable and stands at the snapshot's position, or was there or
   * beyond already and stayed as it was. With an error nothing has changed.
   */
  finish(done: Done): void {
    if (this.isOver || !this.parser.isComplete) {
      this.abort();
      done(new SnapshotError('The snapshot is not complete'));
      return;
    }
    this.send();
    this.isOver = true;
    const root = this.parser.root!;
    let isStale = false;
    const build = () => {
      isStale = root.index <= this.target.appliedIndex;
      if (isStale || this.failure !== null) return [];
      this.target.onSwitching(root.index);
      return [{ key: rootKey, value: encodeRoot({ ...root, half: this.half }) }];
    };
    const settle = (error: Error | null) => {
      const failure = this.failure ?? error;
      if (failure === null && !isStale) this.target.onSwitched({ ...root, half: this.half });
      this.target.onEnded();
      done(failure);
    };
    this.afterPurge(() => this.commits.add(build, settle));
  }

  /** Nothing of it stays; what was written is removed later. */
  abort(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.isAborted = true;
    this.batch = [];
    this.target.onEnded();
    this.release(new SnapshotError('The installation was aborted'));
  }

  private checkPosition({ index, term }: Root): void {
    const { position } = this;
    if (position.index !== index || position.term !== term) {
      throw new SnapshotError(`The snapshot stands at ${index}, not at ${position.index}`);
    }
  }

  private addRow(key: Bytes, value: Bytes): void {
    const storeKey = Buffer.allocUnsafe(key.length + 1);
    storeKey[0] = this.half;
    storeKey.set(key, 1);
    if (storeKey.length < prefixBytes) throw new SnapshotError('A row of the snapshot has no table');
    this.batch.push({ key: storeKey, value });
    this.batchBytes += key.length + value.length;
  }

  private send(): void {
    if (this.batch.length === 0) return;
    const { batch, batchBytes } = this;
    this.batch = [];
    this.batchBytes = 0;
    this.waitingBytes += batchBytes;
    const build = () => (this.isAborted ? [] : batch);
    const settle = (error: Error | null) => {
      this.failure ??= error;
      this.waitingBytes -= batchBytes;
      if (this.failure !== null || this.waitingBytes <= WAITING_BYTES_MAX) this.release(this.failure);
    };
    this.afterPurge(() => this.commits.add(build, settle));
  }

  private release(error: Error | null): void {
    for (const done of this.waiting.splice(0)) done(error);
  }

  /** Removes what an earlier installation or the state before the last one left in the half, and then goes on. */
  private purge(): void {
    let isEmpty = false;
    this.commits.add(
      () => {
        const rows = this.isAborted ? [] : wasteOf(this.store, this.half, PURGE_ROWS);
        isEmpty = rows.length === 0;
        return rows;
      },
      (error) => {
        this.failure ??= error;
        if (!isEmpty && this.failure === null) {
          this.purge();
          return;
        }
        const held = this.held ?? [];
        this.held = null;
        for (const step of held) step();
      },
    );
  }

  /** Runs when the half is empty. */
  private afterPurge(step: () => void): void {
    if (this.held === null) step();
    else this.held.push(step);
  }
}

/** Removals of up to `limit` rows of a half that is not in force. */
export function wasteOf(store: StateStore, half: number, limit: number): StoreChange[] {
  const view = store.openView();
  const keys = view.keys(Buffer.from([half]), Buffer.from([half + 1]), limit);
  view.close();
  return keys.map((key) => ({ key, value: null }));
}
