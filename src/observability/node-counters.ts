/**
 * Counters of all connection workers, added up. Any thread that has their blocks; it only reads shared memory.
 * Slots are looked up once; reading is one load for each worker and series.
 */
import type { MetricLabels, MetricsLayout } from './metrics.ts';

interface Block {
  get(slot: number): number;
}

export class NodeCounters {
  private readonly layout: MetricsLayout;
  private readonly blocks: readonly Block[];

  /** `layout` is that of every block. */
  constructor(layout: MetricsLayout, blocks: readonly Block[]) {
    this.layout = layout;
    this.blocks = blocks;
  }

  /** All series of `name` that have these labels, whatever others they have. */
  counter(name: string, labels: MetricLabels = {}): CounterSum {
    const wanted = Object.entries(labels);
    const slots = [...this.layout.definitions.entries()]
      .filter(
        ([, definition]) =>
          definition.name === name && wanted.every(([key, value]) => definition.labels?.[key] === value),
      )
      .map(([slot]) => slot);
    return new CounterSum(slots, this.blocks);
  }
}

export class CounterSum {
  private readonly slots: readonly number[];
  private readonly blocks: readonly Block[];

  constructor(slots: readonly number[], blocks: readonly Block[]) {
    this.slots = slots;
    this.blocks = blocks;
  }

  sum(): number {
    let sum = 0;
    for (const block of this.blocks) for (const slot of this.slots) sum += block.get(slot);
    return sum;
  }

  largest(): number {
    let largest = 0;
    for (const block of this.blocks) for (const slot of this.slots) largest = Math.max(largest, block.get(slot));
    return largest;
  }
}
