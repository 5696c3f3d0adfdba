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
import { MessageBatch, type MessageStored } from './message-batch.ts';
import { encodeMeta, type MessageHead, type MessageRun, type NewMessage, type ReceiptMark } from './message-record.ts';
import { SessionError } from './session-error.ts';

export interface MessageLogOptions {
  readonly partition: StreamPartition;
  readonly context: QueueContext;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly waitingBytesMax: number;
  /** A batch of ours is in the log, with its place in it, and its records begin at `starts`. Both are valid during the call. */
  onStored(bytes: Buffer, starts: Int32Array): void;
  onRoom(): void;
  /** Nothing can be stored any more. */
  onFailed(error: SessionError): void;
}

const batchBytesMax = 1024 * 1024;
const batchRecordsMax = 4096;
const sequenceCount = 0x8000_0000;
const retryMsMax = 5000;
/** Batches that are kept to be filled again. */
const sparesMax = 2;

export class MessageLog {
  readonly #options: MessageLogOptions;
  readonly #retryTimer: WheelTimer;
  /** Is filled. */
  #open: MessageBatch | null = null;
  /** Those before it, which are full; oldest first. */
  #full: MessageBatch[] = [];
  /** Is under way, as `#sending`. */
  #sent: MessageBatch | null = null;
  #sending: Buffer | null = null;
  readonly #spares: MessageBatch[] = [];
  /** Of all messages without an answer. */
  #waitingBytes = 0;
  #underWay = 0;
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
    return this.#underWay;
  }

  /**
   * Appends a record without a message: whoever had these producer ids before cannot write any more, and everything of theirs lies
   * before the offset that is answered. Rejects with SessionError.
   */
  fence(): Promise<number> {
    const { producerId, producerEpoch } = this.#options;
    const builder = new BatchBuilder({ producerId, producerEpoch, baseSequence: this.#sequence });
    builder.add({ timestampMs: this.#options.context.clock.now() });
    this.#sending = builder.build();
    return new Promise((resolve, reject) => {
      this.#onFence = (error, offset) => (error === null ? resolve(offset) : reject(error));
      this.#send();
    });
  }

  /** Never answered inside of the call. Publishers are held back by `hasRoom`; what comes all the same is kept. Nothing of `message` is. */
  append(message: NewMessage, receipt: ReceiptMark | null, done: MessageStored): void {
    const { body } = message;
    const error = this.#error ?? sizeError(message, body.length);
    if (error !== null) {
      this.#options.context.defer(() => done(error, -1, 1));
      return;
    }
    const now = this.#options.context.clock.now();
    const batch = this.#batchFor(sizeOf(message, body.length));
    batch.add(message, encodeMeta(message, receipt), body, 0, body.length, now);
    batch.onStored(done, 1);
    this.#added();
  }

  /** The same for a message that was stored elsewhere before, at `timestampMs`; its topic is one of `moved-topic.ts`. */
  appendMoved(message: NewMessage, timestampMs: number, done: MessageStored): void {
    const { body } = message;
    if (this.#error !== null) {
      const error = this.#error;
      this.#options.context.defer(() => done(error, -1, 1));
      return;
    }
    // Its size was looked at when it was stored first.
    const batch = this.#batchFor(sizeOf(message, body.length));
    batch.add(message, encodeMeta(message, null), body, 0, body.length, timestampMs);
    batch.onStored(done, 1);
    this.#added();
  }

  /** The same for messages that came together. `done` is told of parts of them, if they do not go in one batch. */
  appendRun(run: MessageRun, done: MessageStored): void {
    const { source, places, count } = run;
    // Those of one run are of one origin, and together no larger than one may be alone.
    const error = this.#error ?? sizeError(run, longestOf(run));
    if (error !== null) {
      this.#options.context.defer(() => done(error, -1, count));
      return;
    }
    const meta = encodeMeta(run, null);
    const now = this.#options.context.clock.now();
    const headBytes = sizeOf(run, 0);
    let batch: MessageBatch | null = null;
    let added = 0;
    for (let at = 0; at < 2 * count; at += 2) {
      const start = places[at];
      const end = places[at + 1];
      const next = this.#batchFor(headBytes + end - start);
      if (next !== batch && batch !== null) {
        batch.onStored(done, added);
        added = 0;
      }
      batch = next;
      batch.add(run, meta, source, start, end, now);
      added += 1;
    }
    batch?.onStored(done, added);
    this.#added();
  }

  /** Everybody who waits is refused; what is under way may be stored. */
  fail(error: SessionError): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#options.context.timers.cancel(this.#retryTimer);
    const batches = [this.#sent, ...this.#full, this.#open];
    this.#sending = null;
    this.#sent = null;
    this.#full = [];
    this.#open = null;
    this.#waitingBytes = 0;
    this.#underWay = 0;
    this.#onFence?.(error, -1);
    for (const batch of batches) batch?.tell(error, -1);
  }

  /** Where the next message goes, which is counted. */
  #batchFor(size: number): MessageBatch {
    let open = this.#open;
    if (open !== null && (open.count >= batchRecordsMax || (open.count > 0 && open.bytes + size > batchBytesMax))) {
      this.#full.push(open);
      open = null;
    }
    open ??= this.#spares.pop() ?? new MessageBatch();
    this.#open = open;
    const weight = size + waitingOverhead;
    open.weight += weight;
    this.#waitingBytes += weight;
    this.#underWay += 1;
    return open;
  }

  #added(): void {
    if (!this.hasRoom) this.#wasFull = true;
    if (this.#sending !== null || this.#isDeferred) return;
    this.#isDeferred = true;
    this.#options.context.defer(() => {
      this.#isDeferred = false;
      this.#collect();
    });
  }

  #collect(): void {
    if (this.#sending !== null || this.#error !== null) return;
    let batch = this.#full.shift() ?? null;
    if (batch === null) {
      batch = this.#open;
      this.#open = null;
    }
    if (batch === null) return;
    const { producerId, producerEpoch } = this.#options;
    this.#sent = batch;
    this.#sending = batch.seal({ producerId, producerEpoch, baseSequence: this.#sequence });
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
    const batch = this.#sent;
    if (batch === null) return;
    const { count, weight, starts } = batch;
    this.#sent = null;
    this.batches += 1;
    this.#sequence = (this.#sequence + count) % sequenceCount;
    this.#waitingBytes -= weight;
    this.#underWay -= count;
    this.storedEnd = baseOffset + count;
    assignPlace(bytes, 0, baseOffset, 0);
    // Before anybody is told, so that a session reads what is confirmed.
    this.#options.onStored(bytes, starts);
    batch.tell(null, baseOffset);
    batch.clear();
    if (this.#spares.length < sparesMax) this.#spares.push(batch);
    if (this.#wasFull && this.#waitingBytes < this.#options.waitingBytesMax / 2) {
      this.#wasFull = false;
      this.#options.onRoom();
    }
  }
}

function sizeOf({ topicBytes, header, publisher }: MessageHead, bodyLength: number): number {
  return topicBytes.length + bodyLength + header.length + publisher.length;
}

function longestOf({ places, count }: MessageRun): number {
  let longest = 0;
  for (let at = 0; at < 2 * count; at += 2) longest = Math.max(longest, places[at + 1] - places[at]);
  return longest;
}

/** What a message that waits costs in memory beside its bytes, about: many short ones must not be many times the bound. */
const waitingOverhead = 64;

const messageBytesMax = 15 * 1024 * 1024;

function sizeError(head: MessageHead, bodyLength: number): SessionError | null {
  const size = sizeOf(head, bodyLength);
  if (size <= messageBytesMax) return null;
  const text = `Cannot keep a message of ${size} bytes: at most ${messageBytesMax} are kept`;
  return new SessionError('SESSION_MESSAGE_REFUSED', text);
}
