/**
 * The producers of the benchmark: so many records under way, each acknowledged one replaced at once. What becomes free in one turn
 * goes out as one batch, as clients that gather do, or as batches of at most so many records. The batches are made before they are
 * measured: what counts is who stores them. Thread: the one of the benchmark, which owns the journal.
 */

import { BatchBuilder } from '../../core/batch/batch-builder.ts';
import { LatencyCounts } from './latency-counts.ts';

/** Where batches go: the engine, or the bare loop that it is compared with. */
export interface AppendTarget {
  /** `done` when it is durable, never inside of the call. */
  append(batch: Buffer, done: (error: Error | null) => void): void;
  /** All that is at hand was handed in. */
  flush(): void;
}

export interface LoadSettings {
  /** Records under way. */
  readonly inFlight: number;
  /** Bytes of a value. */
  readonly recordBytes: number;
  /** Most records of one batch. */
  readonly batchRecords: number;
}

export interface LoadFigures {
  readonly records: number;
  readonly batches: number;
  readonly seconds: number;
  readonly perS: number;
  readonly latency: LatencyCounts;
}

const keptBytesMax = 64 * 1024 * 1024;

/** Batches of so many records. Those that were asked for before are at hand: the warm-up makes those that are measured. */
export class BatchSource {
  readonly #value: Buffer;
  readonly #made = new Map<number, Buffer>();
  #madeBytes = 0;

  constructor({ recordBytes }: LoadSettings) {
    this.#value = Buffer.alloc(recordBytes);
    for (let at = 0; at < recordBytes; at += 1) this.#value[at] = (at * 31 + 7) & 255;
  }

  get(records: number): Buffer {
    const known = this.#made.get(records);
    if (known !== undefined) return known;
    const builder = new BatchBuilder({}, records * (this.#value.length + 16));
    for (let record = 0; record < records; record += 1) {
      builder.add({ timestampMs: 1_700_000_000_000, value: this.#value });
    }
    const batch = builder.build();
    if (this.#madeBytes + batch.length > keptBytesMax) {
      this.#made.clear();
      this.#madeBytes = 0;
    }
    this.#made.set(records, batch);
    this.#madeBytes += batch.length;
    return batch;
  }
}

/** Runs for `ms`, and until the last record is acknowledged, which is not counted. Rejects with the first error. */
export function runLoad(
  target: AppendTarget,
  settings: LoadSettings,
  batches: BatchSource,
  ms: number,
): Promise<LoadFigures> {
  return new Promise((resolve, reject) => new Load(target, settings, batches, ms, resolve, reject).begin());
}

class Load {
  readonly #target: AppendTarget;
  readonly #batchRecords: number;
  readonly #batches: BatchSource;
  readonly #resolve: (figures: LoadFigures) => void;
  readonly #reject: (error: Error) => void;
  readonly #latency = new LatencyCounts();
  readonly #ms: number;
  #free: number;
  #underWay = 0;
  #isAwake = false;
  #startMs = 0;
  #endMs = 0;
  #records = 0;
  #sentBatches = 0;

  constructor(
    target: AppendTarget,
    settings: LoadSettings,
    batches: BatchSource,
    ms: number,
    resolve: (figures: LoadFigures) => void,
    reject: (error: Error) => void,
  ) {
    this.#target = target;
    this.#batchRecords = settings.batchRecords;
    this.#batches = batches;
    this.#ms = ms;
    this.#free = settings.inFlight;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(): void {
    this.#startMs = performance.now();
    this.#endMs = this.#startMs + this.#ms;
    this.#send();
  }

  #send(): void {
    this.#isAwake = false;
    const nowMs = performance.now();
    if (nowMs >= this.#endMs) {
      if (this.#underWay === 0) this.#finish();
      return;
    }
    while (this.#free > 0) {
      const count = Math.min(this.#free, this.#batchRecords);
      this.#free -= count;
      this.#underWay += 1;
      this.#sentBatches += 1;
      this.#target.append(this.#batches.get(count), (error) => this.#onDone(error, count, nowMs));
    }
    this.#target.flush();
  }

  #onDone(error: Error | null, count: number, sentMs: number): void {
    this.#underWay -= 1;
    if (error !== null) {
      this.#endMs = 0;
      this.#reject(error);
      return;
    }
    this.#free += count;
    const nowMs = performance.now();
    if (nowMs < this.#endMs) {
      this.#records += count;
      this.#latency.add((nowMs - sentMs) * 1000, count);
    }
    if (this.#isAwake) return;
    this.#isAwake = true;
    // Behind all answers of this turn.
    queueMicrotask(() => this.#send());
  }

  #finish(): void {
    const seconds = this.#ms / 1000;
    this.#resolve({
      records: this.#records,
      batches: this.#sentBatches,
      seconds,
      perS: this.#records / seconds,
      latency: this.#latency,
    });
  }
}
