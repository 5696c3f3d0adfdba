/**
 * Latencies of records, exact to a microsecond up to 0.1 s. A batch of many records is counted as so many with one call, which the
 * histogram of `node:perf_hooks` cannot do. Pure. Thread: the one of the benchmark.
 */

const bucketsMax = 100_000;

export interface LatencyFigures {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
}

export class LatencyCounts {
  readonly #counts = new Float64Array(bucketsMax + 1);
  #total = 0;
  #maxUs = 0;

  add(us: number, records: number): void {
    this.#counts[Math.min(bucketsMax, Math.max(0, Math.round(us)))] += records;
    this.#total += records;
    this.#maxUs = Math.max(this.#maxUs, us);
  }

  merge(other: LatencyCounts): void {
    for (let at = 0; at <= bucketsMax; at += 1) this.#counts[at] += other.#counts[at];
    this.#total += other.#total;
    this.#maxUs = Math.max(this.#maxUs, other.#maxUs);
  }

  figures(): LatencyFigures {
    return {
      p50Us: this.#percentile(0.5),
      p99Us: this.#percentile(0.99),
      p999Us: this.#percentile(0.999),
      maxUs: Math.round(this.#maxUs),
    };
  }

  #percentile(share: number): number {
    let left = this.#total * share;
    for (let at = 0; at <= bucketsMax; at += 1) {
      left -= this.#counts[at];
      // What took longer than the last bucket is somewhere up to the longest.
      if (left <= 0 && at < bucketsMax) return at;
    }
    return Math.round(this.#maxUs);
  }
}

/** 0 without a value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >>> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
