/**
 * The amounts that wait by tenant, known to all connection workers: each tells the others once a second what it has accepted, and the one that
 * starts is told everything. Worker 0 has them stored. Thread: one per connection worker.
 */
import type { ControlPlane } from '../../../core/ports/control-plane.ts';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import { type Amount, DelayedUsage, spanEnd, spansOf, type UsageSpan } from './usage.ts';
import type { UsageLog } from './usage-log.ts';

const addedChannel = 'mqtt.delayed.added';
const allChannel = 'mqtt.delayed.all';
const tellMs = 1_000;
const storeMs = 10_000;

export interface SharedUsageOptions {
  readonly control: ControlPlane;
  readonly workerIndex: number;
  readonly store: StreamStore;
  readonly timers: TimingWheel;
  readonly log: Logger;
}

export class SharedUsage {
  private readonly options: SharedUsageOptions;
  private usage = new DelayedUsage();
  /** What the others were not told yet, by tenant and end. */
  private readonly untold = new Map<string, UsageSpan>();
  private readonly tellTimer = new WheelTimer(() => this.tell());
  private readonly storeTimer = new WheelTimer(() => void this.storeAll());
  private log: Promise<UsageLog> | null = null;
  /** Worker 0 knows what was stored before its start, as far as it could be read. */
  private isRead = false;
  /** What waits is known from another worker. */
  private isTold = false;
  private isClosed = false;

  constructor(options: SharedUsageOptions) {
    this.options = options;
    const { control } = options;
    control.onBroadcast(addedChannel, (_, payload) => this.takeIn(payload));
    control.onBroadcast(allChannel, (_, payload) => this.takeAll(payload));
    control.onWorkerReady((worker) => {
      this.tell();
      const spans = this.usage.spans(Date.now());
      if (spans.length > 0) control.broadcast(allChannel, { worker, spans }, () => undefined);
    });
  }

  of(tenant: string, nowMs: number): Amount {
    return this.usage.of(tenant, nowMs);
  }

  /** Messages of all tenants. */
  total(nowMs: number): number {
    return this.usage.total(nowMs);
  }

  add(tenant: string, dueMs: number, nowMs: number, count: number, bytes: number): void {
    const span = { tenant, endMs: spanEnd(dueMs, nowMs), count, bytes };
    this.usage.add(span);
    const key = `${span.endMs}/${tenant}`;
    const known = this.untold.get(key);
    const sum = known === undefined ? span : { ...span, count: known.count + count, bytes: known.bytes + bytes };
    this.untold.set(key, sum);
    if (this.tellTimer.dueTick === -1) this.options.timers.start(this.tellTimer, tellMs);
    this.storeLater();
  }

  close(): void {
    this.isClosed = true;
    this.options.timers.cancel(this.tellTimer);
    this.options.timers.cancel(this.storeTimer);
  }

  private tell(): void {
    if (this.untold.size === 0) return;
    const spans = [...this.untold.values()];
    this.untold.clear();
    this.options.control.broadcast(addedChannel, spans, () => undefined);
  }

  private takeIn(payload: unknown): void {
    for (const span of spansOf(payload) ?? []) this.usage.add(span);
    this.storeLater();
  }

  /** Each of the others tells it; the first one is enough. It holds what was told before. */
  private takeAll(payload: unknown): void {
    const { worker, spans } = payload as { readonly worker: number; readonly spans: unknown };
    if (worker !== this.options.workerIndex || this.isTold) return;
    this.isTold = true;
    this.usage = new DelayedUsage();
    for (const span of spansOf(spans) ?? []) this.usage.add(span);
    for (const span of this.untold.values()) this.usage.add(span);
  }

  /** Worker 0, once: `isThere` says whether there is something from before, which nobody else knows after a start of the node. */
  async begin(isThere: boolean): Promise<void> {
    if (this.isRead) return;
    this.isRead = true;
    if (!isThere || this.isTold) return;
    try {
      const spans = await (await this.loadLog()).read();
      if (this.isTold || this.isClosed) return;
      for (const span of spans) this.usage.add(span);
      this.options.control.broadcast(addedChannel, spans, () => undefined);
    } catch (thrown) {
      const reason = toError(thrown).message;
      this.options.log.warn('What waits from before does not count for the limits of delayed messages', { reason });
    }
  }

  private storeLater(): void {
    const { workerIndex, timers } = this.options;
    if (workerIndex !== 0 || !this.isRead || this.isClosed || this.storeTimer.dueTick !== -1) return;
    timers.start(this.storeTimer, storeMs);
  }

  private async storeAll(): Promise<void> {
    const nowMs = Date.now();
    try {
      const log = await this.loadLog();
      if (!this.isClosed) await log.write(this.usage.spans(nowMs), nowMs);
    } catch (thrown) {
      this.options.log.warn('Cannot store how many delayed messages wait', { reason: toError(thrown).message });
    }
  }

  private loadLog(): Promise<UsageLog> {
    this.log ??= import('./usage-log.ts').then(({ UsageLog: Log }) => new Log(this.options.store));
    return this.log;
  }
}
