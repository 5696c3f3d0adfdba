/**
 * Reads the messages of one partition for an acknowledgement set: ahead, one read at a time, and single ones again that are no longer
 * in memory. Batches of aborted transactions, markers and offsets without a record are told as gaps. Thread: the owner of the set.
 */

import { toError } from '../../std/errors.ts';
import type { WheelTimer } from '../../std/timing-wheel.ts';
import { type BatchHeader, isControl, isTransactional, readBatchHeader } from '../batch/batch-format.ts';
import { RecordCursor } from '../batch/record-cursor.ts';
import type { PartitionPlaces, ReadAnswer, StreamPartition } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { type Decompress, openBatch } from './open-batch.ts';
import { type QueueContext, timerOf } from './queue-context.ts';
import { QueueError } from './queue-error.ts';
import { expiryOf, noHeaders, type StoredMessage } from './stored-message.ts';

const readBytes = 512 * 1024;
const retryMsMax = 5000;

export interface PartitionReaderOptions {
  readonly partition: StreamPartition;
  /** First offset that is read. */
  readonly position: number;
  readonly context: QueueContext;
  readonly decompress: Decompress | null;
  /** Something can be taken, or the state of the reader has changed. */
  readonly onReady: () => void;
}

/** Told what lies at the position; answers false when no more is wanted now. */
export interface MessageTaker {
  message(message: StoredMessage): boolean;
  /** Nothing will ever be delivered of [first, end). */
  gap(first: number, end: number): void;
}

export class PartitionReader {
  /** Everything below was told. */
  position: number;
  /** As of the newest read. */
  highWatermark = 0;
  logStartOffset = 0;
  /** Why nothing is read; null when all is well. */
  problem: Error | null = null;
  ttlMs: number | null = null;
  readonly #options: PartitionReaderOptions;
  readonly #cursor = new RecordCursor();
  readonly #retryTimer: WheelTimer;
  readonly #endListening: () => void;
  #answer: ReadAnswer | null = null;
  #slice = 0;
  #at = 0;
  /** The cursor stands in the batch at `#at`. */
  #isInBatch = false;
  /** Reads that were begun before a seek are void. */
  #epoch = 0;
  #isReading = false;
  #isMore = true;
  #failures = 0;
  #isClosed = false;

  constructor(options: PartitionReaderOptions) {
    this.#options = options;
    this.position = options.position;
    this.#retryTimer = timerOf(() => {
      this.#isMore = true;
      options.onReady();
    });
    this.#endListening = options.partition.onCommitted(() => {
      this.#isMore = true;
      if (this.#answer === null) options.onReady();
    });
  }

  get hasAnswer(): boolean {
    return this.#answer !== null;
  }

  /** Begins a read, unless there is an answer, a read under way, or nothing new. */
  fetch(): void {
    if (this.#isReading || this.#answer !== null || !this.#isMore || this.#isClosed) return;
    this.#isReading = true;
    this.#isMore = false;
    const epoch = this.#epoch;
    this.#options.partition.read({ offset: this.position, bytesMax: readBytes, isolation: 'stable' }).then(
      (answer) => {
        this.#isReading = false;
        if (epoch !== this.#epoch || this.#isClosed) {
          this.#options.onReady();
          return;
        }
        this.#take(answer);
      },
      (error: unknown) => {
        this.#isReading = false;
        if (this.#isClosed) return;
        if (epoch !== this.#epoch) {
          this.#options.onReady();
          return;
        }
        this.#onFailure(toError(error));
      },
    );
  }

  /** Tells what was read until it is used up or `taker` wants no more. */
  tell(taker: MessageTaker): void {
    const { slices = [], nextOffset = 0 } = this.#answer ?? {};
    try {
      while (this.#answer !== null) {
        if (this.#slice === slices.length) {
          this.#answer = null;
          this.#gapTo(nextOffset, taker);
        } else if (this.#isInBatch) {
          if (!this.#tellBatch(slices[this.#slice], taker)) return;
        } else if (this.#at === slices[this.#slice].length) {
          this.#slice += 1;
          this.#at = 0;
        } else this.#enterBatch(slices[this.#slice], this.#answer, taker);
      }
    } catch (error) {
      this.#answer = null;
      this.#onFailure(toError(error));
    }
  }

  /** Goes on at `offset`. */
  seek(offset: number): void {
    this.#epoch += 1;
    this.position = offset;
    this.#answer = null;
    this.#isMore = true;
    this.problem = null;
    this.#failures = 0;
    this.#options.context.timers.cancel(this.#retryTimer);
  }

  /**
   * Reads messages again: those at and after `offset` that one read brings and that are wanted. `next`: the first offset that was not
   * looked at.
   *
   * @throws StorageError, QueueError
   */
  async reread(
    offset: number,
    isWanted: (offset: number) => boolean,
  ): Promise<{ readonly messages: readonly StoredMessage[]; readonly next: number }> {
    const { partition, decompress } = this.#options;
    const answer = await partition.read({ offset, bytesMax: readBytes, isolation: 'stable' });
    const cursor = new RecordCursor();
    const messages: StoredMessage[] = [];
    for (const slice of answer.slices) {
      for (let at = 0; at < slice.length; ) {
        const header = readBatchHeader(slice, at);
        if (!isControl(header.attributes) && !isAborted(header, answer)) {
          const open = openBatch(slice, at, decompress);
          cursor.reset(open.bytes, open.at);
          while (cursor.next()) if (isWanted(cursor.offset)) messages.push(this.#messageAt(cursor));
          if (!cursor.isSound) throw unreadable(partition.name, header.baseOffset);
        }
        at += header.size;
      }
    }
    return { messages, next: Math.max(offset, answer.nextOffset) };
  }

  places(): Promise<PartitionPlaces> {
    return this.#options.partition.places();
  }

  close(): void {
    this.#isClosed = true;
    this.#answer = null;
    this.#options.context.timers.cancel(this.#retryTimer);
    this.#endListening();
  }

  #take(answer: ReadAnswer): void {
    this.problem = null;
    this.#failures = 0;
    this.highWatermark = answer.highWatermark;
    this.logStartOffset = answer.logStartOffset;
    if (answer.nextOffset > this.position) {
      this.#answer = answer;
      this.#slice = 0;
      this.#at = 0;
      this.#isInBatch = false;
      this.#isMore = true;
    }
    this.#options.onReady();
  }

  #onFailure(error: Error): void {
    if (error instanceof StorageError && error.code === 'STORAGE_OFFSET_OUT_OF_RANGE') {
      this.#findStart();
    } else this.#fail(error);
  }

  /** What was to be read is gone: go on where the log begins now. */
  #findStart(): void {
    this.#isReading = true;
    const epoch = this.#epoch;
    this.#options.partition.places().then(
      ({ logStartOffset, logEndOffset, highWatermark }) => {
        this.#isReading = false;
        if (epoch !== this.#epoch || this.#isClosed) {
          this.#options.onReady();
          return;
        }
        if (this.position >= logStartOffset) {
          // What was known of the stream is more than it has. Guessing would lose messages: an operator has to seek.
          const what = `Cannot read "${this.#options.partition.name}" at ${this.position}: it ends at ${logEndOffset}`;
          this.#fail(new QueueError('QUEUE_STATE_CORRUPTED', what));
          return;
        }
        const places = { logStartOffset, highWatermark, lastStableOffset: highWatermark, aborted: [] };
        this.#take({ slices: [], bytes: 0, nextOffset: logStartOffset, ...places });
      },
      (error: unknown) => {
        this.#isReading = false;
        if (this.#isClosed) return;
        this.#fail(toError(error));
      },
    );
  }

  #fail(error: Error): void {
    this.problem = error;
    this.#failures += 1;
    const delayMs = Math.min(retryMsMax, 50 * 2 ** Math.min(this.#failures, 10));
    this.#options.context.timers.start(this.#retryTimer, delayMs);
    this.#options.onReady();
  }

  /** Stands before a batch: opens it, or passes it. */
  #enterBatch(slice: Buffer, answer: ReadAnswer, taker: MessageTaker): void {
    const header = readBatchHeader(slice, this.#at);
    const { attributes, lastOffset } = header;
    if (isControl(attributes) || lastOffset < this.position || isAborted(header, answer)) {
      this.#gapTo(lastOffset + 1, taker);
      this.#at += header.size;
      return;
    }
    const { bytes, at } = openBatch(slice, this.#at, this.#options.decompress);
    this.#cursor.reset(bytes, at);
    this.#isInBatch = true;
  }

  /** Tells the records that are left of the batch; false when the taker has enough. */
  #tellBatch(slice: Buffer, taker: MessageTaker): boolean {
    const cursor = this.#cursor;
    while (cursor.next()) {
      if (cursor.offset < this.position) continue;
      if (cursor.offset > this.position) this.#gapTo(cursor.offset, taker);
      this.position += 1;
      if (!taker.message(this.#messageAt(cursor))) return false;
    }
    const { baseOffset, lastOffset, size } = readBatchHeader(slice, this.#at);
    if (!cursor.isSound) throw unreadable(this.#options.partition.name, baseOffset);
    this.#gapTo(lastOffset + 1, taker);
    this.#at += size;
    this.#isInBatch = false;
    return true;
  }

  #gapTo(end: number, taker: MessageTaker): void {
    if (end <= this.position) return;
    const first = this.position;
    this.position = end;
    taker.gap(first, end);
  }

  #messageAt(cursor: RecordCursor): StoredMessage {
    const headers = cursor.headerCount === 0 ? noHeaders : cursor.headers();
    return {
      offset: cursor.offset,
      timestamp: cursor.timestamp,
      key: cursor.key,
      value: cursor.value,
      headers,
      expiresAt: expiryOf(cursor.timestamp, headers, this.ttlMs),
    };
  }
}

function isAborted({ attributes, producerId, baseOffset }: BatchHeader, { aborted }: ReadAnswer): boolean {
  if (!isTransactional(attributes) || aborted.length === 0) return false;
  return aborted.some(
    (each) => each.producerId === producerId && each.firstOffset <= baseOffset && baseOffset <= each.lastOffset,
  );
}

function unreadable(stream: string, offset: number): QueueError {
  return new QueueError('QUEUE_BATCH_UNREADABLE', `Cannot read the batch at ${offset} of "${stream}": it is damaged`);
}
