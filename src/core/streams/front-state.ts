/**
 * What the front knows of a partition: where it begins and ends, its producers, and whether it is in service. Reads all of it from the
 * engine when the partition is opened. Thread: the one that holds the store; owned by `PartitionFront`, looked at by its reader.
 */

import { isControl } from '../batch/batch-format.ts';
import { readControlType } from '../batch/control-batch.ts';
import type { StreamSettings } from '../ports/stream-store.ts';
import type { EngineLink } from './engine-link.ts';
import { decodeProducers, encodeProducers } from './producer-snapshot.ts';
import { ProducerState } from './producer-state.ts';
import { StorageError } from './storage-error.ts';
import type { EngineClaim, EngineHandle, EnginePiece, StoreEngine } from './store-engine.ts';
import { checkedBatches, type FoundBatch } from './stored-batches.ts';
import { unknownPartition } from './stream-settings.ts';

export interface FrontLimits {
  /** An append that waited so long is answered. */
  readonly waitMsMax: number;
  /** Reads and everything else that is not an append is tried so long. */
  readonly readWaitMsMax: number;
  /** The producers are saved after so many bytes; so much is read when a partition is opened. */
  readonly snapshotBytes: number;
  /** Producers that were last heard of longer ago are forgotten. */
  readonly producerExpiryMs: number;
}

/** What the partitions of a store have in common. */
export interface FrontHost {
  readonly engine: StoreEngine;
  readonly link: EngineLink;
  readonly limits: FrontLimits;
  now(): number;
}

/** Bytes that are read at once when nobody says how many. */
export const stepBytes = 1024 * 1024;
const piecesAtOnce = 256;

export class FrontState {
  readonly name: string;
  readonly host: FrontHost;
  handle: EngineHandle;
  settings: StreamSettings = {};
  producers = new ProducerState();
  startOffset = 0;
  /** All below it is stored; readers see it. */
  endOffset = 0;
  sizeBytes = 0;
  /** Stored since the producers were saved. */
  unsavedBytes = 0;
  /** Why nothing works; null while it does. */
  failure: StorageError | null = null;

  private constructor(host: FrontHost, handle: EngineHandle) {
    this.name = handle.name;
    this.host = host;
    this.handle = handle;
  }

  /** Takes the partition over. @throws StorageError STORAGE_PARTITION_UNKNOWN, STORAGE_UNAVAILABLE, STORAGE_PARTITION_FAILED, … */
  static async open(host: FrontHost, name: string): Promise<FrontState> {
    const claim = await claimOf(host, name);
    const state = new FrontState(host, claim.handle);
    await state.#load(claim);
    return state;
  }

  /** Takes the partition over again. Throws like `open`. */
  async reopen(): Promise<void> {
    const claim = await claimOf(this.host, this.name);
    this.handle = claim.handle;
    await this.#load(claim);
    this.failure = null;
  }

  get lastStableOffset(): number {
    return this.producers.lastStableOffset(this.endOffset);
  }

  assertUsable(): void {
    if (this.failure !== null) throw this.failure;
  }

  /** Asks the engine, for as long as readers wait. */
  call<T>(what: string, call: () => Promise<T>): Promise<T> {
    const { link, limits } = this.host;
    return link.call(`${what} "${this.name}"`, limits.readWaitMsMax, call);
  }

  read(offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    return this.call('read', () => this.host.engine.read(this.handle, offset, bytesMax));
  }

  pieces(from: number, limit: number): Promise<readonly EnginePiece[]> {
    return this.call('look at', () => this.host.engine.pieces(this.handle, from, limit));
  }

  /** Where the piece ends that `offset` is in, for what lies in a damaged one. */
  async behindDamage(offset: number): Promise<number> {
    const [piece] = await this.pieces(offset, 1);
    return piece === undefined ? this.endOffset : Math.max(offset + 1, piece.endOffset);
  }

  /** Takes a stored batch into the state of the producers. */
  apply({ header, bytes, at }: FoundBatch): void {
    this.producers.apply(header, isControl(header.attributes) ? readControlType(bytes, at) : null);
  }

  /** All up to `offset` is stored now. */
  advance(offset: number, bytes: number): void {
    this.endOffset = offset;
    this.sizeBytes += bytes;
    this.unsavedBytes += bytes;
    this.producers.onCommitted(offset);
  }

  async saveProducers(): Promise<void> {
    const { producers, endOffset } = this;
    const snapshot = encodeProducers(producers.snapshot(endOffset));
    await this.call('save the producers of', () => this.host.engine.saveProducers(this.handle, endOffset, snapshot));
    this.unsavedBytes = 0;
  }

  /** Moves the start of the log. Answers whether there is a newer writer. */
  async deleteBefore(offset: number): Promise<'deleted' | 'fenced'> {
    if (offset <= this.startOffset) return 'deleted';
    const { engine } = this.host;
    // What the batches that go say of producers must be kept first.
    if (this.producers.producerCount > 0) await this.saveProducers();
    const outcome = await this.call('delete from', () => engine.deleteBefore(this.handle, offset));
    if (outcome === 'fenced') return 'fenced';
    this.startOffset = offset;
    this.producers.trim(offset);
    const places = await this.call('look at', () => engine.places(this.handle));
    if (places !== null) this.sizeBytes = places.sizeBytes;
    return 'deleted';
  }

  /** Where the log should begin, by its settings. */
  async retainedStart(nowMs: number): Promise<number> {
    const { retentionBytes = null, retentionMs = null } = this.settings;
    let start = this.startOffset;
    let left = this.sizeBytes;
    if (retentionBytes === null && retentionMs === null) return start;
    for (;;) {
      const pieces = await this.pieces(start, piecesAtOnce);
      for (const piece of pieces) {
        const isTooMuch = retentionBytes !== null && left - piece.bytes >= retentionBytes;
        const isTooOld = retentionMs !== null && piece.maxTimestamp < nowMs - retentionMs;
        if (piece.endOffset > this.endOffset || !(isTooMuch || isTooOld)) return start;
        start = piece.endOffset;
        left -= piece.bytes;
      }
      if (pieces.length === 0) return start;
    }
  }

  async #load(claim: EngineClaim): Promise<void> {
    const { settings, startOffset, endOffset, sizeBytes, producers } = claim;
    this.settings = settings;
    this.startOffset = startOffset;
    this.endOffset = endOffset;
    this.sizeBytes = sizeBytes;
    this.unsavedBytes = 0;
    const snapshot = producers === null ? null : decodeProducers(producers);
    const isKnown = snapshot !== null && snapshot.offset <= endOffset;
    this.producers = isKnown ? ProducerState.from(snapshot) : new ProducerState();
    let offset = isKnown ? Math.max(snapshot.offset, startOffset) : startOffset;
    while (offset < endOffset) {
      offset = await this.#replay(offset);
      // What a damaged piece says of producers is lost, and reads of it fail.
      if (offset < endOffset) offset = await this.behindDamage(offset);
    }
    this.producers.onCommitted(endOffset);
    this.producers.trim(startOffset);
  }

  /** Takes in the batches from `offset` on; answers where the first one is that is damaged, or the end. */
  async #replay(offset: number): Promise<number> {
    let next = offset;
    while (next < this.endOffset) {
      const buffers = await this.read(next, stepBytes);
      try {
        for (const found of checkedBatches(this.name, buffers, next)) {
          // What an older writer stores meanwhile is found when it is in the way.
          if (found.header.lastOffset >= this.endOffset) return this.endOffset;
          this.apply(found);
          this.unsavedBytes += found.header.size;
          next = found.header.lastOffset + 1;
        }
      } catch (error) {
        if (error instanceof StorageError && error.code === 'STORAGE_CORRUPTED') return next;
        throw error;
      }
    }
    return next;
  }
}

async function claimOf(host: FrontHost, name: string): Promise<EngineClaim> {
  const { engine, link, limits } = host;
  const claim = await link.call(`open "${name}"`, limits.readWaitMsMax, () => engine.claim(name));
  if (claim === null) throw unknownPartition(name);
  return claim;
}
