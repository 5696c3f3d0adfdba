/**
 * Reads of a partition through the front: what the engine answers is checked before it is handed out. Thread: the one that holds the
 * store; owned by `PartitionFront`.
 */

import type { ReadAnswer, ReadRequest, TimedOffset } from '../ports/stream-store.ts';
import { type FrontState, stepBytes } from './front-state.ts';
import { StorageError } from './storage-error.ts';
import { type CutBatches, checkedBatches, cutBatches, recordForTime } from './stored-batches.ts';

/** A read is not made larger than this, whatever is asked for: all of it is in memory at once. */
const readBytesMax = 32 * 1024 * 1024;

export class FrontReader {
  readonly #state: FrontState;

  constructor(state: FrontState) {
    this.#state = state;
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const state = this.#state;
    state.assertUsable();
    const { offset, bytesMax, isolation = 'committed' } = request;
    const { endOffset: highWatermark, startOffset: logStartOffset, lastStableOffset } = state;
    this.#assertInRange(offset);
    const limit = isolation === 'stable' ? lastStableOffset : highWatermark;
    const { slices, bytes, nextOffset } = await this.#cut(offset, limit, bytesMax);
    const aborted = isolation === 'stable' ? state.producers.abortedIn(offset, nextOffset) : [];
    return { slices, bytes, nextOffset, logStartOffset, highWatermark, lastStableOffset, aborted };
  }

  async offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    const state = this.#state;
    state.assertUsable();
    const { engine } = state.host;
    for (let from = state.startOffset; from < state.endOffset; ) {
      const least = from;
      const base = await state.call('search', () => engine.findTime(state.handle, least, timestamp));
      if (base === null || base >= state.endOffset) return null;
      const step = await this.#searchTime(Math.max(base, from), timestamp);
      if (step.found !== null) return step.found;
      from = step.nextOffset;
    }
    return null;
  }

  async #cut(offset: number, limit: number, bytesMax: number): Promise<CutBatches> {
    if (offset >= limit) return { slices: [], bytes: 0, nextOffset: offset };
    const buffers = await this.#stored(offset, Math.min(readBytesMax, Math.max(1, bytesMax)));
    return cutBatches(this.#state.name, buffers, offset, limit, bytesMax);
  }

  async #searchTime(
    from: number,
    timestamp: number,
  ): Promise<{ readonly found: TimedOffset | null; readonly nextOffset: number }> {
    const state = this.#state;
    const end = state.endOffset;
    try {
      let nextOffset = from;
      for (const batch of checkedBatches(state.name, await this.#stored(from, stepBytes), from)) {
        if (batch.header.lastOffset >= end) break;
        const found = recordForTime(batch, from, timestamp);
        nextOffset = batch.header.lastOffset + 1;
        if (found !== null) return { found, nextOffset };
      }
      return { found: null, nextOffset: nextOffset > from ? nextOffset : end };
    } catch (error) {
      // Damaged ranges are passed over; records that went meanwhile as well.
      if (!(error instanceof StorageError)) throw error;
      if (error.code === 'STORAGE_OFFSET_OUT_OF_RANGE') return { found: null, nextOffset: state.startOffset };
      if (error.code !== 'STORAGE_CORRUPTED') throw error;
      return { found: null, nextOffset: await state.behindDamage(from) };
    }
  }

  async #stored(offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    const buffers = await this.#state.read(offset, bytesMax);
    // It was deleted meanwhile, or the partition is another's.
    this.#state.assertUsable();
    this.#assertInRange(offset);
    return buffers;
  }

  #assertInRange(offset: number): void {
    const { name, startOffset, endOffset } = this.#state;
    if (offset >= startOffset && offset <= endOffset) return;
    const range = `the log has ${startOffset} to ${endOffset}`;
    throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `Cannot read offset ${offset} of "${name}": ${range}`);
  }
}
