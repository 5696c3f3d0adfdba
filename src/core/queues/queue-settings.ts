/** Settings of a group of a queue, their defaults and bounds. Pure; any thread; stored with the queue's definition. */
import { QueueError } from './queue-error.ts';
import type { RedeliverySettings } from './redelivery.ts';

export interface QueueSettings {
  /** Time that a consumer has for a message before another one gets it; null: as long as the consumer is there. */
  readonly visibilityMs: number | null;
  /** After so many deliveries that failed the message is dead-lettered, or dropped without a dead-letter stream; null: never. */
  readonly deliveriesMax: number | null;
  /** Delay after a failure that names none, and after a time-out. */
  readonly redelivery: RedeliverySettings;
  /** Stream that takes rejected messages; null: they are dropped. */
  readonly deadLetterStream: string | null;
  /** Age after which a message is not delivered any more; null: none. Messages can have a shorter one in a header. */
  readonly ttlMs: number | null;
  readonly expired: 'drop' | 'dead-letter';
  /** `key`: one message of a key is out at a time, and the next one follows it. `sticky-key`: and to the same consumer. */
  readonly order: 'none' | 'key' | 'sticky-key';
  /** `exclusive`: the consumer that came first gets all, the next one takes over when it goes. */
  readonly consumers: 'shared' | 'exclusive';
  /** `guarded`: after `guardEvery` messages that overtook others, the oldest one that waits is served. */
  readonly priority: 'strict' | 'guarded';
  readonly guardEvery: number;
  /** `stored`: a settlement is confirmed when it is as durable as a message. `async`: at once; a crash may deliver again. */
  readonly settlement: 'stored' | 'async';
  /** `stored`: a consumer gets a message when its delivery count is durable. `async`: at once; a crash may forget the count. */
  readonly deliveryCount: 'stored' | 'async';
  /** Most messages of a partition that are read and not settled; reading waits when there are so many. */
  readonly holesMax: number;
  /** Messages of a partition that are read ahead. */
  readonly readAheadMax: number;
  /** Bytes of messages that are kept in memory before reading waits. */
  readonly bufferBytesMax: number;
}

export const defaultQueueSettings: QueueSettings = {
  visibilityMs: 30_000,
  deliveriesMax: null,
  redelivery: { baseMs: 0, factor: 2, maxMs: 600_000, jitter: 0.2 },
  deadLetterStream: null,
  ttlMs: null,
  expired: 'drop',
  order: 'none',
  consumers: 'shared',
  priority: 'strict',
  guardEvery: 16,
  settlement: 'stored',
  deliveryCount: 'stored',
  holesMax: 16_384,
  readAheadMax: 1024,
  bufferBytesMax: 16 * 1024 * 1024,
};

/** 366 days: what deadlines and delays may be. */
export const delayMsMax = 366 * 86_400_000;
export const holesMaxMax = 1 << 20;

const choices: Readonly<Record<string, readonly string[]>> = {
  expired: ['drop', 'dead-letter'],
  order: ['none', 'key', 'sticky-key'],
  consumers: ['shared', 'exclusive'],
  priority: ['strict', 'guarded'],
  settlement: ['stored', 'async'],
  deliveryCount: ['stored', 'async'],
};

/**
 * `changes` over the defaults.
 *
 * @throws QueueError QUEUE_SETTING_INVALID
 */
export function queueSettings(changes: Partial<QueueSettings> = {}, base = defaultQueueSettings): QueueSettings {
  const settings: QueueSettings = { ...base, ...changes };
  checkRange('visibilityMs', settings.visibilityMs, 1, delayMsMax);
  checkRange('deliveriesMax', settings.deliveriesMax, 1, 1_000_000);
  checkRange('ttlMs', settings.ttlMs, 1, Number.MAX_SAFE_INTEGER);
  checkRange('guardEvery', settings.guardEvery, 1, 1_000_000);
  checkRange('holesMax', settings.holesMax, 1, holesMaxMax);
  checkRange('readAheadMax', settings.readAheadMax, 1, holesMaxMax);
  checkRange('bufferBytesMax', settings.bufferBytesMax, 1024, Number.MAX_SAFE_INTEGER);
  checkRange('redelivery.baseMs', settings.redelivery.baseMs, 0, delayMsMax);
  checkRange('redelivery.maxMs', settings.redelivery.maxMs, 0, delayMsMax);
  const { factor, jitter } = settings.redelivery;
  if (!(factor >= 1 && factor <= 100)) throw invalid('redelivery.factor', factor);
  if (!(jitter >= 0 && jitter <= 1)) throw invalid('redelivery.jitter', jitter);
  for (const [name, values] of Object.entries(choices)) {
    const value: unknown = settings[name as keyof QueueSettings];
    if (typeof value !== 'string' || !values.includes(value)) throw invalid(name, value);
  }
  return settings;
}

function checkRange(name: string, value: number | null, low: number, high: number): void {
  if (value === null && (name === 'visibilityMs' || name === 'deliveriesMax' || name === 'ttlMs')) return;
  if (value === null || !Number.isSafeInteger(value) || value < low || value > high) throw invalid(name, value);
}

function invalid(name: string, value: unknown): QueueError {
  return new QueueError('QUEUE_SETTING_INVALID', `Cannot use "${String(value)}" as ${name}: it is out of range`);
}
