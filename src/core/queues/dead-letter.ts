/**
 * Dead letters: what a message looks like in the dead-letter stream, and the way there. A letter is stored once, whatever crashes when:
 * before the append the set's records say which messages go with which sequence of the producer, and after a crash the very
 * same batch is sent again. Thread: the owner of the set.
 */
import type { WheelTimer } from '../../std/timing-wheel.ts';
import { BatchBuilder } from '../batch/batch-builder.ts';
import type { RecordHeader } from '../batch/record-cursor.ts';
import type { StreamPartition } from '../ports/stream-store.ts';
import type { StorageError } from '../streams/storage-error.ts';
import { type QueueContext, timerOf } from './queue-context.ts';
import type { Burial, BuriedEntry } from './set-records.ts';
import { serviceProducerSpan } from './state-log.ts';
import type { StoredMessage } from './stored-message.ts';

/** Why a message died; stored by its index. */
export const deathReasons = ['rejected', 'deliveries', 'expired'] as const;
export type DeathReason = (typeof deathReasons)[number];

/** Groups of cursors that say how far dead letters were moved back begin like this; they are kept for as long as they are needed. */
export const deadLetterMovers = 'ringmq-dead-letters/';

/** Headers that a dead letter has behind its own ones. Values are text; times are milliseconds since 1970, UTC. */
export const deadLetterHeaders = {
  reason: 'ringmq-dead-reason',
  queue: 'ringmq-dead-queue',
  group: 'ringmq-dead-group',
  stream: 'ringmq-dead-stream',
  partition: 'ringmq-dead-partition',
  offset: 'ringmq-dead-offset',
  /** Of the message, since a dead letter has the time of its death. */
  timestamp: 'ringmq-dead-timestamp',
  deliveries: 'ringmq-dead-deliveries',
  firstFailure: 'ringmq-dead-first-failure',
  lastFailure: 'ringmq-dead-last-failure',
} as const;

const keys = Object.fromEntries(
  Object.entries(deadLetterHeaders).map(([name, key]) => [name, Buffer.from(key)]),
) as Readonly<Record<keyof typeof deadLetterHeaders, Buffer>>;

export interface DeathPlace {
  readonly queue: string;
  readonly group: string;
  /** Names of the streams of the partitions. */
  readonly streams: readonly string[];
}

/** The headers of a dead letter: those of the message as they were, then ours. */
export function headersOfDeath(
  message: StoredMessage,
  entry: BuriedEntry,
  time: number,
  place: DeathPlace,
): RecordHeader[] {
  const text = (name: keyof typeof deadLetterHeaders, value: string | number): RecordHeader => ({
    key: keys[name],
    value: Buffer.from(String(value)),
  });
  return [
    ...message.headers,
    text('reason', deathReasons[entry.reason] ?? 'unknown'),
    text('queue', place.queue),
    text('group', place.group),
    text('stream', place.streams[entry.partition] ?? ''),
    text('partition', entry.partition),
    text('offset', entry.offset),
    text('timestamp', message.timestamp),
    text('deliveries', entry.count),
    text('firstFailure', entry.firstFailure === 0 ? time : entry.firstFailure),
    text('lastFailure', time),
  ];
}

const epochCount = 0x8000;
const retryMsMax = 30_000;

export interface UndertakerOptions {
  readonly stream: StreamPartition;
  /** First of half of `serviceProducerSpan` ids. */
  readonly producerBase: number;
  readonly context: QueueContext;
  readonly place: DeathPlace;
  /** The dead-letter stream has the messages of the burial. */
  readonly onBuried: (burial: Burial) => void;
  /** The stream does not know the sequence: the burial has to be begun again, with the next epoch. */
  readonly onSequenceLost: (burial: Burial) => void;
}

/** Appends one burial at a time to the dead-letter stream, and does not give up: a dead letter is a message. */
export class Undertaker {
  /** Why dead letters wait; null when they do not. */
  problem: StorageError | null = null;
  readonly #options: UndertakerOptions;
  readonly #retryTimer: WheelTimer;
  #burial: Burial | null = null;
  #bytes: Buffer | null = null;
  #failures = 0;
  #isClosed = false;

  constructor(options: UndertakerOptions) {
    this.#options = options;
    this.#retryTimer = timerOf(() => this.#append());
  }

  get isBusy(): boolean {
    return this.#burial !== null;
  }

  /** `messages`: one for each entry. The burial must be durable in the records of the set. */
  bury(burial: Burial, messages: readonly StoredMessage[]): void {
    const { producerBase, place } = this.#options;
    const builder = new BatchBuilder({
      producerId: producerBase + (Math.floor(burial.epoch / epochCount) % (serviceProducerSpan / 2)),
      producerEpoch: burial.epoch % epochCount,
      baseSequence: burial.sequence,
    });
    for (const [index, message] of messages.entries()) {
      const headers = headersOfDeath(message, burial.entries[index], burial.time, place);
      builder.add({ timestampMs: burial.time, key: message.key, value: message.value, headers });
    }
    this.#burial = burial;
    this.#bytes = builder.build();
    this.#append();
  }

  /** What is under way does not count any more; whether it is stored is not known. */
  abandon(): void {
    this.#burial = null;
    this.#bytes = null;
    this.#failures = 0;
    this.problem = null;
    this.#options.context.timers.cancel(this.#retryTimer);
  }

  close(): void {
    this.#isClosed = true;
    this.#options.context.timers.cancel(this.#retryTimer);
  }

  #append(): void {
    const burial = this.#burial;
    const bytes = this.#bytes;
    if (burial === null || bytes === null || this.#isClosed) return;
    this.#options.stream.append(bytes, ({ error }) => {
      if (this.#isClosed || this.#burial !== burial) return;
      if (error === null) this.#end(() => this.#options.onBuried(burial));
      else if (error.code === 'STORAGE_SEQUENCE_OUT_OF_ORDER') this.#end(() => this.#options.onSequenceLost(burial));
      else this.#retry(error);
    });
  }

  #end(told: () => void): void {
    this.#burial = null;
    this.#bytes = null;
    this.#failures = 0;
    this.problem = null;
    told();
  }

  #retry(error: StorageError): void {
    this.problem = error;
    this.#failures += 1;
    this.#options.context.timers.start(this.#retryTimer, Math.min(retryMsMax, 50 * 2 ** Math.min(this.#failures, 10)));
  }
}
