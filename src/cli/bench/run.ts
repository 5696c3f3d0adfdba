/**
 * One run of the load harness: connect all, load, drain, close. Thread of the harness (the main thread of the command's
 * process); called by `commands/bench.ts` and by tests.
 */
import { CliError } from '../exit-codes.ts';
import { readCpuS, readDescriptorLimit, readResidentKib } from './broker-process.ts';
import { BenchConnection, IdleRole, type Role } from './connection.ts';
import { createDriver, type Driver } from './driver.ts';
import { type BenchPlan, deliveriesPerMessage } from './options.ts';
import { Publisher } from './publisher.ts';
import { type BenchResult, expectedDeliveries, type ReportSnapshot, summarizeRun } from './report.ts';
import { count, nowMs, Statistics, total } from './statistics.ts';
import { Subscriber } from './subscriber.ts';

/** Connections under way at a time when there is no `--connect-rate`: less than the shortest usual accept backlog (100). */
const CONNECTING_MAX = 64;
/** Deliveries timed per second at most, about; the histogram costs 0.2 us a sample. */
const SAMPLES_PER_S = 200_000;
/** One message in this many is timed when sending as fast as possible. */
const FULL_SPEED_STRIDE = 64;
/** Descriptors of the process that are not connections. */
const OTHER_DESCRIPTORS = 40;

export interface RunHooks {
  /** One line a second about how it goes. */
  readonly onProgress: (line: string) => void;
  /** Gets the way to end the run early, with a report of what was seen. */
  readonly onStoppable: (stop: () => void) => void;
}

/** Runs `plan` to its end; throws `CliError` when connections are missing that it needs. */
export async function runBench(plan: BenchPlan, hooks: RunHooks): Promise<BenchResult> {
  const run = new Run(plan, hooks);
  hooks.onStoppable(() => run.stop());
  try {
    return await run.execute();
  } finally {
    run.close();
  }
}

class Run {
  private readonly plan: BenchPlan;
  private readonly hooks: RunHooks;
  private readonly statistics = new Statistics();
  private readonly connections: BenchConnection[] = [];
  private readonly publishers: Publisher[] = [];
  private readonly subscribers: Subscriber[] = [];
  private driver: Driver;
  private readonly stopped = Promise.withResolvers<void>();
  private isStopped = false;
  private phase = 'connecting';
  private pingSlot = 0;
  /** Random, so that two harnesses at one broker do not take each other's client ids. */
  private readonly runId = Math.floor(Math.random() * 0x1000000).toString(16);

  constructor(plan: BenchPlan, hooks: RunHooks) {
    this.plan = plan;
    this.hooks = hooks;
    this.driver = createDriver(plan, this.publishers, this.statistics, deliveriesPerMessage(plan));
  }

  stop(): void {
    this.isStopped = true;
    this.stopped.resolve();
  }

  close(): void {
    this.driver.stop();
    for (const connection of this.connections) connection.end();
  }

  async execute(): Promise<BenchResult> {
    const { plan, statistics } = this;
    this.checkDescriptors();
    const second = setInterval(() => this.onSecond(), 1000);
    try {
      const before = this.snapshot();
      const connectStartMs = nowMs();
      await this.connectAll();
      const connectSeconds = (nowMs() - connectStartMs) / 1000;
      this.checkConnected();

      this.phase = 'warming up';
      if (plan.publishers > 0) this.driver.start();
      await this.pause(plan.rampUpMs + plan.warmUpMs);
      statistics.resetLatencies();
      this.phase = 'measuring';
      const start = this.snapshot();
      await this.pause(plan.durationMs);
      const end = this.snapshot();
      this.driver.stop();
      this.phase = 'draining';
      await this.drain();
      const { publishers, subscribers, isStopped } = this;
      return summarizeRun({ plan, statistics, publishers, subscribers, connectSeconds, before, start, end, isStopped });
    } finally {
      clearInterval(second);
    }
  }

  private checkDescriptors(): void {
    const { idlers, publishers, subscribers } = this.plan;
    const wanted = idlers + publishers + subscribers;
    const limit = readDescriptorLimit();
    if (limit !== undefined && wanted + OTHER_DESCRIPTORS > limit) {
      throw new CliError(
        `Cannot open ${wanted} connections: this process may open ${limit} files (raise it with ulimit -n)`,
      );
    }
  }

  /** Subscribers first, so that nothing is published past them. */
  private async connectAll(): Promise<void> {
    const { plan, statistics } = this;
    const topicOf = (i: number): string => `${plan.topicPrefix}/${i % plan.topics}`;
    const roles: (() => { role: Role; ready: Promise<string | null>; name: string })[] = [];
    for (let i = 0; i < plan.idlers; i++) {
      roles.push(() => ({ role: new IdleRole(), ready: Promise.resolve(null), name: `i${i}` }));
    }
    for (let i = 0; i < plan.subscribers; i++) {
      roles.push(() => {
        const ready = Promise.withResolvers<string | null>();
        const filter = plan.isWildcard ? `${plan.topicPrefix}/#` : topicOf(i);
        const subscriberHooks = { onReady: ready.resolve, onProgress: () => this.driver.onDelivery?.() };
        const role = new Subscriber(plan, statistics, filter, this.sampleStride(), subscriberHooks);
        this.subscribers.push(role);
        return { role, ready: ready.promise, name: `s${i}` };
      });
    }
    await this.connectEach(roles);
    if (this.isStopped) return;
    const publisherRoles = Array.from({ length: plan.publishers }, (_, i) => () => {
      const ready = Promise.withResolvers<string | null>();
      const publisherHooks = {
        onReady: ready.resolve,
        onProgress: (one: Publisher) => this.driver.onPublisherProgress(one),
      };
      const role = new Publisher(
        plan,
        statistics,
        i,
        topicOf(i),
        plan.ratePerS > 0 ? 1 : FULL_SPEED_STRIDE,
        publisherHooks,
      );
      this.publishers.push(role);
      return { role, ready: ready.promise, name: `p${i}` };
    });
    await this.connectEach(publisherRoles);
  }

  private async connectEach(
    roles: readonly (() => { role: Role; ready: Promise<string | null>; name: string })[],
  ): Promise<void> {
    const { plan, statistics } = this;
    const startMs = nowMs();
    const pending = new Set<Promise<void>>();
    for (let i = 0; i < roles.length && !this.isStopped; i++) {
      if (plan.connectRatePerS > 0) {
        const waitMs = startMs + (i * 1000) / plan.connectRatePerS - nowMs();
        if (waitMs > 1) await this.pause(waitMs);
      } else if (pending.size >= CONNECTING_MAX) await Promise.race(pending);
      const { role, ready, name } = roles[i]();
      const keepsSession = plan.isDurable && role instanceof Subscriber;
      const connection = new BenchConnection(plan, statistics, `rb-${this.runId}-${name}`, role, keepsSession);
      this.connections.push(connection);
      const local = plan.localAddresses;
      const attempt = connection
        .connect(local.length === 0 ? undefined : local[i % local.length])
        .then(async (failure) => {
          const reason = failure ?? (await ready);
          if (reason === null) statistics.ready++;
          else count(statistics.connectFailures, reason);
          pending.delete(attempt);
        });
      pending.add(attempt);
    }
    await Promise.race([Promise.all(pending), this.stopped.promise]);
  }

  private checkConnected(): void {
    const { plan, statistics } = this;
    const wanted = plan.idlers + plan.publishers + plan.subscribers;
    if (this.isStopped || statistics.ready === wanted) return;
    const reasons = [...statistics.connectFailures].map(([reason, amount]) => `${amount} x ${reason}`).join(', ');
    const target = `"${plan.host}:${plan.port}"`;
    if (statistics.ready === 0) throw new CliError(`Cannot connect to ${target}: ${reasons}`);
    // A storm reports how many got through; a stream with members missing would measure something else.
    if (plan.mode !== 'connect') {
      throw new CliError(
        `Cannot load ${target}: only ${statistics.ready} of ${wanted} connections are ready: ${reasons}`,
      );
    }
  }

  private sampleStride(): number {
    const { plan } = this;
    if (plan.ratePerS === 0) return plan.publishers === 0 ? 1 : FULL_SPEED_STRIDE;
    return Math.max(1, Math.ceil((plan.ratePerS * deliveriesPerMessage(plan)) / SAMPLES_PER_S));
  }

  /** Waits, unless the run is stopped. */
  private async pause(ms: number): Promise<void> {
    if (ms <= 0 || this.isStopped) return;
    let timer: NodeJS.Timeout | undefined;
    const elapsed = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([elapsed, this.stopped.promise]);
    clearTimeout(timer);
  }

  /** Waits for what is still on its way, but not for ever. */
  private async drain(): Promise<void> {
    const { statistics, plan } = this;
    const limitMs = nowMs() + plan.drainMs;
    const isDone = (): boolean => {
      const unique = statistics.ownReceived - this.subscribers.reduce((sum, one) => sum + one.tracker.duplicated, 0);
      const inFlight = this.publishers.some((one) => one.inFlight > 0 && one.isConnected);
      return unique >= expectedDeliveries(plan, this.publishers) && !inFlight;
    };
    while (!isDone() && nowMs() < limitMs) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  private snapshot(): ReportSnapshot {
    const { statistics, plan } = this;
    const own = process.cpuUsage();
    return {
      atMs: nowMs(),
      sent: statistics.sent,
      acknowledged: statistics.acknowledged,
      received: statistics.received,
      receivedBytes: statistics.receivedBytes,
      brokerCpuS: plan.brokerPid === undefined ? 0 : readCpuS(plan.brokerPid),
      brokerKib: plan.brokerPid === undefined ? 0 : readResidentKib(plan.brokerPid),
      ownCpuS: (own.user + own.system) / 1e6,
    };
  }

  private previous = { sent: 0, received: 0, connected: 0 };

  private onSecond(): void {
    const { statistics, plan, previous } = this;
    this.driver.onSecond?.();
    this.ping();
    const { sent, received, connected } = statistics;
    const lost = total(statistics.disconnects);
    const parts = [`${this.phase}: ${connected - lost} connections (+${connected - previous.connected})`];
    if (plan.publishers > 0) parts.push(`${sent - previous.sent} sent/s`);
    if (plan.subscribers > 0) parts.push(`${received - previous.received} received/s`);
    if (plan.qos > 0 && plan.publishers > 0) parts.push(`${statistics.acknowledged} acknowledged`);
    if (lost > 0) parts.push(`${lost} disconnected`);
    if (total(statistics.connectFailures) > 0) parts.push(`${total(statistics.connectFailures)} failed`);
    this.previous = { sent, received, connected };
    this.hooks.onProgress(parts.join(', '));
    if (this.phase === 'measuring' && plan.mode !== 'connect' && this.isLeftAlone()) this.stop();
  }

  /** Whether a whole side of the conversation is gone. */
  private isLeftAlone(): boolean {
    const anyPublisher = this.publishers.length === 0 || this.publishers.some((one) => one.isConnected);
    const anySubscriber = this.subscribers.length === 0 || this.subscribers.some((one) => one.isConnected);
    return !anyPublisher || !anySubscriber;
  }

  /** Keep-alive: each second a part of the connections, so that all had their turn within half the keep-alive. */
  private ping(): void {
    const { keepAliveS } = this.plan;
    if (keepAliveS === 0) return;
    const slots = Math.max(1, Math.floor(keepAliveS / 2));
    this.pingSlot = (this.pingSlot + 1) % slots;
    for (let i = this.pingSlot; i < this.connections.length; i += slots) this.connections[i].ping();
  }
}
