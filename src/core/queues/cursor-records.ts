/**
 * The records of the offset cursors in their internal, compacted stream. Thread: the owner of the cursors.
 *
 *   key                                                               value (null: deleted)
 *   1, length of group (2), group                                     generation, claimed (0 or 1)
 *   2, length of group (2), group, stream                             cursor
 *   3, length of group (2), group, stream, 0, producer id as text     cursor that a transaction will set
 *
 *   cursor: offset, leader epoch, time, length of metadata, metadata (UTF-8)
 *
 * Lengths in keys are big endian, numbers in values zigzag varints.
 */
import { VarintReader, varintSize, writeVarint } from '../batch/varint.ts';

export const cursorRecord = { group: 1, cursor: 2, staged: 3 } as const;

export interface OffsetCursor {
  /** The next offset that is to be read. */
  readonly offset: number;
  /** Of the leader of the partition when the record before was read; -1: not known. */
  readonly leaderEpoch: number;
  /** Kept for the consumer. */
  readonly metadata: string;
  /** Of the commit; milliseconds since 1970. */
  readonly time: number;
}

export interface CursorKey {
  readonly kind: number;
  readonly group: string;
  /** Empty for a group record. */
  readonly stream: string;
  /** Of a staged record, else -1. */
  readonly producerId: number;
}

export function encodeCursorKey(kind: number, group: string, stream = '', producerId = -1): Buffer {
  const groupBytes = Buffer.from(group);
  const rest = Buffer.from(kind === cursorRecord.staged ? `${stream}\0${producerId}` : stream);
  const key = Buffer.allocUnsafeSlow(3 + groupBytes.length + rest.length);
  key[0] = kind;
  key.writeUInt16BE(groupBytes.length, 1);
  groupBytes.copy(key, 3);
  rest.copy(key, 3 + groupBytes.length);
  return key;
}

/** Null when it is not one. */
export function decodeCursorKey(key: Buffer): CursorKey | null {
  if (key.length < 3) return null;
  const kind = key[0];
  const end = 3 + key.readUInt16BE(1);
  if (end > key.length || kind < 1 || kind > 3) return null;
  const group = key.toString('utf8', 3, end);
  const rest = key.toString('utf8', end);
  if (kind !== cursorRecord.staged) return { kind, group, stream: rest, producerId: -1 };
  const [stream, id] = rest.split('\0');
  const producerId = Number(id);
  return id !== undefined && Number.isSafeInteger(producerId) ? { kind, group, stream, producerId } : null;
}

export function encodeCursor({ offset, leaderEpoch, metadata, time }: OffsetCursor): Buffer {
  const text = Buffer.from(metadata);
  const numbers = [offset, leaderEpoch, time, text.length];
  const value = Buffer.allocUnsafeSlow(numbers.reduce((size, number) => size + varintSize(number), text.length));
  let at = 0;
  for (const number of numbers) at = writeVarint(value, number, at);
  text.copy(value, at);
  return value;
}

/** Null when it is not one. */
export function decodeCursor(value: Buffer): OffsetCursor | null {
  const reader = new VarintReader();
  reader.reset(value, 0, value.length);
  const offset = reader.next();
  const leaderEpoch = reader.next();
  const time = reader.next();
  const length = reader.next();
  if (!reader.isSound || reader.at + length !== value.length) return null;
  return { offset, leaderEpoch, time, metadata: value.toString('utf8', reader.at) };
}

export function encodeGroup(generation: number, isClaimed: boolean): Buffer {
  const value = Buffer.allocUnsafeSlow(varintSize(generation) + 1);
  writeVarint(value, isClaimed ? 1 : 0, writeVarint(value, generation, 0));
  return value;
}

/** Null when it is not one. */
export function decodeGroup(value: Buffer): { readonly generation: number; readonly isClaimed: boolean } | null {
  const reader = new VarintReader();
  reader.reset(value, 0, value.length);
  const generation = reader.next();
  const claimed = reader.next();
  return reader.isSound && reader.at === value.length ? { generation, isClaimed: claimed === 1 } : null;
}
