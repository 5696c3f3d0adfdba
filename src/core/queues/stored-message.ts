/**
 * A message as it lies in a stream, and what a consumer gets of it. Views of the batch that was read, never to be written
 * to. Thread: the owner of the queue; made by the partition reader.
 */
import type { RecordHeader } from '../batch/record-cursor.ts';

export interface StoredMessage {
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
  /** Wall time in milliseconds after which it is not delivered any more; Infinity: never. */
  readonly expiresAt: number;
}

/** Names one delivery. A consumer that lost the message to a time-out holds a receipt that is refused. */
export interface Receipt {
  readonly partition: number;
  readonly offset: number;
  /** Different for each delivery of the set, over restarts too. */
  readonly tag: number;
}

export interface Delivery extends Receipt {
  readonly message: StoredMessage;
  /** This one included: 1 at first. */
  readonly deliveryCount: number;
}

/** Header of a message with a lifetime of its own: wall time in milliseconds, as decimal text. */
export const expiresAtHeader = 'ringmq-expires-at';
const expiresAtKey = Buffer.from(expiresAtHeader);

export const noHeaders: readonly RecordHeader[] = [];

/** When a message expires; `ttlMs` null: only its header says so. */
export function expiryOf(timestamp: number, headers: readonly RecordHeader[], ttlMs: number | null): number {
  const byAge = ttlMs === null ? Infinity : timestamp + ttlMs;
  for (const { key, value } of headers) {
    if (value === null || value.length > 16 || !expiresAtKey.equals(key)) continue;
    const at = Number(value.toString('latin1'));
    if (Number.isSafeInteger(at)) return Math.min(byAge, at);
  }
  return byAge;
}

/** Bytes that a message keeps in memory, without what is fixed. */
export function sizeOf(message: StoredMessage): number {
  let size = (message.key?.length ?? 0) + (message.value?.length ?? 0);
  for (const { key, value } of message.headers) size += key.length + (value?.length ?? 0);
  return size;
}
