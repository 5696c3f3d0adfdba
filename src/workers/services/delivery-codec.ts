/**
 * Deliveries as one piece of memory, which is moved from the journal worker to the thread of the consumer: an object for each message
 * would cost more to clone than everything else on its way. Pure; packed by the host, opened by the client.
 *
 *   count 4, then of each: offset 8, tag 8, timestamp 8, expires at 8 (doubles), partition 4, delivery count 4, key length 4 (-1 none),
 *   value length 4 (-1 none), count of headers 4, key, value, then of each header: key length 4, value length 4 (-1 none), key, value
 *
 * All numbers are little endian.
 */
import type { RecordHeader } from '../../core/batch/record-cursor.ts';
import type { Delivery } from '../../core/queues/stored-message.ts';
import { assert } from '../../std/assert.ts';

const fixedBytes = 52;
const headerBytes = 8;
const noHeaders: readonly RecordHeader[] = [];

export function packDeliveries(deliveries: readonly Delivery[]): ArrayBuffer {
  let size = 4;
  for (const { message } of deliveries) {
    size += fixedBytes + (message.key?.length ?? 0) + (message.value?.length ?? 0);
    for (const header of message.headers) size += headerBytes + header.key.length + (header.value?.length ?? 0);
  }
  const memory = new ArrayBuffer(size);
  const bytes = Buffer.from(memory);
  bytes.writeUInt32LE(deliveries.length, 0);
  let at = 4;
  for (const delivery of deliveries) at = pack(delivery, bytes, at);
  assert(at === size, 'the deliveries fill their bytes');
  return memory;
}

function pack({ partition, offset, tag, deliveryCount, message }: Delivery, bytes: Buffer, start: number): number {
  const { key, value, headers } = message;
  bytes.writeDoubleLE(offset, start);
  bytes.writeDoubleLE(tag, start + 8);
  bytes.writeDoubleLE(message.timestamp, start + 16);
  bytes.writeDoubleLE(message.expiresAt, start + 24);
  bytes.writeUInt32LE(partition, start + 32);
  bytes.writeUInt32LE(deliveryCount, start + 36);
  bytes.writeInt32LE(key?.length ?? -1, start + 40);
  bytes.writeInt32LE(value?.length ?? -1, start + 44);
  bytes.writeUInt32LE(headers.length, start + 48);
  let at = start + fixedBytes;
  if (key !== null) at += key.copy(bytes, at);
  if (value !== null) at += value.copy(bytes, at);
  for (const header of headers) {
    bytes.writeInt32LE(header.key.length, at);
    bytes.writeInt32LE(header.value?.length ?? -1, at + 4);
    at += headerBytes;
    at += header.key.copy(bytes, at);
    if (header.value !== null) at += header.value.copy(bytes, at);
  }
  return at;
}

/** The deliveries; their buffers are views of the memory, which is theirs alone. */
export function openDeliveries(memory: ArrayBuffer): Delivery[] {
  const bytes = Buffer.from(memory);
  const count = bytes.readUInt32LE(0);
  const deliveries: Delivery[] = [];
  let at = 4;
  const take = (length: number): Buffer | null => {
    if (length < 0) return null;
    const view = bytes.subarray(at, at + length);
    at += length;
    return view;
  };
  for (let index = 0; index < count; index += 1) {
    const start = at;
    at += fixedBytes;
    const key = take(bytes.readInt32LE(start + 40));
    const value = take(bytes.readInt32LE(start + 44));
    const headerCount = bytes.readUInt32LE(start + 48);
    const headers = headerCount === 0 ? noHeaders : openHeaders(headerCount);
    const offset = bytes.readDoubleLE(start);
    deliveries.push({
      partition: bytes.readUInt32LE(start + 32),
      offset,
      tag: bytes.readDoubleLE(start + 8),
      deliveryCount: bytes.readUInt32LE(start + 36),
      message: {
        offset,
        timestamp: bytes.readDoubleLE(start + 16),
        expiresAt: bytes.readDoubleLE(start + 24),
        key,
        value,
        headers,
      },
    });
  }
  return deliveries;

  function openHeaders(left: number): RecordHeader[] {
    const headers: RecordHeader[] = [];
    for (let index = 0; index < left; index += 1) {
      const keyLength = bytes.readInt32LE(at);
      const valueLength = bytes.readInt32LE(at + 4);
      at += headerBytes;
      const key = take(keyLength);
      assert(key !== null, 'a header has a key');
      headers.push({ key, value: take(valueLength) });
    }
    return headers;
  }
}
