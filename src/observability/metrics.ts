/**
 * Metrics of one thread: names and labels outside, slot numbers and plain array stores inside.
 *
 * Every thread that counts has one counter block in shared memory, written by that thread alone. A `MetricsLayout` says
 * which slot holds which series; it is built from the same definitions on the owner's thread and on the thread that
 * serves `/metrics`, so only the definitions have to agree, and nothing is sent to count something.
 * Callers: each thread's composition root builds layout and `ThreadMetrics`; protocols look their slots up once.
 */
import type { CounterBlock } from '../shm/counters.ts';
import { assert } from '../std/assert.ts';

/** One time series. Series with the same name form a family: they share kind and help and differ in label values. */
export interface MetricDefinition {
  /** Snake case, base units: `…_total` for a counter, `…_bytes` or `…_seconds` before it where there is a unit. */
  readonly name: string;
  /** One sentence for the operator. */
  readonly help: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** Of a histogram: upper bound of a bucket, or `sum`; see `histogram.ts`. */
  readonly part?: string;
  /** Fixed label values from a bounded set, never from a client. `worker` is added by the exposition. */
  readonly labels?: Readonly<Record<string, string>>;
}

export type MetricLabels = Readonly<Record<string, string>>;

const namePattern = /^[a-z][a-z0-9_]*$/;
/** Labels that the exposition or the Prometheus text format uses itself. */
const reservedLabels = new Set(['worker', 'le', 'quantile']);

/** Slot numbers for an ordered list of definitions. The same input gives the same layout on each thread. */
export class MetricsLayout {
  readonly definitions: readonly MetricDefinition[];
  private readonly slots = new Map<string, number>();

  /** @throws AssertionError when a definition breaks the naming rules, contradicts its family or comes twice. */
  constructor(groups: readonly (readonly MetricDefinition[])[]) {
    this.definitions = groups.flat();
    const families = new Map<string, MetricDefinition>();
    for (const [slot, definition] of this.definitions.entries()) {
      checkDefinition(definition);
      const family = families.get(definition.name) ?? definition;
      families.set(definition.name, family);
      const agrees = family.kind === definition.kind && family.help === definition.help;
      assert(agrees, `all series of ${definition.name} have one kind and one help text`);
      const key = seriesKey(definition.name, definition.labels, definition.part);
      assert(!this.slots.has(key), `the metric ${key} is defined once`);
      this.slots.set(key, slot);
    }
  }

  get slotCount(): number {
    return this.definitions.length;
  }

  /** Slot of a series. Look it up once, outside the hot path. @throws AssertionError when it is not defined. */
  slot(name: string, labels?: MetricLabels, part?: string): number {
    const key = seriesKey(name, labels, part);
    const slot = this.slots.get(key);
    assert(slot !== undefined, `the metric ${key} is defined`);
    return slot;
  }
}

/**
 * The counters of the calling thread. Only the thread that owns the block may call the methods that change it: the
 * stores are plain, so a second writer would lose counts. `increment`, `add` and `set` are one array store each.
 */
export class ThreadMetrics {
  readonly layout: MetricsLayout;
  private readonly block: CounterBlock;

  constructor(layout: MetricsLayout, block: CounterBlock) {
    this.layout = layout;
    this.block = block;
  }

  slot(name: string, labels?: MetricLabels, part?: string): number {
    return this.layout.slot(name, labels, part);
  }

  increment(slot: number): void {
    this.block.increment(slot);
  }

  add(slot: number, amount: number): void {
    this.block.add(slot, amount);
  }

  set(slot: number, value: number): void {
    this.block.set(slot, value);
  }

  get(slot: number): number {
    return this.block.get(slot);
  }

  /**
   * Sets every gauge to 0. The successor of a dead worker calls it before it serves: counters go on from where the
   * dead one left them, so that they never fall, but what its gauges showed died with it.
   */
  resetGauges(): void {
    for (const [slot, definition] of this.layout.definitions.entries()) {
      if (definition.kind === 'gauge') this.block.set(slot, 0);
    }
  }
}

function checkDefinition(definition: MetricDefinition): void {
  const { name, help, kind, labels, part } = definition;
  assert(namePattern.test(name), `the metric name "${name}" is snake case`);
  assert(
    name.endsWith('_total') === (kind === 'counter'),
    `the metric ${name} ends in _total when it is a counter, and only then`,
  );
  assert((part !== undefined) === (kind === 'histogram'), `the metric ${name} has parts when it is a histogram`);
  assert(help !== '', `the metric ${name} has a help text`);
  for (const label of Object.keys(labels ?? {})) {
    assert(namePattern.test(label) && !reservedLabels.has(label), `the label "${label}" of ${name} is allowed`);
  }
}

function seriesKey(name: string, labels: MetricLabels = {}, part = ''): string {
  const names = Object.keys(labels).sort();
  return `${name}{${names.map((label) => `${label}=${JSON.stringify(labels[label])}`).join(',')}}${part}`;
}
