/**
 * Reads the stream of a bridge in order, some messages ahead, and keeps the place up to which the remote broker has confirmed them. Thread:
 * the worker that has the bridge.
 *
 * The place is an offset cursor of the group `bridge.<name>`. It is written some time after it moved: what was confirmed in between with QoS 1
 * is sent again after a crash. That a QoS 2 message was received is written at once, and before the remote broker is told to release it.
 */
import { batchSizeAt, isCompressed } from '../../../core/batch/batch-format.ts';
import { RecordCursor } from '../../../core/batch/record-cursor.ts';
import type { Cursors } from '../../../core/ports/cursors.ts';
import type { StreamPartition } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { exactIdsWithout } from './exact-ids.ts';
import { decodeExactPlace, encodeExactPlace } from './exact-place.ts';
import { decodeStored, type StoredMessage } from './stored-record.ts';

export interface StoredEntry {
  readonly offset: number;
  /** Null: a record that is no message; it is passed over. */
  readonly message: StoredMessage | null;
}

export interface StoredReaderOptions {
  readonly bridge: string;
  readonly cursors: Cursors;
  /** Messages that are under way at a time, at most. */
  readonly window: number;
  /** The stream; asked again after it went out of service. Rejects with StorageError. */
  open(): Promise<StreamPartition>;
  /** There is more to take. */
  arrived(): void;
  /** Messages that the store has let go of before they were sent. */
  lost(count: number): void;
  /** Told each time, and null when it is over. */
  troubled(problem: string | null): void;
}

const readBytes = 262_144;
/** Messages that lie ready are at most what two reads give. */
const readyMin = 64;
const retryMs = 1_000;
const commitMs = 250;
/** How often what is confirmed is deleted from the store. */
const deleteMs = 10_000;

export function cursorGroupOf(bridge: string): string {
  return `bridge.${bridge}`;
}

export class StoredReader {
  readonly #options: StoredReaderOptions;
  readonly #group: string;
  #partition: StreamPartition;
  readonly #ready: StoredEntry[] = [];
  /** Of the next record that is read. */
  #next = 0;
  /** Everything below it is confirmed. */
  #confirmed = 0;
  #committed = 0;
  #deleted = 0;
  #deletedAtMs = 0;
  #end = 0;
  #isReading = false;
  /** QoS 2 messages that the remote broker has, behind the place. */
  readonly #received = new Set<number>();
  /** Below it a former life may have sent messages. */
  #doubtEnd = 0;
  /** Hash of the server that knows the identifiers of what is under way. */
  #server = 0;
  /** The one that is written down. */
  #storedServer = 0;
  /** That server may know identifiers of which nothing is known here. */
  #isStrange = false;
  /** Whom to tell when what was received is durable. */
  #waiting: (() => void)[] = [];
  #isCommitDue = false;
  #isAtEnd = false;
  #isCommitting = false;
  #isStopped = false;
  #commitTimer: NodeJS.Timeout | null = null;
  #retryTimer: NodeJS.Timeout | null = null;
  #unlisten: (() => void) | null = null;

  private constructor(options: StoredReaderOptions, partition: StreamPartition) {
    this.#options = options;
    this.#partition = partition;
    this.#group = cursorGroupOf(options.bridge);
  }

  /** Begins at the place that was kept. Rejects with StorageError or QueueError. */
  static async open(options: StoredReaderOptions): Promise<StoredReader> {
    const reader = new StoredReader(options, await options.open());
    await reader.#begin();
    return reader;
  }

  /** Records that wait, those under way included. */
  get waiting(): number {
    return Math.max(0, this.#end - this.#confirmed);
  }

  /** The next one; undefined when none is ready: `arrived` is told. */
  take(): StoredEntry | undefined {
    const entry = this.#ready.shift();
    if (this.#ready.length < readyMin) this.#read();
    return entry;
  }

  /** Everything below `offset` is done with. */
  confirm(offset: number): void {
    this.#confirmed = offset;
    if (offset > this.#end) this.#end = offset;
    this.#commitTimer ??= setTimeout(() => void this.#commit(), commitMs);
  }

  /** The remote broker has a QoS 2 message; `stored` is told when that is durable. */
  received(offset: number, stored: () => void): void {
    this.#received.add(offset);
    this.#commitNow(stored);
  }

  /** Whether the remote broker has it, as a former life has written down. */
  wasReceived(offset: number): boolean {
    return this.#received.has(offset);
  }

  /** Whether a former life may have sent it. */
  isDoubtful(offset: number): boolean {
    return offset < this.#doubtEnd;
  }

  /**
   * A connection to `server` begins, which still has the session or not. Answers identifiers that it may know from what is not there any more:
   * they are to be released, and `released` is to be called. `inUse`: those of what is under way. Nothing is to be sent before `isReadyFor`.
   */
  prepare(server: number, isResumed: boolean, inUse: ReadonlySet<number>): readonly number[] {
    const isOther = server !== this.#server;
    this.#server = server;
    if (isOther) this.#isStrange = true;
    // It was sent nothing of what is stored.
    if (isOther) this.#doubtEnd = 0;
    if (!isResumed) {
      this.#isStrange = false;
      // Whatever it had received may be lost with it.
      this.#received.clear();
    }
    if (!this.#isStrange) {
      if (!this.isReadyFor(server)) this.released();
      return [];
    }
    const ids = exactIdsWithout(this.#confirmed, this.#doubtEnd);
    return isOther ? ids : ids.filter((packetId) => !inUse.has(packetId));
  }

  /** It is written down to which server things are sent, and it knows no identifiers that are not known here. */
  isReadyFor(server: number): boolean {
    return !this.#isStrange && this.#storedServer === server;
  }

  released(): void {
    this.#isStrange = false;
    this.#commitNow(() => this.#options.arrived());
  }

  /** Looks how much waits, while nothing is read: the remote broker is away. */
  async refresh(): Promise<void> {
    if (this.#isAtEnd || this.#isReading || this.#isStopped) return;
    const { highWatermark } = await this.#partition.places();
    this.#end = Math.max(this.#end, highWatermark);
  }

  /** Writes the place down for the last time. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unlisten?.();
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    if (this.#commitTimer !== null) clearTimeout(this.#commitTimer);
    this.#commitTimer = null;
    if (this.#confirmed > this.#committed || this.#waiting.length > 0) await this.#commit();
  }

  async #begin(): Promise<void> {
    const partition = this.#partition;
    const [found] = await this.#options.cursors.fetch(this.#group, [partition.name]);
    const { logStartOffset, logEndOffset } = await partition.places();
    const kept = found?.cursor?.offset ?? logStartOffset;
    // A store that forgot its end, as one in memory does, begins anew.
    const from = kept > logEndOffset ? logStartOffset : kept;
    const lost = Math.max(0, logStartOffset - from);
    const known = from === kept ? decodeExactPlace(found?.cursor?.metadata ?? '', kept) : null;
    if (known !== null) {
      for (const offset of known.received) this.#received.add(offset);
      this.#doubtEnd = kept + known.window;
      this.#server = known.server;
      this.#storedServer = known.server;
      this.#isStrange = lost > 0;
    }
    this.#skipTo(Math.max(from, logStartOffset), lost);
    this.#deleted = logStartOffset;
    this.#end = logEndOffset;
    this.#listen();
    this.#read();
  }

  #listen(): void {
    this.#unlisten?.();
    this.#unlisten = this.#partition.onCommitted(() => {
      this.#isAtEnd = false;
      this.#read();
    });
  }

  #skipTo(offset: number, lost: number): void {
    this.#next = offset;
    this.#confirmed = Math.max(this.#confirmed, offset);
    if (lost > 0) this.#options.lost(lost);
  }

  #read(): void {
    if (this.#isReading || this.#isAtEnd || this.#isStopped || this.#retryTimer !== null) return;
    if (this.#ready.length >= readyMin) return;
    this.#isReading = true;
    this.#readSome().then(
      (count) => {
        this.#isReading = false;
        this.#options.troubled(null);
        if (this.#isStopped) return;
        if (count > 0) this.#options.arrived();
        // Something may have been committed while this was read.
        this.#read();
      },
      (error: Error) => {
        this.#isReading = false;
        if (this.#isStopped) return;
        this.#options.troubled(`cannot read what is stored: ${error.message}`);
        this.#retryTimer = setTimeout(() => void this.#reopen(), retryMs);
      },
    );
  }

  /** A partition that went out of service serves again when it is opened anew, if at all. */
  async #reopen(): Promise<void> {
    try {
      const partition = await this.#options.open();
      if (this.#isStopped) return;
      this.#partition = partition;
      this.#listen();
    } catch (error) {
      this.#options.troubled(`cannot open what is stored: ${(error as Error).message}`);
    }
    this.#retryTimer = null;
    this.#isAtEnd = false;
    this.#read();
  }

  async #readSome(): Promise<number> {
    // Set before the read: what is committed after it was planned is told by the listener.
    this.#isAtEnd = true;
    try {
      const answer = await this.#partition.read({ offset: this.#next, bytesMax: readBytes });
      this.#end = Math.max(this.#end, answer.highWatermark);
      const before = this.#ready.length;
      for (const slice of answer.slices) this.#takeSlice(slice);
      this.#next = Math.max(this.#next, answer.nextOffset);
      if (this.#next < answer.highWatermark) this.#isAtEnd = false;
      return this.#ready.length - before;
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_OFFSET_OUT_OF_RANGE') throw error;
      await this.#backInRange();
      return 0;
    }
  }

  /** The store has let go of records that were not read yet. */
  async #backInRange(): Promise<void> {
    const { logStartOffset, logEndOffset } = await this.#partition.places();
    if (this.#next < logStartOffset) {
      // What was under way may be among them.
      this.#isStrange = true;
      this.#skipTo(logStartOffset, logStartOffset - this.#next);
    } else if (this.#next > logEndOffset) {
      this.#confirmed = logStartOffset;
      this.#next = logStartOffset;
    }
    this.#isAtEnd = this.#next === logEndOffset;
  }

  #takeSlice(slice: Buffer): void {
    const cursor = new RecordCursor();
    for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
      // Nobody of ours compresses; what somebody else put into the stream is no message of ours.
      if (isCompressed(slice.readInt16BE(at + 21))) continue;
      cursor.reset(slice, at);
      while (cursor.next()) {
        if (cursor.offset < this.#next) continue;
        this.#ready.push({ offset: cursor.offset, message: decodeStored(cursor) });
      }
    }
  }

  #commitNow(stored: () => void): void {
    this.#waiting.push(stored);
    if (this.#isCommitDue || this.#isCommitting) return;
    this.#isCommitDue = true;
    // Those of one turn together.
    setImmediate(() => {
      this.#isCommitDue = false;
      void this.#commit();
    });
  }

  async #commit(): Promise<void> {
    this.#commitTimer = null;
    if (this.#isCommitting || (this.#confirmed <= this.#committed && this.#waiting.length === 0)) return;
    this.#isCommitting = true;
    const { cursors, troubled, window } = this.#options;
    const partition = this.#partition;
    const offset = this.#confirmed;
    for (const received of this.#received) if (received < offset) this.#received.delete(received);
    let waiting = this.#waiting;
    this.#waiting = [];
    const server = this.#isStrange ? 0 : this.#server;
    const metadata = encodeExactPlace({ window, server, received: [...this.#received] }, offset);
    try {
      await cursors.commit(this.#group, null, [{ stream: partition.name, offset, metadata }]);
      this.#committed = offset;
      this.#storedServer = server;
      const told = waiting;
      waiting = [];
      for (const stored of told) stored();
      const nowMs = performance.now();
      if (offset > this.#deleted && nowMs - this.#deletedAtMs > deleteMs) {
        this.#deletedAtMs = nowMs;
        this.#deleted = await partition.deleteBefore(offset);
      }
    } catch (error) {
      troubled(`cannot keep the place: ${(error as Error).message}`);
      this.#waiting.unshift(...waiting);
      this.#isCommitting = false;
      if (!this.#isStopped) this.#commitTimer ??= setTimeout(() => void this.#commit(), commitMs);
      return;
    }
    this.#isCommitting = false;
    if (this.#isStopped) return;
    if (this.#waiting.length > 0) void this.#commit();
    else if (this.#confirmed > this.#committed) this.#commitTimer ??= setTimeout(() => void this.#commit(), commitMs);
  }
}
