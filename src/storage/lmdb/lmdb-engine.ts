/**
 * `StoreEngine` on LMDB: one environment for all partitions, in one process. Thread: the one that holds the store; the only writer. What
 * is known of the partitions is in memory too, so conditions are checked there; a commit that fails ends the engine, so memory is never
 * ahead of the disk for long.
 */

import { freeBytesOf } from '../../core/files/free-bytes.ts';
import type { StreamSettings } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type {
  EngineClaim,
  EngineHandle,
  EngineOutcome,
  EnginePeek,
  EnginePiece,
  EnginePlaces,
  EngineRun,
  StoreEngine,
} from '../../core/streams/store-engine.ts';
import { assert } from '../../std/assert.ts';
import { Environment, type RowChange } from './environment.ts';
import {
  decodePartition,
  decodePiece,
  decodeProducers,
  encodePartition,
  encodePiece,
  encodeProducers,
  type KeptPartition,
  kindKey,
  nameKey,
  numberKey,
  numberOf,
  offsetKey,
  offsetOf,
} from './rows.ts';
import type { LmdbSettings } from './settings.ts';

const mebibyte = 1024 * 1024;
/** Rows that are looked at, or removed, before others have their turn. */
const rowsAtOnce = 4096;
/** How much room there is, is asked after so many bytes. */
const roomBytes = 4 * mebibyte;

export class LmdbEngine implements StoreEngine {
  readonly adapter = 'lmdb';
  readonly runBytesMax = 4 * mebibyte;
  readonly appendBytesMax = 256 * mebibyte;
  readonly writesMax = 1;
  readonly #folder: string;
  readonly #settings: LmdbSettings;
  #environment: Environment | null = null;
  readonly #partitions = new Map<string, KeptPartition>();
  /** Rows of partitions that cannot be read. */
  readonly #damaged = new Map<string, StorageError>();
  #nextNumber = 1;
  #roomLeft = 0;

  constructor(folder: string, settings: LmdbSettings) {
    this.#folder = folder;
    this.#settings = settings;
  }

  async open(): Promise<void> {
    if (this.#environment !== null) return;
    const { mapBytes, commitTimeoutMs } = this.#settings;
    const environment = new Environment(this.#folder, mapBytes, commitTimeoutMs);
    this.#environment = environment;
    this.#nextNumber = this.#lastNumber() + 1;
    for (const { key, value } of environment.rows(kindKey('p'), kindKey('p', true), Number.MAX_SAFE_INTEGER)) {
      this.#keep(key, value);
    }
    const left = [...environment.rows(kindKey('g'), kindKey('g', true), Number.MAX_SAFE_INTEGER)];
    for (const { key } of left) await this.#clear(numberOf(key));
  }

  reset(): void {
    // There is no connection that could be stale.
  }

  async close(): Promise<void> {
    await this.#environment?.close();
  }

  async names(): Promise<readonly string[]> {
    return [...this.#partitions.keys(), ...this.#damaged.keys()];
  }

  async create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    const known = this.#partitions.get(name);
    if (known !== undefined || this.#damaged.has(name)) return known?.id === id ? 'created' : 'exists';
    const number = this.#nextNumber;
    this.#nextNumber += 1;
    const partition = { name, id, number, writer: 0, settings, startOffset: 0, endOffset: 0, sizeBytes: 0 };
    this.#partitions.set(name, partition);
    await this.#commit([{ key: nameKey(name), value: encodePartition(partition) }]);
    return 'created';
  }

  async remove(name: string, id: string): Promise<void> {
    const partition = this.#partitions.get(name);
    if (partition?.id !== id) return;
    const { number } = partition;
    this.#partitions.delete(name);
    await this.#commit([
      { key: nameKey(name), value: null },
      { key: numberKey('g', number), value: Buffer.from([1]) },
    ]);
    await this.#clear(number);
  }

  async claim(name: string): Promise<EngineClaim | null> {
    const damaged = this.#damaged.get(name);
    if (damaged !== undefined) throw damaged;
    const partition = this.#partitions.get(name);
    if (partition === undefined) return null;
    partition.writer += 1;
    await this.#commit([change(partition)]);
    const { id, writer, settings, startOffset, endOffset, sizeBytes } = partition;
    const producers = this.#producers(partition)?.bytes ?? null;
    return { handle: { name, id, writer }, settings, startOffset, endOffset, sizeBytes, producers };
  }

  async peek(name: string): Promise<EnginePeek | null> {
    const partition = this.#partitions.get(name);
    if (partition === undefined) return null;
    const { id, writer, settings, startOffset, endOffset, sizeBytes } = partition;
    const [oldest = null] = await this.pieces({ name, id, writer }, startOffset, 1);
    return { id, writer, settings, startOffset, endOffset, sizeBytes, oldest };
  }

  async places(handle: EngineHandle): Promise<EnginePlaces | null> {
    const partition = this.#own(handle);
    if (partition === null) return null;
    const { startOffset, endOffset, sizeBytes } = partition;
    return { startOffset, endOffset, sizeBytes };
  }

  async change(handle: EngineHandle, settings: StreamSettings): Promise<void> {
    const partition = this.#own(handle);
    if (partition === null) return;
    partition.settings = settings;
    await this.#commit([change(partition)]);
  }

  async append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    const changes: RowChange[] = [];
    const outcomes = runs.map((run) => this.#append(run, changes));
    if (changes.length > 0) await this.#commit(changes);
    return outcomes;
  }

  async read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    const partition = this.#own(handle);
    if (partition === null || offset >= partition.endOffset) return [];
    const base = this.#baseOf(partition, offset);
    const { number } = partition;
    const found: Buffer[] = [];
    let bytes = 0;
    const [start, end] = [offsetKey('b', number, base), numberKey('b', number + 1)];
    for (const { value } of this.#rows(start, end, Number.MAX_SAFE_INTEGER)) {
      found.push(value);
      bytes += value.length;
      if (bytes >= bytesMax) break;
    }
    return found;
  }

  async pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]> {
    const partition = this.#own(handle);
    if (partition === null) return [];
    return this.#pieces(partition, this.#baseOf(partition, from), limit).filter(({ endOffset }) => endOffset > from);
  }

  async findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    const partition = this.#own(handle);
    if (partition === null) return null;
    for (let base = this.#baseOf(partition, from); ; ) {
      const pieces = this.#pieces(partition, base, rowsAtOnce);
      const found = pieces.find((piece) => piece.maxTimestamp >= timestamp && piece.endOffset > from);
      if (found !== undefined) return found.baseOffset;
      if (pieces.length < rowsAtOnce) return null;
      base = pieces[pieces.length - 1].endOffset;
      await new Promise(setImmediate);
    }
  }

  async deleteBefore(handle: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    const partition = this.#own(handle);
    if (partition?.writer !== handle.writer) return 'fenced';
    partition.startOffset = Math.max(partition.startOffset, offset);
    for (let isDone = false; !isDone; ) {
      const pieces = this.#pieces(partition, 0, rowsAtOnce).filter(({ endOffset }) => endOffset <= offset);
      isDone = pieces.length < rowsAtOnce;
      const changes = pieces.flatMap(({ baseOffset }) => removal(partition.number, baseOffset));
      for (const { bytes } of pieces) partition.sizeBytes -= bytes;
      await this.#commit([change(partition), ...changes]);
    }
    return 'deleted';
  }

  async saveProducers(handle: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    const partition = this.#own(handle);
    if (partition?.writer !== handle.writer) return;
    if ((this.#producers(partition)?.offset ?? 0) > offset) return;
    await this.#commit([{ key: numberKey('s', partition.number), value: encodeProducers(offset, snapshot) }]);
  }

  #append(run: EngineRun, changes: RowChange[]): EngineOutcome {
    const { handle, baseOffset, endOffset, maxTimestamp, bytes } = run;
    const partition = this.#own(handle);
    if (partition?.writer !== handle.writer) return 'fenced';
    if (partition.endOffset !== baseOffset) return 'conflict';
    if (!this.#hasRoom(bytes.length)) {
      return new StorageError('STORAGE_DISK_FULL', `Cannot append to "${handle.name}": the disk is nearly full`);
    }
    partition.endOffset = endOffset;
    partition.sizeBytes += bytes.length;
    const { number } = partition;
    const piece = encodePiece(endOffset, maxTimestamp, bytes.length);
    changes.push({ key: offsetKey('i', number, baseOffset), value: piece });
    changes.push({ key: offsetKey('b', number, baseOffset), value: bytes });
    changes.push(change(partition));
    return 'stored';
  }

  #keep(key: Buffer, value: Buffer): void {
    try {
      const partition = decodePartition(key, value);
      this.#partitions.set(partition.name, partition);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#damaged.set(key.toString('utf8', 1), error);
    }
  }

  /** The largest number that any row has, also of partitions that cannot be read. */
  #lastNumber(): number {
    let last = 0;
    for (const kind of ['b', 'g', 'i', 's'] as const) {
      for (const { key } of this.#rows(kindKey(kind), kindKey(kind, true), 1, true))
        last = Math.max(last, numberOf(key));
    }
    for (const { key, value } of this.#rows(kindKey('p'), kindKey('p', true), Number.MAX_SAFE_INTEGER)) {
      try {
        last = Math.max(last, decodePartition(key, value).number);
      } catch (error) {
        if (!(error instanceof StorageError)) throw error;
      }
    }
    return last;
  }

  /** Base offset of the piece that `offset` is in, or of the first one behind it. */
  #baseOf({ number }: KeptPartition, offset: number): number {
    const [start, end] = [numberKey('i', number), offsetKey('i', number, offset + 1)];
    for (const { key } of this.#rows(start, end, 1, true)) return offsetOf(key);
    return offset;
  }

  #pieces({ number }: KeptPartition, base: number, limit: number): EnginePiece[] {
    const [start, end] = [offsetKey('i', number, base), numberKey('i', number + 1)];
    return [...this.#rows(start, end, limit)].map(({ key, value }) => decodePiece(key, value));
  }

  #producers({ number }: KeptPartition): { readonly offset: number; readonly bytes: Buffer } | null {
    const key = numberKey('s', number);
    const value = this.#opened().get(key);
    if (value === null) return null;
    try {
      return decodeProducers(key, value);
    } catch (error) {
      // It is only a help; the batches say the same.
      if (error instanceof StorageError) return null;
      throw error;
    }
  }

  /** Removes what is left of a partition, a part at a time. */
  async #clear(number: number): Promise<void> {
    for (const kind of ['b', 'i', 's'] as const) {
      const [start, end] = [numberKey(kind, number), numberKey(kind, number + 1)];
      for (;;) {
        const keys = [...this.#rows(start, end, kind === 'b' ? 64 : rowsAtOnce)].map(({ key }) => key);
        if (keys.length === 0) break;
        await this.#commit(keys.map((key) => ({ key, value: null })));
      }
    }
    await this.#commit([{ key: numberKey('g', number), value: null }]);
  }

  /** Refused early: an environment that runs out of space in the middle of a commit may never answer again. */
  #hasRoom(bytes: number): boolean {
    this.#roomLeft -= bytes;
    if (this.#roomLeft > 0) return true;
    const room = freeBytesOf(this.#folder) - this.#settings.freeBytesMin;
    this.#roomLeft = Math.min(roomBytes, room - bytes);
    return room > bytes;
  }

  #own({ name, id }: EngineHandle): KeptPartition | null {
    const partition = this.#partitions.get(name);
    return partition?.id === id ? partition : null;
  }

  #rows(start: Buffer, end: Buffer, limit: number, isReverse = false) {
    return this.#opened().rows(start, end, limit, isReverse);
  }

  #commit(changes: readonly RowChange[]): Promise<void> {
    return this.#opened().commit(changes);
  }

  #opened(): Environment {
    assert(this.#environment !== null, 'the engine was opened');
    return this.#environment;
  }
}

function change(partition: KeptPartition): RowChange {
  return { key: nameKey(partition.name), value: encodePartition(partition) };
}

function removal(number: number, baseOffset: number): RowChange[] {
  return [
    { key: offsetKey('i', number, baseOffset), value: null },
    { key: offsetKey('b', number, baseOffset), value: null },
  ];
}
