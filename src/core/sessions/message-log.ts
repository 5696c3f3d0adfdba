/**
 * One partition of the message logs as one owner writes to it: what a turn publishes is one batch, one batch is under way at a time,
 * and what comes meanwhile goes with the next one. Batches carry producer id, epoch and sequence of the owner, so one whose
 * answer was lost is sent again and stored once, and an owner that was replaced is refused. Thread: the owner of the sessions.
 *
 * Bound: `waitingBytesMax` of messages without an answer; `hasRoom` says when publishers are to be held back.
 */
import type { WheelTimer } from '../../std/timing-wheel.ts';
import { BatchBuilder } from '../batch/batch-builder.ts';
import { assignPlace } from '../batch/batch-format.ts';
import type { AppendAnswer, StreamPartition } from '../ports/stream-store.ts';
import { type QueueContext, timerOf } from '../queues/queue-context.ts';
import { StoredBatch } from './batch-cache.ts';
import { encodeMessage, type NewMessage, type ReceiptMark } from './message-record.ts';
import { SessionError } from './session-error.ts';

/** Told once when the message is durable, with its offset, or refused. */
export type MessageStored = (error: SessionError | null, offset: number) => void;

export interface MessageLogOptions {
  readonly partition: StreamPartition;
  readonly context: QueueContext;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly waitingBytesMax: number;
  /** A batch of ours is in the log, at its place. */
  onStored(batch: StoredBatch): void;
  onRoom(): void;
  /** Nothing can be stored any more. */
  onFailed(error: SessionError): void;
}

const batchBytesMax = 1024 * 1024;
const batchRecordsMax = 4096;
const sequenceCount = 0x8000_0000;
const retryMsMax = 5000;
/** Of a record beside topic, body and header. */
const recordBytes = 64;

interface Waiting {
  readonly message: NewMessage;
  readonly receipt: ReceiptMark | null;
  readonly done: MessageStored;
}

export class MessageLog {
  readonly #options: MessageLogOptions;
  readonly #retryTimer: WheelTimer;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** Of the messages under way. */
  #dones: MessageStored[] = [];
  #sending: Buffer | null = null;
  #sendingBytes = 0;
  #sequence = 0;
  #failures = 0;
  #isDeferred = false;
  #wasFull = false;
  #error: SessionError | null = null;
  #onFence: ((error: SessionError | null, offset: number) => void) | null = null;
  /** Behind the newest message of this owner that is known to be stored. */
  storedEnd = 0;
  batches = 0;

  constructor(options: MessageLogOptions) {
    this.#options = options;
    this.#retryTimer = timerOf(() => this.#send());
  }

  get hasRoom(): boolean {
    return this.#waitingBytes < this.#options.waitingBytesMax;
  }

  /** Messages without an answer. */
  get underWay(): number {
    return this.#waiting.length + this.#dones.length;
  }

  /**
   * Appends a record without a message: whoever had these producer ids before cannot write any more, and everything of theirs lies
   * before the offset that is answered. Rejects with SessionError.
   */
  fence(): Promise<number> {
    const builder = this.#builder();
    builder.add({ timestampMs: this.#options.context.clock.now() });
    this.#sending = builder.build();
    return new Promise((resolve, reject) => {
      this.#onFence = (error, offset) => (error === null ? resolve(offset) : reject(error));
      this.#send();
    });
  }

  /** Never answered inside of the call. Publishers are held back by `hasRoom`; what comes all the same is kept. */
  append(message: NewMessage, receipt: ReceiptMark | null, done: MessageStored): void {
    const error = this.#error ?? sizeError(message);
    if (error !== null) {
      this.#options.context.defer(() => done(error, -1));
      return;
    }
    this.#waiting.push({ message, receipt, done });
    this.#waitingBytes += sizeOf(message) + waitingOverhead;
    if (!this.hasRoom) this.#wasFull = true;
    if (this.#sending !== null || this.#isDeferred) return;
    this.#isDeferred = true;
    this.#options.context.defer(() => {
      this.#isDeferred = false;
      this.#collect();
    });
  }

  /** Everybody who waits is refused; what is under way may be stored. */
  fail(error: SessionError): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#options.context.timers.cancel(this.#retryTimer);
    this.#sending = null;
    const dones = [...this.#dones, ...this.#waiting.map(({ done }) => done)];
    this.#dones = [];
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#onFence?.(error, -1);
    for (const done of dones) done(error, -1);
  }

  #builder(bytesExpected = 1024): BatchBuilder {
    const { producerId, producerEpoch } = this.#options;
    return new BatchBuilder({ producerId, producerEpoch, baseSequence: this.#sequence }, bytesExpected);
  }

  #collect(): void {
    if (this.#sending !== null || this.#error !== null || this.#waiting.length === 0) return;
    const builder = this.#builder(Math.min(batchBytesMax, this.#waitingBytes + this.#waiting.length * recordBytes));
    const now = this.#options.context.clock.now();
    let count = 0;
    let bytes = 0;
    while (count < this.#waiting.length && count < batchRecordsMax) {
      const { message, receipt, done } = this.#waiting[count];
      const size = sizeOf(message);
      if (count > 0 && bytes + size > batchBytesMax) break;
      builder.add(encodeMessage(message, receipt, now));
      this.#dones.push(done);
      bytes += size;
      count += 1;
    }
    this.#waiting = count === this.#waiting.length ? [] : this.#waiting.slice(count);
    this.#sendingBytes = bytes;
    this.#sending = builder.build();
    this.#send();
  }

  #send(): void {
    const bytes = this.#sending;
    if (bytes === null) return;
    this.#options.partition.append(bytes, (answer) => this.#onAnswer(answer));
  }

  #onAnswer({ error, baseOffset }: AppendAnswer): void {
    const bytes = this.#sending;
    if (bytes === null) return;
    if (error?.canRetry === true) {
      this.#failures += 1;
      const delayMs = Math.min(retryMsMax, 50 * 2 ** Math.min(this.#failures, 10));
      this.#options.context.timers.start(this.#retryTimer, delayMs);
      return;
    }
    if (error !== null) {
      const isFenced = error.code === 'STORAGE_PRODUCER_FENCED';
      const what = `Cannot store in "${this.#options.partition.name}": ${error.message}`;
      const failure = new SessionError(isFenced ? 'SESSION_FENCED' : 'SESSION_STORAGE_FAILED', what, { cause: error });
      this.fail(failure);
      this.#options.onFailed(failure);
      return;
    }
    this.#failures = 0;
    this.#sending = null;
    if (this.#onFence !== null) {
      const told = this.#onFence;
      this.#onFence = null;
      this.#sequence = 1;
      this.storedEnd = baseOffset + 1;
      told(null, baseOffset);
    } else this.#onStored(bytes, baseOffset);
    this.#collect();
  }

  #onStored(bytes: Buffer, baseOffset: number): void {
    const dones = this.#dones;
    this.#dones = [];
    this.batches += 1;
    this.#sequence = (this.#sequence + dones.length) % sequenceCount;
    this.#waitingBytes -= this.#sendingBytes + dones.length * waitingOverhead;
    this.storedEnd = baseOffset + dones.length;
    assignPlace(bytes, 0, baseOffset, 0);
    // Before anybody is told, so that a session reads what is confirmed.
    this.#options.onStored(new StoredBatch(bytes, 0));
    for (let index = 0; index < dones.length; index += 1) dones[index](null, baseOffset + index);
    if (this.#wasFull && this.#waitingBytes < this.#options.waitingBytesMax / 2) {
      this.#wasFull = false;
      this.#options.onRoom();
    }
  }
}

function sizeOf({ topicBytes, body, header, publisher }: NewMessage): number {
  return topicBytes.length + body.length + header.length + publisher.length;
}

/** What a message that waits costs in memory beside its bytes, about: many short ones must not be many times the bound. */
const waitingOverhead = 192;

const messageBytesMax = 15 * 1024 * 1024;

function sizeError(message: NewMessage): SessionError | null {
  const size = sizeOf(message);
  if (size <= messageBytesMax) return null;
  const text = `Cannot keep a message of ${size} bytes: at most ${messageBytesMax} are kept`;
  return new SessionError('SESSION_MESSAGE_REFUSED', text);
}
