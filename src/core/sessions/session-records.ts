/**
 * The records of the sessions in their internal, compacted stream. Thread: the owner of the sessions.
 *
 *   key                                           value (null: removed)
 *   1, session                                    head
 *   2, session                                    progress
 *   3, number of chunk (2), session               flights whose packet id / 64 is that number
 *   4                                             receipt floors: for each message log, the offset from which on it may have receipts
 *                                                 of this owner that no progress record knows
 *   5, length of session (2), session, filter     subscription
 *   6, length of session (2), session, group      membership
 *   7, session                                    arrival: it came from another node
 *
 *   head          version (1 byte, 1), epoch, expiry (ms, -1 never), away since (ms since 1970, -1 connected), tenant, will delay (ms, -1
 *                 no will), will, content
 *   progress      last packet id, next order, next serial; count of logs, position in each; count of receipts, of each: packet id,
 *                 serial, 1 while its message is under way else 0; count of skips, of each: log, from, to
 *   flights       count, of each: packet id, state (4 more: of a group), log, offset, order, name of the group if it is of one
 *   subscription  flags (grade, 4 no local), detail, identifier, count of logs, offset in each from which on it holds
 *   membership    grade, detail, identifier, seed, strategy
 *   arrival       number of the move while it is not confirmed that the session is at home here, else 0; count of logs, in each the end
 *                 of what came with it
 *
 * Lengths in keys are big endian, numbers in values zigzag varints; texts and bytes are a length and what it counts. All
 * records of a session that change together are in one batch, so a session is always as it was at one moment.
 */
import { VarintReader, varintSize, writeVarint } from '../batch/varint.ts';
import { groupStrategies } from '../broker/group-strategies.ts';
import type { FlightState } from './delivery-state.ts';
import type { Flight } from './flight-table.ts';
import {
  flightsPerChunk,
  type Membership,
  type SessionEntry,
  type SessionSubscription,
  type Skip,
} from './session-entry.ts';

export const recordKind = {
  head: 1,
  progress: 2,
  flights: 3,
  floors: 4,
  subscription: 5,
  membership: 6,
  arrival: 7,
} as const;

/** Writes values one after the other; grows as it is written. */
export class RecordWriter {
  #bytes = Buffer.allocUnsafeSlow(256);
  #end = 0;

  number(value: number): this {
    this.#reserve(varintSize(value));
    this.#end = writeVarint(this.#bytes, value, this.#end);
    return this;
  }

  bytes(value: Buffer): this {
    this.number(value.length);
    this.#reserve(value.length);
    value.copy(this.#bytes, this.#end);
    this.#end += value.length;
    return this;
  }

  take(): Buffer {
    const record = Buffer.from(this.#bytes.subarray(0, this.#end));
    this.#end = 0;
    return record;
  }

  #reserve(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#end + length));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

const writer = new RecordWriter();
const none = Buffer.alloc(0);
/** States of flights that are stored. Never change the order. What is on its way to a state is stored as having it. */
const storedStates: readonly FlightState[] = ['sent', 'sentOnce', 'received'];
const storedNumber: Readonly<Record<FlightState, number>> = {
  storing: 1,
  sent: 0,
  sentOnce: 1,
  receiving: 2,
  received: 2,
  settled: 0,
};

export function sessionKey(kind: number, id: string): Buffer {
  const key = Buffer.allocUnsafe(1 + Buffer.byteLength(id));
  key[0] = kind;
  key.write(id, 1);
  return key;
}

export function flightsKey(chunk: number, id: string): Buffer {
  const key = Buffer.allocUnsafe(3 + Buffer.byteLength(id));
  key[0] = recordKind.flights;
  key.writeUInt16BE(chunk, 1);
  key.write(id, 3);
  return key;
}

export function subscriptionKey(id: string, filter: string): Buffer {
  return partKey(recordKind.subscription, id, filter);
}

export function membershipKey(id: string, group: string): Buffer {
  return partKey(recordKind.membership, id, group);
}

function partKey(kind: number, id: string, part: string): Buffer {
  const idLength = Buffer.byteLength(id);
  const key = Buffer.allocUnsafe(3 + idLength + Buffer.byteLength(part));
  key[0] = kind;
  key.writeUInt16BE(idLength, 1);
  key.write(id, 3);
  key.write(part, 3 + idLength);
  return key;
}

export const floorsKey = Buffer.from([recordKind.floors]);

export function encodeHead(entry: SessionEntry): Buffer {
  const { epoch, expiryMs, awaySince, tenant, will, content } = entry;
  writer.number(1).number(epoch).number(expiryMs).number(awaySince).bytes(Buffer.from(tenant));
  writer.number(will?.delayMs ?? -1).bytes(will?.content ?? none);
  return writer.bytes(content ?? none).take();
}

export function encodeProgress(entry: SessionEntry, positions: readonly number[]): Buffer {
  const { receipts, skips } = entry;
  writer.number(entry.lastPacketId).number(entry.nextOrder).number(entry.nextSerial).number(positions.length);
  for (const position of positions) writer.number(position);
  const kept = receipts === null ? [] : [...receipts.values()].filter(({ state }) => state !== 'releasing');
  writer.number(kept.length);
  for (const { packetId, serial, state, isInLog } of kept) {
    writer.number(packetId).number(serial);
    writer.number(isInLog && state === 'storing' ? 1 : 0);
  }
  writer.number(skips?.length ?? 0);
  for (const { partition, from, to } of skips ?? []) writer.number(partition).number(from).number(to);
  return writer.take();
}

/** Null when the chunk is empty. */
export function encodeFlights(entry: SessionEntry, chunk: number): Buffer | null {
  const { flights } = entry;
  if (flights === null) return null;
  const first = chunk * flightsPerChunk;
  const end = first + flightsPerChunk;
  let count = 0;
  for (let id = first; id < end; id += 1) if (isStored(flights.peek(id))) count += 1;
  if (count === 0) return null;
  writer.number(count);
  for (let id = first; id < end; id += 1) {
    const flight = flights.peek(id);
    if (!isStored(flight)) continue;
    const { packetId, partition, offset, order, group } = flight;
    writer.number(packetId).number(storedStateOf(flight)).number(partition).number(offset).number(order);
    if (group !== undefined) writer.bytes(Buffer.from(group));
  }
  return writer.take();
}

function isStored(flight: Flight | undefined): flight is Flight {
  return flight !== undefined && !isOfGroupAlone(flight);
}

const groupFlag = 4;

/** A message of grade 1 of a group: when the client is away, the group gives it to somebody else. */
export function isOfGroupAlone({ group, state }: Flight): boolean {
  return group !== undefined && state === 'sent';
}

function storedStateOf({ state, group, isConfirmed }: Flight): number {
  if (group === undefined) return storedNumber[state];
  // Until the group has stored it the message is the client's: else it would be given to another one after a crash.
  return groupFlag + (state === 'receiving' && isConfirmed !== true ? storedNumber.sentOnce : storedNumber[state]);
}

export function encodeSubscription({ grade, noLocal, detail, identifier, since }: SessionSubscription): Buffer {
  writer
    .number(grade | (noLocal ? 4 : 0))
    .number(detail)
    .number(identifier)
    .number(since.length);
  for (const offset of since) writer.number(offset);
  return writer.take();
}

export function encodeFloors(floors: readonly number[]): Buffer {
  writer.number(floors.length);
  for (const floor of floors) writer.number(floor);
  return writer.take();
}

export function encodeMembership({ grade, detail, identifier, seed, strategy }: Membership): Buffer {
  writer.number(grade).number(detail).number(identifier).number(seed);
  return writer.bytes(Buffer.from(strategy)).take();
}

export function encodeArrival(epoch: number, ends: readonly number[]): Buffer {
  writer.number(epoch).number(ends.length);
  for (const end of ends) writer.number(end);
  return writer.take();
}

/** Everything of a session: keys and values. */
export function recordsOf(entry: SessionEntry, positions: readonly number[]): (readonly [Buffer, Buffer])[] {
  const { id } = entry;
  const records: (readonly [Buffer, Buffer])[] = [
    [sessionKey(recordKind.head, id), encodeHead(entry)],
    [sessionKey(recordKind.progress, id), encodeProgress(entry, positions)],
  ];
  const { arrivalEpoch, movedEnds } = entry;
  if (movedEnds !== null) records.push([sessionKey(recordKind.arrival, id), encodeArrival(arrivalEpoch, movedEnds)]);
  for (const each of entry.subscriptions) records.push([subscriptionKey(id, each.filter), encodeSubscription(each)]);
  for (const each of entry.memberships?.values() ?? []) {
    records.push([membershipKey(id, each.group), encodeMembership(each)]);
  }
  const chunks = new Set<number>();
  for (const packetId of entry.flights?.keys() ?? []) chunks.add(Math.floor(packetId / flightsPerChunk));
  for (const chunk of chunks) {
    const value = encodeFlights(entry, chunk);
    if (value !== null) records.push([flightsKey(chunk, id), value]);
  }
  return records;
}

/** Reads values one after the other; `isSound` at the end says whether it was a record. */
export class RecordReader {
  readonly #reader = new VarintReader();
  #bytes: Buffer = none;

  reset(bytes: Buffer): this {
    this.#bytes = bytes;
    this.#reader.reset(bytes, 0, bytes.length);
    return this;
  }

  get isSound(): boolean {
    return this.#reader.isSound && this.#reader.at === this.#reader.end;
  }

  /** Something was read that was not there. */
  get isDamaged(): boolean {
    return !this.#reader.isSound;
  }

  number(): number {
    return this.#reader.next();
  }

  /** A view. */
  bytes(): Buffer {
    const length = this.#reader.next();
    const start = this.#reader.at;
    if (length < 0 || start + length > this.#reader.end) {
      this.#reader.isSound = false;
      return none;
    }
    this.#reader.at += length;
    return this.#bytes.subarray(start, start + length);
  }

  /** `count` of something that takes at least a byte; 0 when there cannot be so many. */
  count(): number {
    const count = this.#reader.next();
    if (count >= 0 && count <= this.#reader.end - this.#reader.at) return count;
    this.#reader.isSound = false;
    return 0;
  }

  numbers(): number[] {
    // Of its exact size: there is one for each subscription of a million sessions.
    const numbers = new Array<number>(this.count());
    for (let at = 0; at < numbers.length; at += 1) numbers[at] = this.number();
    return numbers;
  }
}

const reader = new RecordReader();

/** False when it is not one. */
export function decodeHead(value: Buffer, entry: SessionEntry): boolean {
  reader.reset(value);
  if (reader.number() !== 1) return false;
  entry.epoch = reader.number();
  entry.expiryMs = reader.number();
  entry.awaySince = reader.number();
  const tenant = reader.bytes();
  entry.tenant = tenant.length === 0 ? '' : tenant.toString();
  const delayMs = reader.number();
  const will = reader.bytes();
  entry.will = delayMs < 0 ? null : { delayMs, content: Buffer.from(will) };
  const content = reader.bytes();
  entry.content = content.length === 0 ? null : Buffer.from(content);
  return reader.isSound;
}

export interface Progress {
  readonly positions: readonly number[];
  /** Packet ids and serials; those under way are to be looked for in the message logs. */
  readonly receipts: readonly { readonly packetId: number; readonly serial: number; readonly isUnderWay: boolean }[];
  readonly skips: readonly Skip[];
}

/** Null when it is not one. Sets the numbers of the entry. */
export function decodeProgress(value: Buffer, entry: SessionEntry): Progress | null {
  reader.reset(value);
  entry.lastPacketId = reader.number();
  entry.nextOrder = reader.number();
  entry.nextSerial = reader.number();
  const positions = reader.numbers();
  const receipts = Array.from({ length: reader.count() }, () => {
    const packetId = reader.number();
    const serial = reader.number();
    return { packetId, serial, isUnderWay: reader.number() === 1 };
  });
  const skips = Array.from({ length: reader.count() }, () => {
    const partition = reader.number();
    const from = reader.number();
    return { partition, from, to: reader.number() };
  });
  return reader.isSound ? { positions, receipts, skips } : null;
}

/** Null when it is not one. */
export function decodeFlights(value: Buffer): Flight[] | null {
  reader.reset(value);
  const flights: Flight[] = [];
  for (let left = reader.count(); left > 0; left -= 1) {
    const packetId = reader.number();
    const number = reader.number();
    const state = storedStates[number & ~groupFlag];
    const partition = reader.number();
    const offset = reader.number();
    const order = reader.number();
    if (number < 0 || state === undefined || packetId < 1 || packetId > 65_535) return null;
    if ((number & groupFlag) === 0) flights.push({ packetId, state, partition, offset, order });
    else {
      const group = reader.bytes().toString();
      flights.push({ packetId, state, partition, offset, order, group, isConfirmed: state === 'received' });
    }
  }
  return reader.isSound ? flights : null;
}

/** Null when it is not one. */
export function decodeSubscription(filter: string, value: Buffer): SessionSubscription | null {
  reader.reset(value);
  const flags = reader.number();
  const detail = reader.number();
  const identifier = reader.number();
  const since = reader.numbers();
  const grade = flags & 3;
  if (!reader.isSound || flags < 0 || flags > 7 || grade === 3) return null;
  return { filter, grade: grade as 0 | 1 | 2, noLocal: (flags & 4) !== 0, detail, identifier, since };
}

/** Null when it is not one. */
export function decodeMembership(group: string, value: Buffer): Membership | null {
  reader.reset(value);
  const grade = reader.number();
  const detail = reader.number();
  const identifier = reader.number();
  const seed = reader.number();
  const name = reader.bytes().toString();
  const strategy = groupStrategies.find((each) => each === name);
  if (!reader.isSound || strategy === undefined || grade < 0 || grade > 2) return null;
  return { group, strategy, grade: grade as 0 | 1 | 2, seed, detail, identifier };
}

/** Null when it is not one. */
export function decodeArrival(value: Buffer): { readonly epoch: number; readonly ends: readonly number[] } | null {
  const epoch = reader.reset(value).number();
  const ends = reader.numbers();
  return reader.isSound && epoch >= 0 ? { epoch, ends } : null;
}

/** Null when it is not one. */
export function decodeFloors(value: Buffer): readonly number[] | null {
  const floors = reader.reset(value).numbers();
  return reader.isSound ? floors : null;
}
