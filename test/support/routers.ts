/** Several routers in one process over the same shared memory, and a tiny encoding of publications for them. */
import type { LocalMember } from '../../src/core/broker/group-strategies.ts';
import { type Route, type Subscriber, Subscription, type Target } from '../../src/core/broker/route.ts';
import { Router } from '../../src/core/broker/router.ts';
import { createRouterShared, type RouterShared, removeWorker } from '../../src/core/broker/router-shared.ts';
import { Run } from '../../src/core/broker/run.ts';
import type { RetainedLimits } from '../../src/core/retained/retained-value.ts';
import { createLogger } from '../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../src/shm/counters.ts';
import { ControlPlaneHub } from './control-plane.ts';

/** The encoding: two bytes of length, then text. */
export const layout = 1;

export function encode(texts: readonly string[]): Buffer {
  return Buffer.concat(
    texts.map((text) => {
      const bytes = Buffer.from(`  ${text}`);
      bytes.writeUInt16BE(bytes.length - 2);
      return bytes;
    }),
  );
}

export function decode({ buffer, start, end }: Run): string[] {
  const texts: string[] = [];
  for (let at = start; at < end; ) {
    const next = at + 2 + buffer.readUInt16BE(at);
    texts.push(buffer.toString('utf8', at + 2, next));
    at = next;
  }
  return texts;
}

export function runOf(texts: readonly string[]): Run {
  const run = new Run();
  run.layout = layout;
  run.buffer = encode(texts);
  run.end = run.buffer.length;
  run.count = texts.length;
  return run;
}

export function split(run: Run, part: Run, visit: () => void): void {
  Object.assign(part, run);
  part.count = 1;
  for (let at = run.start; at < run.end; ) {
    part.start = at;
    part.end = at + 2 + run.buffer.readUInt16BE(at);
    at = part.end;
    visit();
  }
}

/** A subscriber that keeps what it gets. */
export class Reader implements Subscriber, LocalMember {
  readonly received: string[] = [];
  readonly topics: string[] = [];
  readonly epochs: number[] = [];
  /** Filters of the subscriptions of each target that was made. */
  readonly targets: string[][] = [];
  isOnline = true;
  load = 0;

  createTarget(subscriptions: readonly Subscription[]): Target {
    this.targets.push(subscriptions.map(({ filter }) => filter).sort());
    return this;
  }

  deliver(run: Run): void {
    const texts = decode(run);
    if (texts.length !== run.count) throw new Error(`A run of ${run.count} holds ${texts.length}`);
    this.received.push(...texts);
    this.topics.push(run.topic);
    this.epochs.push(run.epoch);
  }

  on(router: Router, filter: string): Subscription {
    const subscription = new Subscription(filter, this);
    router.subscribe(subscription);
    return subscription;
  }
}

const definitions = new MetricsLayout([workerMetricDefinitions([])]);

export interface RouterGroupOptions {
  readonly ringBytes?: number;
  readonly retained?: RetainedLimits;
  /** Begins to listen at once; otherwise the test calls `start`, or `catchUp` where it wants records to arrive. */
  readonly started?: boolean;
}

export class RouterGroup {
  readonly hub = new ControlPlaneHub();
  readonly shared: RouterShared;
  readonly routers: Router[] = [];
  readonly metrics: ThreadMetrics[] = [];
  readonly warnings: string[] = [];
  private readonly options: RouterGroupOptions;

  constructor(workerCount: number, options: RouterGroupOptions = {}) {
    this.options = options;
    const { ringBytes = 65_536 } = options;
    this.shared = createRouterShared({ workerCount, ringBytes, interestBitmapBytes: 1024 });
    for (let worker = 0; worker < workerCount; worker++) this.open(worker, workerCount);
    for (const router of this.routers) this.attach(router);
  }

  private open(workerIndex: number, workerCount: number): Router {
    const metrics = new ThreadMetrics(definitions, new CounterBlock(createCounters(definitions.slotCount)));
    const router = new Router({
      workerIndex,
      workerCount,
      shared: this.shared,
      retained: this.options.retained ?? { countMax: 1_000, bytesMax: 1_000_000 },
      control: this.hub.add(workerIndex),
      metrics,
      log: createLogger({ level: 'warn', format: 'text', write: (line) => this.warnings.push(line) }),
    });
    router.groups.registerSplitter(layout, split);
    this.routers[workerIndex] = router;
    this.metrics[workerIndex] = metrics;
    return router;
  }

  private attach(router: Router): void {
    if (this.options.started !== false) router.start();
  }

  /** A worker dies; nothing of it goes on. */
  kill(worker: number): void {
    this.routers[worker].stop();
    removeWorker(this.shared, worker);
    this.hub.remove(worker);
  }

  /** Its successor serves. */
  replace(worker: number): Router {
    const router = this.open(worker, this.routers.length);
    this.attach(router);
    this.hub.ready(worker);
    return router;
  }

  catchUp(): void {
    for (const router of this.routers) router.catchUp();
  }

  stop(): void {
    for (const router of this.routers) router.stop();
  }
}

export function routeOf(router: Router, topic: string): Route {
  const bytes = Buffer.from(topic);
  const route = router.routeOf(bytes, 0, bytes.length);
  if (route === null) throw new Error(`"${topic}" is not a topic`);
  return route;
}

/** Publishes; false when the ring is full. */
export function publish(router: Router, topic: string, ...texts: string[]): boolean {
  return router.publish(routeOf(router, topic), runOf(texts));
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits until `condition` holds; the test's own time limit ends it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
