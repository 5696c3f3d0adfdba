/**
 * Histograms in the counter block of a thread: a slot for each bucket and one for the sum of all values. An observation is a search
 * over a dozen bounds and two additions in memory. The definitions are used on every thread; a `Histogram` lives on the thread that
 * owns the block.
 */
import type { MetricDefinition, MetricLabels, ThreadMetrics } from './metrics.ts';

/** Bounds for durations of work on memory and disks, seconds. */
export const durationBounds: readonly number[] = [
  0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5,
];

/** Bounds for sizes of batches and rounds, in pieces. */
export const countBounds: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/** The series of one histogram; `bounds` ascend. */
export function histogramDefinitions(
  name: string,
  help: string,
  bounds: readonly number[],
  labels: MetricLabels = {},
): MetricDefinition[] {
  const parts = [...bounds.map(String), '+Inf', 'sum'];
  return parts.map((part) => ({ name, help, kind: 'histogram', labels, part }));
}

export class Histogram {
  readonly #metrics: ThreadMetrics;
  readonly #bounds: readonly number[];
  readonly #first: number;
  readonly #sum: number;

  /** With the bounds of its definitions. */
  constructor(metrics: ThreadMetrics, name: string, bounds: readonly number[], labels?: MetricLabels) {
    this.#metrics = metrics;
    this.#bounds = bounds;
    // Buckets were defined one after the other.
    this.#first = metrics.slot(name, labels, String(bounds[0]));
    this.#sum = metrics.slot(name, labels, 'sum');
  }

  /** The same value was seen `count` times. */
  observe(value: number, count = 1): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]) bucket += 1;
    this.#metrics.add(this.#first + bucket, count);
    this.#metrics.add(this.#sum, value * count);
  }
}
