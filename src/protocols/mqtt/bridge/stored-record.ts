/**
 * Records of the stream `__bridge.<name>`: a message on its way to the remote broker, in the names of the remote side. Written on every
 * connection worker, read by the one that has the bridge.
 *
 *   time      when it was taken
 *   key       the remote topic (UTF-8)
 *   value     the payload
 *   header m  version (1), QoS (1), retain (1), then the time of expiry as a double (8; milliseconds since 1970, 0: never)
 *   header p  properties of the PUBLISH as encoded in MQTT 5, without alias, expiry and subscription identifiers; absent: none
 */
import type { NewRecord, NewRecordHeader } from '../../../core/batch/batch-builder.ts';
import type { RecordCursor } from '../../../core/batch/record-cursor.ts';

export interface StoredMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** Milliseconds since 1970; 0: never. */
  readonly expiresAtMs: number;
  /** Encoded. */
  readonly properties: Buffer;
}

const version = 1;
const metaBytes = 11;
const metaKey = Buffer.from('m');
const propertiesKey = Buffer.from('p');
const nothing = Buffer.alloc(0);

export function encodeStored(message: StoredMessage, timestampMs: number): NewRecord {
  const { topic, payload, qos, retain, expiresAtMs, properties } = message;
  const meta = Buffer.alloc(metaBytes);
  meta[0] = version;
  meta[1] = qos;
  meta[2] = retain ? 1 : 0;
  meta.writeDoubleBE(expiresAtMs, 3);
  const headers: NewRecordHeader[] = [{ key: metaKey, value: meta }];
  if (properties.length > 0) headers.push({ key: propertiesKey, value: properties });
  return { timestampMs, key: Buffer.from(topic), value: payload, headers };
}

/** The record at which `cursor` stands, in memory of its own; null when it is none of these. */
export function decodeStored(cursor: RecordCursor): StoredMessage | null {
  const { key, value } = cursor;
  let meta: Buffer | null = null;
  let properties: Buffer = nothing;
  for (const header of cursor.headers()) {
    if (header.value === null) continue;
    if (header.key.equals(metaKey)) meta = header.value;
    else if (header.key.equals(propertiesKey)) properties = Buffer.from(header.value);
  }
  if (key === null || key.length === 0 || meta === null || meta.length !== metaBytes || meta[0] !== version)
    return null;
  const [, qos, retain] = meta;
  if ((qos !== 0 && qos !== 1 && qos !== 2) || retain === undefined || retain > 1) return null;
  const expiresAtMs = meta.readDoubleBE(3);
  if (!Number.isFinite(expiresAtMs) || expiresAtMs < 0) return null;
  const payload = value === null ? nothing : Buffer.from(value);
  return { topic: key.toString(), payload, qos, retain: retain === 1, expiresAtMs, properties };
}
