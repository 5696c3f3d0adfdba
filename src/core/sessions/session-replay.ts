/**
 * Reads the records of the sessions into the table when their owner opens. Thread: the owner of the sessions. Records of a session can
 * come in any order of kinds: compaction keeps the newest of each key where it is.
 */
import { connected, type SessionEntry, type SessionSubscription } from './session-entry.ts';
import { SessionError } from './session-error.ts';
import {
  decodeArrival,
  decodeFlights,
  decodeFloors,
  decodeHead,
  decodeMembership,
  decodeProgress,
  decodeSubscription,
  recordKind,
} from './session-records.ts';
import type { SessionTable } from './session-table.ts';

const manyMin = 16;

/** A record of the stream, or of a session that was handed over. */
export interface SessionRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly offset: number;
}

export class SessionReplay {
  readonly #table: SessionTable;
  /** Subscriptions of sessions that have many: each record must not cost a walk over all of them. */
  readonly #many = new Map<SessionEntry, Map<string, SessionSubscription>>();
  #last: SessionEntry | null = null;
  /** Sessions whose head was read. */
  #heads = new Set<SessionEntry>();
  /** For each message log: from where on to look for receipts. */
  floors: readonly number[] = [];
  /** Of receipts that were under way: found in a message log, or never stored. */
  readonly unproven = new Map<SessionEntry, Map<number, number>>();
  /** Sessions that had a client when their owner went. */
  readonly interrupted: SessionEntry[] = [];
  /** Of living records, about. */
  bytes = 0;

  constructor(table: SessionTable) {
    this.#table = table;
  }

  /** @throws SessionError SESSION_STATE_CORRUPTED */
  record({ key, value, offset }: SessionRecord): void {
    if (key === null || key.length === 0) throw corrupted(offset);
    this.bytes += key.length + (value?.length ?? 0) + 12;
    const kind = key[0];
    if (kind === recordKind.head) this.#head(key.toString('utf8', 1), value, offset);
    else if (kind === recordKind.progress) this.#progress(key.toString('utf8', 1), value, offset);
    else if (kind === recordKind.flights && key.length > 3) this.#flights(key, value, offset);
    else if (kind === recordKind.subscription && key.length > 3) this.#subscription(key, value, offset);
    else if (kind === recordKind.membership && key.length > 3) this.#membership(key, value, offset);
    else if (kind === recordKind.arrival) this.#arrival(key.toString('utf8', 1), value, offset);
    else if (kind === recordKind.floors) {
      const floors = value === null ? [] : decodeFloors(value);
      if (floors === null) throw corrupted(offset);
      this.floors = floors;
    } else throw corrupted(offset);
  }

  /** All records of one session were read, which came to a table with others. */
  finishOne(entry: SessionEntry): void {
    const many = this.#many.get(entry);
    if (many !== undefined) this.#table.setSubscriptions(entry, [...many.values()]);
    this.#many.delete(entry);
  }

  /** Everything was read. */
  finish(): void {
    for (const [entry, many] of this.#many) this.#table.setSubscriptions(entry, [...many.values()]);
    this.#many.clear();
    for (const entry of [...this.#table.entries()]) {
      // Compaction can have removed the head before what belongs to it.
      if (!this.#heads.has(entry)) {
        this.#table.remove(entry);
        this.unproven.delete(entry);
        continue;
      }
      if (entry.awaySince === connected) this.interrupted.push(entry);
    }
    this.#heads = new Set();
  }

  /** Records of a session mostly come together: the last one is not looked up again. */
  #entry(id: string): SessionEntry {
    const last = this.#last;
    if (last !== null && last.id === id && !last.isRemoved) return last;
    this.#last = this.#table.get(id) ?? this.#table.add(id);
    return this.#last;
  }

  #head(id: string, value: Buffer | null, offset: number): void {
    if (value === null) {
      const entry = this.#table.get(id);
      if (entry === undefined) return;
      this.#heads.delete(entry);
      this.unproven.delete(entry);
      this.#table.remove(entry);
      return;
    }
    const entry = this.#entry(id);
    if (!decodeHead(value, entry)) throw corrupted(offset);
    this.#heads.add(entry);
  }

  #arrival(id: string, value: Buffer | null, offset: number): void {
    const entry = value === null ? this.#table.get(id) : this.#entry(id);
    if (entry === undefined) return;
    const arrival = value === null ? null : decodeArrival(value);
    if (value !== null && arrival === null) throw corrupted(offset);
    entry.arrivalEpoch = arrival?.epoch ?? 0;
    entry.movedEnds = arrival?.ends ?? null;
    entry.isMoving = entry.arrivalEpoch !== 0;
  }

  #progress(id: string, value: Buffer | null, offset: number): void {
    if (value === null) return;
    const entry = this.#entry(id);
    const progress = decodeProgress(value, entry);
    if (progress === null) throw corrupted(offset);
    const { positions, receipts, skips } = progress;
    const count = Math.min(positions.length, this.#table.partitionCount);
    for (let partition = 0; partition < count; partition += 1) {
      this.#table.setPosition(entry, partition, positions[partition]);
    }
    entry.receipts = null;
    if (this.unproven.size > 0) this.unproven.delete(entry);
    for (const { packetId, serial, isUnderWay } of receipts) {
      if (isUnderWay) {
        const mine = this.unproven.get(entry) ?? new Map<number, number>();
        this.unproven.set(entry, mine.set(packetId, serial));
        continue;
      }
      entry.receipts ??= new Map();
      entry.receipts.set(packetId, { packetId, serial, state: 'open', isInLog: false, waiters: [] });
    }
    entry.skips = skips.length === 0 ? null : skips;
  }

  #flights(key: Buffer, value: Buffer | null, offset: number): void {
    const chunk = key.readUInt16BE(1);
    const id = key.toString('utf8', 3);
    if (value === null) {
      const entry = this.#table.get(id);
      if (entry !== undefined) forgetChunk(entry, chunk);
      return;
    }
    const entry = this.#entry(id);
    forgetChunk(entry, chunk);
    const flights = decodeFlights(value);
    if (flights === null) throw corrupted(offset);
    entry.storedChunks ??= new Set();
    entry.storedChunks.add(chunk);
    for (const flight of flights) entry.keepFlight(flight);
  }

  #membership(key: Buffer, value: Buffer | null, offset: number): void {
    const { id, part: group } = decodePart(key, offset);
    if (value === null) {
      const entry = this.#table.get(id);
      entry?.memberships?.delete(group);
      if (entry?.memberships?.size === 0) entry.memberships = null;
      return;
    }
    const membership = decodeMembership(group, value);
    if (membership === null) throw corrupted(offset);
    const entry = this.#entry(id);
    entry.memberships ??= new Map();
    entry.memberships.set(group, membership);
  }

  #subscription(key: Buffer, value: Buffer | null, offset: number): void {
    const { id, part: filter } = decodePart(key, offset);
    const entry = value === null ? this.#table.get(id) : this.#entry(id);
    if (entry === undefined) return;
    const subscription = value === null ? null : decodeSubscription(filter, value);
    if (value !== null && subscription === null) throw corrupted(offset);
    const many = this.#many.get(entry);
    if (many !== undefined) {
      if (subscription === null) many.delete(filter);
      else many.set(filter, subscription);
      return;
    }
    const others = entry.subscriptions.length === 0 ? [] : entry.subscriptions.filter((each) => each.filter !== filter);
    if (subscription !== null) others.push(subscription);
    this.#table.setSubscriptions(entry, others);
    if (others.length > manyMin) this.#many.set(entry, new Map(others.map((each) => [each.filter, each])));
  }
}

function decodePart(key: Buffer, offset: number): { readonly id: string; readonly part: string } {
  const end = 3 + key.readUInt16BE(1);
  if (end > key.length) throw corrupted(offset);
  return { id: key.toString('utf8', 3, end), part: key.toString('utf8', end) };
}

function forgetChunk(entry: SessionEntry, chunk: number): void {
  if (entry.storedChunks?.delete(chunk) !== true) return;
  if (entry.storedChunks.size === 0) entry.storedChunks = null;
  for (const packetId of entry.flights?.keys() ?? []) if (packetId >>> 6 === chunk) entry.forgetFlight(packetId);
}

function corrupted(offset: number): SessionError {
  const text = `Cannot read the sessions: the record at offset ${offset} is damaged, or of a newer version`;
  return new SessionError('SESSION_STATE_CORRUPTED', text);
}
