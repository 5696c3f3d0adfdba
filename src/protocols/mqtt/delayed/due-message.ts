/**
 * A delayed publication as a record that waits, and as what is published when it is due. Beside what a binding writes (see
 * `message-record.ts`) the record says for whom it was accepted: the rules are asked again when it is due. Pure; connection workers.
 */
import type { NewRecord } from '../../../core/batch/batch-builder.ts';
import type { Identity } from '../../../core/ports/access.ts';
import type { StoredMessage } from '../../../core/queues/stored-message.ts';
import type { PublishView } from '../codec/publish.ts';
import { decodeIdentity, encodeIdentity } from '../durable/kept-content.ts';
import type { MessageProperties } from '../packets/types.ts';
import { headersOfPublication, messageOfHeaders } from '../streams/message-record.ts';

/** A stream that belongs to the broker. What is due is appended to it by the services and published from there. */
export const duePartition = '_due-mqtt-0';

/** Of the broker: no user property has it, since these are escaped. */
const identityHeader = 'mqtt-identity';
const identityKey = Buffer.from(identityHeader);

export interface DueMessage {
  readonly identity: Identity;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}

/** Views of `buffer`, to be copied before it changes. */
export function recordOfDelayed(
  buffer: Buffer,
  view: PublishView,
  topicBytes: Buffer,
  identity: Identity,
  nowMs: number,
  dueMs: number,
): NewRecord {
  const headers = headersOfPublication(buffer, view, topicBytes, null, nowMs);
  headers.push({ key: identityKey, value: encodeIdentity(identity) });
  return {
    // Streams forget by age: as old as when it is due.
    timestampMs: dueMs,
    key: Buffer.from(identity.clientId),
    value: buffer.subarray(view.payloadStart, view.payloadStart + view.payloadLength),
    headers,
  };
}

/** Null when its time to live is over; a text when the record is not one that this broker wrote. */
export function dueMessageOf(record: StoredMessage, nowMs: number): DueMessage | null | string {
  const { topic, qos, retain, properties } = messageOfHeaders(record.headers);
  if (topic === null) return 'it has no topic';
  const identity = decodeIdentity(record.headers.find(({ key }) => identityKey.equals(key))?.value ?? null);
  if (identity === null) return 'it does not say whose it is';
  if (record.expiresAt !== Infinity) {
    const leftMs = record.expiresAt - nowMs;
    if (leftMs <= 0) return null;
    properties.expiryS = Math.ceil(leftMs / 1000); // [MQTT-3.3.2-6]
  }
  return { identity, topic, payload: record.value ?? Buffer.alloc(0), qos, retain, properties };
}
