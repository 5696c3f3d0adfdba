/**
 * What the services that write messages later keep of them, as values of records in internal streams. All numbers are big endian.
 *
 *   message   1, number 8, due 8, timestamp 8, length of the target 1, target, fields
 *   cancel    2, number 8, due 8
 *   moved     4, and what a message has behind its kind: it came from a coarser bucket, and may be there twice
 *   half      6, number 8, prepared 8, length of the group 2, group, and all of a message
 *   checked   7, number 8, count 4
 *   rollback  8, number 8
 *   intent    3, producer id 8, epoch 2, base sequence 4, source 8, length of the target 1, target,
 *             length of the reason 1, reason, count 4, numbers 8 each
 *
 * `fields` are those of a record as it lies in a batch, byte for byte: key length, key, value length, value, count of headers,
 * headers (varints). So a message gets into the batch of its target by being copied. `source` is the bucket that the messages
 * of an intent lie in. A `reason` says why they go to the dead letters. A void (5) has what the intent had that it takes back: the
 * target refused the batch for good. Pure. Any thread.
 */

import { assert } from '../../std/assert.ts';
import type { NewRecord, NewRecordHeader } from '../batch/batch-builder.ts';
import { readInt64, writeInt64 } from '../batch/batch-format.ts';
import { VarintReader, varintSize, writeVarint } from '../batch/varint.ts';

export const storedKind = {
  message: 1,
  cancel: 2,
  intent: 3,
  moved: 4,
  void: 5,
  half: 6,
  checked: 7,
  rollback: 8,
} as const;

const targetAt = 25;
const halfGroupAt = 19;
const noHeaders: readonly NewRecordHeader[] = [];

export interface Intent {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly source: number;
  readonly target: string;
  /** Empty: to the target that the messages name. */
  readonly reason: string;
  /** Numbers of the messages, in the order in which they are written. */
  readonly numbers: readonly number[];
}

/** A message as it is stored. `target` is a name of a partition and so has at most 249 characters of one byte. */
export function encodeMessage(number: number, dueMs: number, target: string, record: NewRecord): Buffer {
  const { key = null, value = null, headers = noHeaders, timestampMs } = record;
  let size = targetAt + 1 + target.length + fieldSize(key) + fieldSize(value) + varintSize(headers.length);
  for (const header of headers) size += fieldSize(header.key) + fieldSize(header.value);
  const bytes = Buffer.allocUnsafe(size);
  bytes[0] = storedKind.message;
  writeInt64(bytes, number, 1);
  writeInt64(bytes, dueMs, 9);
  writeInt64(bytes, timestampMs, 17);
  bytes[targetAt] = target.length;
  bytes.write(target, targetAt + 1, 'latin1');
  let at = writeField(bytes, key, targetAt + 1 + target.length);
  at = writeField(bytes, value, at);
  at = writeVarint(bytes, headers.length, at);
  for (const header of headers) at = writeField(bytes, header.value, writeField(bytes, header.key, at));
  assert(at === size, 'a message fills its bytes');
  return bytes;
}

export function encodeCancel(number: number, dueMs: number): Buffer {
  const bytes = Buffer.allocUnsafe(17);
  bytes[0] = storedKind.cancel;
  writeInt64(bytes, number, 1);
  writeInt64(bytes, dueMs, 9);
  return bytes;
}

/** Of a message or a cancel. */
export function numberOf(stored: Buffer): number {
  return readInt64(stored, 1);
}

/** Of a message or a cancel. */
export function dueMsOf(stored: Buffer): number {
  return readInt64(stored, 9);
}

export function timestampOf(message: Buffer): number {
  return readInt64(message, 17);
}

export function targetOf(message: Buffer): string {
  return message.toString('latin1', targetAt + 1, targetAt + 1 + message[targetAt]);
}

/** Where the fields of the record begin; they go to the end. */
export function fieldsStart(message: Buffer): number {
  return targetAt + 1 + message[targetAt];
}

export function encodeIntent(intent: Intent, kind: number = storedKind.intent): Buffer {
  const reason = Buffer.from(intent.reason).subarray(0, 255);
  const { target, numbers } = intent;
  const bytes = Buffer.allocUnsafe(29 + target.length + reason.length + 8 * numbers.length);
  bytes[0] = kind;
  writeInt64(bytes, intent.producerId, 1);
  bytes.writeInt16BE(intent.producerEpoch, 9);
  bytes.writeInt32BE(intent.baseSequence, 11);
  writeInt64(bytes, intent.source, 15);
  bytes[23] = target.length;
  bytes.write(target, 24, 'latin1');
  let at = 24 + target.length;
  bytes[at] = reason.length;
  at += 1;
  reason.copy(bytes, at);
  at += reason.length;
  bytes.writeUInt32BE(numbers.length, at);
  at += 4;
  for (const number of numbers) {
    writeInt64(bytes, number, at);
    at += 8;
  }
  return bytes;
}

export function decodeIntent(bytes: Buffer): Intent {
  const target = bytes.toString('latin1', 24, 24 + bytes[23]);
  let at = 24 + bytes[23];
  const reason = bytes.toString('utf8', at + 1, at + 1 + bytes[at]);
  at += 1 + bytes[at];
  const numbers = new Array<number>(bytes.readUInt32BE(at));
  for (let index = 0; index < numbers.length; index += 1) numbers[index] = readInt64(bytes, at + 4 + 8 * index);
  return {
    producerId: readInt64(bytes, 1),
    producerEpoch: bytes.readInt16BE(9),
    baseSequence: bytes.readInt32BE(11),
    source: readInt64(bytes, 15),
    target,
    reason,
    numbers,
  };
}

/** A message that is undecided, with the group that will be asked about it. */
export function encodeHalf(preparedMs: number, group: string, message: Buffer): Buffer {
  const name = Buffer.from(group);
  const bytes = Buffer.allocUnsafe(halfGroupAt + name.length + message.length);
  bytes[0] = storedKind.half;
  message.copy(bytes, 1, 1, 9);
  writeInt64(bytes, preparedMs, 9);
  bytes.writeUInt16BE(name.length, 17);
  name.copy(bytes, halfGroupAt);
  message.copy(bytes, halfGroupAt + name.length);
  return bytes;
}

export function decodeHalf(bytes: Buffer): {
  readonly preparedMs: number;
  readonly group: string;
  readonly message: Buffer;
} {
  const end = halfGroupAt + bytes.readUInt16BE(17);
  const group = bytes.toString('utf8', halfGroupAt, end);
  return { preparedMs: readInt64(bytes, 9), group, message: bytes.subarray(end) };
}

export function encodeChecked(number: number, count: number): Buffer {
  const bytes = Buffer.allocUnsafe(13);
  bytes[0] = storedKind.checked;
  writeInt64(bytes, number, 1);
  bytes.writeUInt32BE(count, 9);
  return bytes;
}

export function encodeRollback(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(9);
  bytes[0] = storedKind.rollback;
  writeInt64(bytes, number, 1);
  return bytes;
}

const reader = new VarintReader();

/** The record of a message, as it was given. Its buffers are views. */
export function recordOf(message: Buffer): NewRecord {
  reader.reset(message, fieldsStart(message), message.length);
  const key = takeField(message);
  const value = takeField(message);
  const headers: NewRecordHeader[] = [];
  for (let left = reader.next(); left > 0; left -= 1) {
    const name = takeField(message) ?? Buffer.alloc(0);
    headers.push({ key: name, value: takeField(message) });
  }
  return { timestampMs: timestampOf(message), key, value, headers };
}

function takeField(message: Buffer): Buffer | null {
  const length = reader.next();
  if (length < 0) return null;
  const field = message.subarray(reader.at, reader.at + length);
  reader.at += length;
  return field;
}

/** A copy of the message with more headers behind its own. */
export function withHeaders(message: Buffer, headers: readonly NewRecordHeader[]): Buffer {
  reader.reset(message, fieldsStart(message), message.length);
  for (let field = 0; field < 2; field += 1) {
    const length = reader.next();
    reader.at += Math.max(0, length);
  }
  const countAt = reader.at;
  const count = reader.next();
  assert(reader.isSound && count >= 0, 'a stored message has headers, or none');
  let size = message.length - (reader.at - countAt) + varintSize(count + headers.length);
  for (const header of headers) size += fieldSize(header.key) + fieldSize(header.value);
  const copy = Buffer.allocUnsafe(size);
  message.copy(copy, 0, 0, countAt);
  let at = writeVarint(copy, count + headers.length, countAt);
  at += message.copy(copy, at, reader.at);
  for (const header of headers) at = writeField(copy, header.value, writeField(copy, header.key, at));
  return copy;
}

function fieldSize(field: Uint8Array | null): number {
  return field === null ? 1 : varintSize(field.length) + field.length;
}

function writeField(target: Buffer, field: Uint8Array | null, at: number): number {
  if (field === null) return writeVarint(target, -1, at);
  const start = writeVarint(target, field.length, at);
  target.set(field, start);
  return start + field.length;
}
