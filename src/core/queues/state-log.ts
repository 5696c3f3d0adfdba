/**
 * The internal stream in which a service keeps its state: what was changed in one turn is one batch, at most one batch is
 * under way, and what is changed meanwhile goes with the next one (group commit without a timer). Thread: the owner of the
 * service; used by offset cursors, acknowledgement sets and the queue service.
 *
 * Each owner writes with a producer epoch of its own. It begins with a record that fences the owner before it, and only then reads
 * to the end; a late owner is refused by the storage and stops. A batch whose answer was lost is sent again and stored once.
 */
import type { WheelTimer } from '../../std/timing-wheel.ts';
import { BatchBuilder } from '../batch/batch-builder.ts';
import { isControl, readBatchHeader } from '../batch/batch-format.ts';
import { RecordCursor } from '../batch/record-cursor.ts';
import type { AppendAnswer, StreamPartition } from '../ports/stream-store.ts';
import { StorageError } from '../streams/storage-error.ts';
import { type QueueContext, timerOf } from './queue-context.ts';
import { QueueError } from './queue-error.ts';

/** Producer ids of the services are above this; others must stay below. */
export const serviceProducerBase = 2 ** 52;
/** Producer ids that one service has for itself. */
export const serviceProducerSpan = 0x1_0000;

const epochCount = 0x8000;
const sequenceCount = 0x8000_0000;
const readBytes = 1024 * 1024;
const retryMsMax = 5000;
/** Key of the record that begins an epoch. Keys of the services begin with another byte. */
const fenceKey = Buffer.from([0]);

export interface StateLogUser {
  /** What the log holds, oldest first, while it is opened. Views: copy what is kept. */
  replay(record: RecordCursor): void;
  /** Adds what is to be stored now, in the batch of this ticket; true when there is more for another batch. */
  collect(add: (key: Uint8Array | null, value: Uint8Array | null) => void, ticket: number): boolean;
  /** All batches up to this ticket are stored; `offset` is the first of the newest one. */
  stored(ticket: number, offset: number): void;
  /** Nothing will be stored any more. */
  failed(error: QueueError): void;
}

export interface StateLogOptions {
  readonly partition: StreamPartition;
  /** First of `serviceProducerSpan / 2` ids. */
  readonly producerBase: number;
  readonly context: QueueContext;
  readonly user: StateLogUser;
}

interface Waiter {
  readonly ticket: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class StateLog {
  /** Of this owner; grows with each. */
  generation = 0;
  /** All batches up to this one are durable. */
  storedTicket = 0;
  readonly #partition: StreamPartition;
  readonly #base: number;
  readonly #context: QueueContext;
  readonly #user: StateLogUser;
  readonly #retryTimer: WheelTimer;
  #waiters: Waiter[] = [];
  /** Number of the batch that is being collected. */
  #openTicket = 1;
  #isDirty = false;
  #isDeferred = false;
  #sending: Buffer | null = null;
  #sendingCount = 0;
  #sequence = 0;
  #failures = 0;
  #error: QueueError | null = null;
  /** Not cut before the new offset is asked for again. */
  #trimmedTo = 0;

  private constructor(options: StateLogOptions) {
    this.#partition = options.partition;
    this.#base = options.producerBase;
    this.#context = options.context;
    this.#user = options.user;
    this.#retryTimer = timerOf(() => this.#send());
  }

  /**
   * Reads everything through `user.replay`, fences the owner before, and can be written to.
   *
   * @throws StorageError, QueueError QUEUE_STATE_CORRUPTED
   */
  static async open(options: StateLogOptions): Promise<StateLog> {
    const log = new StateLog(options);
    const { logStartOffset } = await log.#partition.places();
    let next = await log.#replay(logStartOffset);
    for (;;) {
      log.generation += 1;
      const answer = await log.#fence();
      // A duplicate is the record of somebody who opened it at the same time: the next generation decides.
      if (answer.error === null && !answer.isDuplicate) {
        next = await log.#replay(next);
        log.#sequence = 1;
        return log;
      }
      // Somebody else has opened it since it was read: go on behind that.
      if (answer.error !== null && answer.error.code !== 'STORAGE_PRODUCER_FENCED') throw answer.error;
      next = await log.#replay(next);
    }
  }

  /** Whether a batch waits for the storage to come back. */
  get isStalled(): boolean {
    return this.#failures > 0;
  }

  get error(): QueueError | null {
    return this.#error;
  }

  /** There is something to store. The ticket of the batch that it will be in. */
  touch(): number {
    this.#isDirty = true;
    if (!this.#isDeferred && this.#sending === null && this.#error === null) {
      this.#isDeferred = true;
      this.#context.defer(() => {
        this.#isDeferred = false;
        this.#collect();
      });
    }
    return this.#openTicket;
  }

  /** The ticket that covers everything up to now. */
  get ticket(): number {
    if (this.#isDirty) return this.#openTicket;
    return this.#openTicket - 1;
  }

  /** Resolves when everything up to `ticket` is durable; rejects when it never will be. */
  whenStored(ticket = this.ticket): Promise<void> {
    if (ticket <= this.storedTicket) return Promise.resolve();
    if (this.#error !== null) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ ticket, resolve, reject });
    });
  }

  /** Forgets what lies below `offset`; a failure is harmless, since it is asked for again. */
  async trim(offset: number): Promise<void> {
    if (offset <= this.#trimmedTo) return;
    try {
      await this.#partition.deleteBefore(offset);
      this.#trimmedTo = offset;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
    }
  }

  /** Stores what is under way, if the storage takes it, and refuses everything after. */
  async close(): Promise<void> {
    if (this.#error !== null) return;
    if (this.#isDirty && this.#sending === null) this.#collect();
    if (!this.isStalled) await this.whenStored().catch(ignoreFailure);
    this.#fail(new QueueError('QUEUE_CLOSED', 'Cannot store: the service was closed'));
  }

  #collect(): void {
    if (!this.#isDirty || this.#sending !== null || this.#error !== null) return;
    this.#isDirty = false;
    const builder = this.#builder(this.#sequence);
    const timestampMs = this.#context.clock.now();
    const isMore = this.#user.collect((key, value) => builder.add({ timestampMs, key, value }), this.#openTicket);
    this.#openTicket += 1;
    if (isMore) this.#isDirty = true;
    if (builder.recordCount === 0) {
      this.#answered(-1);
      return;
    }
    this.#sendingCount = builder.recordCount;
    this.#sending = builder.build();
    this.#send();
  }

  #send(): void {
    const bytes = this.#sending;
    if (bytes === null || this.#error !== null) return;
    this.#partition.append(bytes, (answer) => this.#onAnswer(answer));
  }

  #onAnswer({ error, baseOffset }: AppendAnswer): void {
    if (this.#sending === null || this.#error !== null) return;
    if (error?.canRetry === true) {
      this.#failures += 1;
      const delayMs = Math.min(retryMsMax, 50 * 2 ** Math.min(this.#failures, 10));
      this.#context.timers.start(this.#retryTimer, delayMs);
      return;
    }
    if (error !== null) {
      const code = error.code === 'STORAGE_PRODUCER_FENCED' ? 'QUEUE_FENCED' : 'QUEUE_STORAGE_FAILED';
      const what = `Cannot store in "${this.#partition.name}": ${error.message}`;
      this.#fail(new QueueError(code, what, { cause: error }));
      return;
    }
    this.#failures = 0;
    this.#sequence = (this.#sequence + this.#sendingCount) % sequenceCount;
    this.#sending = null;
    this.#answered(baseOffset);
  }

  /** The newest batch is stored, or there was nothing in it. */
  #answered(baseOffset: number): void {
    const ticket = this.#openTicket - 1;
    this.storedTicket = ticket;
    this.#user.stored(ticket, baseOffset);
    if (this.#waiters.length > 0) {
      const waiters = this.#waiters;
      this.#waiters = waiters.filter((waiter) => waiter.ticket > ticket);
      for (const waiter of waiters) if (waiter.ticket <= ticket) waiter.resolve();
    }
    if (this.#isDirty) this.#collect();
  }

  #fail(error: QueueError): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#sending = null;
    this.#context.timers.cancel(this.#retryTimer);
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
    this.#user.failed(error);
  }

  #builder(baseSequence: number): BatchBuilder {
    const producerId = this.#base + Math.floor(this.generation / epochCount);
    return new BatchBuilder({ producerId, producerEpoch: this.generation % epochCount, baseSequence });
  }

  /** Appends the record that begins the generation. Only STORAGE_UNCERTAIN needs asking again: it may be there. */
  async #fence(): Promise<AppendAnswer> {
    const builder = this.#builder(0);
    const value = Buffer.from(String(this.generation));
    builder.add({ timestampMs: this.#context.clock.now(), key: fenceKey, value });
    const bytes = builder.build();
    for (let attempt = 1; ; attempt += 1) {
      const answer = await new Promise<AppendAnswer>((resolve) => {
        this.#partition.append(bytes, resolve);
      });
      if (answer.error === null || answer.error.code !== 'STORAGE_UNCERTAIN' || attempt === 5) return answer;
    }
  }

  /** Reads from `offset` to the end; answers where that is. */
  async #replay(offset: number): Promise<number> {
    const cursor = new RecordCursor();
    for (;;) {
      const answer = await this.#partition.read({ offset, bytesMax: readBytes, isolation: 'committed' });
      for (const slice of answer.slices) this.#replaySlice(slice, offset, cursor);
      if (answer.nextOffset <= offset) return offset;
      offset = answer.nextOffset;
      if (offset >= answer.highWatermark) return offset;
    }
  }

  #replaySlice(slice: Buffer, from: number, cursor: RecordCursor): void {
    for (let at = 0; at < slice.length; ) {
      const header = readBatchHeader(slice, at);
      const id = header.producerId - this.#base;
      if (id >= 0 && id < serviceProducerSpan) this.#heardOf(id * epochCount + header.producerEpoch);
      if (!isControl(header.attributes)) {
        cursor.reset(slice, at);
        while (cursor.next()) if (cursor.offset >= from) this.#replayRecord(cursor);
        if (!cursor.isSound) throw corrupted(this.#partition.name, header.baseOffset);
      }
      at += header.size;
    }
  }

  #replayRecord(cursor: RecordCursor): void {
    if (cursor.key === null || !fenceKey.equals(cursor.key)) {
      this.#user.replay(cursor);
      return;
    }
    const generation = Number(cursor.value?.toString('latin1'));
    if (!Number.isSafeInteger(generation)) throw corrupted(this.#partition.name, cursor.offset);
    this.#heardOf(generation);
  }

  #heardOf(generation: number): void {
    this.generation = Math.max(this.generation, generation);
  }
}

export function corrupted(stream: string, offset: number): QueueError {
  return new QueueError('QUEUE_STATE_CORRUPTED', `Cannot read the state in "${stream}": offset ${offset} is damaged`);
}

function ignoreFailure(): void {
  // The reason is kept as the error of the log, and everybody who waits is told.
}
