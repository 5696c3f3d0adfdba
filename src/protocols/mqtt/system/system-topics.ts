/**
 * What the broker says of itself below `$SYS`: values, to new subscribers at once and to all from time to time, and events. One per connection
 * worker. Values are published by worker 0 for the node; each worker answers its own new subscribers and tells of its own clients.
 */
import type { Router } from '../../../core/broker/router.ts';
import type { NodeView } from '../../../core/ports/node.ts';
import { matches } from '../../../core/routing/topic.ts';
import type { ThreadMetrics } from '../../../observability/metrics.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import { generatePublish } from '../packets/generate.ts';
import type { MqttSettings } from '../settings.ts';
import { SystemEvents } from './events.ts';
import {
  delayedWaitingMetric,
  dropMetrics,
  filtersMetric,
  type HighestOf,
  highestMetric,
  highestOf,
} from './metrics.ts';
import { SlowSubscriptions } from './slow-subscriptions.ts';
import { SystemOutput } from './system-output.ts';
import { type Pace, SystemTree, type SystemValue } from './system-tree.ts';

const sampleMs = 5_000;
/** Between two looks for dropped messages, while somebody wants to know. */
const dropsMs = 1_000;
/** Values that are published in one turn of the event loop. */
const valuesPerTurn = 64;

export interface SystemTopicsOptions {
  readonly workerIndex: number;
  readonly router: Router;
  readonly node: NodeView;
  readonly metrics: ThreadMetrics;
  readonly timers: TimingWheel;
  readonly publisher: OwnPublisher;
  readonly settings: MqttSettings;
  /** Brings the figures about sessions and subscriptions of this worker up to date. */
  updateCounts(): void;
}

export class SystemTopics {
  readonly events: SystemEvents;
  /** Null: not measured. */
  readonly slow: SlowSubscriptions | null;
  /** Delayed messages of the node that wait. */
  delayedCount: () => number = () => 0;
  private readonly options: SystemTopicsOptions;
  private readonly tree: SystemTree;
  private readonly output: SystemOutput;

  constructor(options: SystemTopicsOptions) {
    this.options = options;
    const { workerIndex, router, publisher, node, metrics, settings } = options;
    this.tree = new SystemTree(node, 'mqtt');
    this.output = new SystemOutput({ router, publisher, node, metrics, packetBytesMax: settings.packetBytesMax });
    this.events = new SystemEvents(this.output, node, settings.system);
    const { slowSubscriptions } = settings.system;
    this.slow = slowSubscriptions.enabled ? new SlowSubscriptions(slowSubscriptions, options.timers) : null;
    node.onQuestion('slow-subscriptions', (request) => this.answerSlow(request as { type: 'list' | 'clear' }));
    this.every(sampleMs, this.sampler());
    if (workerIndex !== 0) return;
    this.every(settings.system.intervalS * 1000, () => this.publishValues('interval'));
    this.every(settings.system.heartbeatS * 1000, () => this.publishValues('heartbeat'));
    if (!settings.system.events.messagesDropped) return;
    const drops = new DropReports(this.output, node, metrics);
    this.every(dropsMs, () => drops.look());
  }

  /**
   * Calls `visit` with the values that match `filter`, as frames of MQTT 5 with the retain flag: what a new subscription gets at once, as if
   * they were retained.
   */
  visitValues(filter: string, visit: (frame: Buffer) => void): void {
    if (!filter.startsWith('$SYS')) return;
    for (const { topic, read } of this.tree.values()) {
      if (!matches(filter, topic)) continue;
      const payload = Buffer.from(read());
      const properties = { payloadFormat: 1, userProperties: [] } as const;
      visit(generatePublish({ topic, payload, qos: 0, retain: true, packetId: 0, properties }, 5));
    }
  }

  private answerSlow({ type }: { readonly type: 'list' | 'clear' }): unknown {
    const { slow } = this;
    if (type === 'clear') slow?.clear();
    return { isEnabled: slow !== null, slow: slow?.slowest() ?? [] };
  }

  private every(intervalMs: number, work: () => void): void {
    if (intervalMs === 0) return;
    const { timers } = this.options;
    const timer = new WheelTimer(() => {
      timers.start(timer, intervalMs);
      work();
    });
    timers.start(timer, intervalMs);
  }

  private publishValues(pace: Pace): void {
    if (this.output.hasReaders) this.publishFrom(this.tree.values().filter((value) => value.pace === pace));
  }

  private publishFrom(values: readonly SystemValue[]): void {
    for (const { topic, read } of values.slice(0, valuesPerTurn)) {
      if (this.options.router.isWanted(topic)) this.output.publish(topic, read());
    }
    if (values.length > valuesPerTurn) setImmediate(() => this.publishFrom(values.slice(valuesPerTurn)));
  }

  /** Keeps the figures that nobody counts as they change; on worker 0 the highest ones of the node too. */
  private sampler(): () => void {
    const { metrics, router, workerIndex, updateCounts } = this.options;
    const delayedSlot = metrics.slot(delayedWaitingMetric);
    const filtersSlot = metrics.slot(filtersMetric);
    const present = Object.entries(this.tree.present()) as [HighestOf, () => number][];
    const highest = new Map(highestOf.map((of) => [of, metrics.slot(highestMetric, { of })]));
    return () => {
      updateCounts();
      metrics.set(filtersSlot, router.filterCount);
      if (workerIndex !== 0) return;
      metrics.set(delayedSlot, this.delayedCount());
      for (const [of, read] of present) {
        const slot = highest.get(of) as number;
        metrics.set(slot, Math.max(metrics.get(slot), read()));
      }
    };
  }
}

/** Tells of dropped messages by reason, with how many in a second: a flood of them is one event. Worker 0, for the node. */
class DropReports {
  private readonly output: SystemOutput;
  private readonly reasons: readonly { readonly reason: string; readonly sum: () => number }[];
  /** As of the last look; null while nobody wanted to know. */
  private known: number[] | null = null;

  constructor(output: SystemOutput, node: NodeView, metrics: ThreadMetrics) {
    this.output = output;
    const ofDrops = metrics.layout.definitions.filter(({ name }) => dropMetrics.some((each) => each === name));
    const reasons = new Set(ofDrops.map(({ labels }) => labels?.reason ?? ''));
    this.reasons = Array.from(reasons, (reason) => {
      const counters = dropMetrics.map((name) => node.counter(name, { reason }));
      return { reason, sum: () => counters.reduce((sum, counter) => sum + counter.sum(), 0) };
    });
  }

  look(): void {
    const topic = this.output.wantedTopic('messages/dropped');
    if (topic === null) {
      this.known = null;
      return;
    }
    const { known } = this;
    const sums = this.reasons.map(({ sum }) => sum());
    this.known = sums;
    if (known === null) return;
    for (const [index, { reason }] of this.reasons.entries()) {
      const count = sums[index] - known[index];
      if (count > 0) this.output.event(topic, { reason, count, total: sums[index], ts: Date.now() }, null);
    }
  }
}
