/** The result of a run: as an object for `--json`, and as text for people. Pure but for its inputs. Thread of the harness. */
import { type BenchPlan, hasHeader, subscribersOfTopic } from './options.ts';
import { type LatencySummary, type Statistics, summarize, total } from './statistics.ts';

/** What `--json` prints. Names are a contract; new ones may come. */
export interface BenchResult {
  readonly mode: string;
  readonly host: string;
  readonly port: number;
  readonly protocol: string;
  readonly qos: number;
  readonly payloadBytes: number;
  readonly publishers: number;
  readonly subscribers: number;
  readonly topics: number;
  readonly isWildcard: boolean;
  readonly ratePerS: number;
  readonly seconds: number;
  readonly connections: {
    readonly asked: number;
    readonly ready: number;
    readonly seconds: number;
    readonly perS: number;
    readonly failures: Record<string, number>;
    readonly latency: LatencySummary;
  };
  /** The whole run, warm-up included. */
  readonly sent: number;
  readonly acknowledged: number;
  readonly received: number;
  /** Due at a fixed rate and never sent: the harness or the broker fell behind. */
  readonly notSent: number;
  readonly lost: number;
  /** -1 where payloads are too short for numbers, as for `reordered`. */
  readonly duplicated: number;
  readonly reordered: number;
  readonly dupFlags: number;
  readonly refusedPublishes: Record<string, number>;
  readonly disconnects: Record<string, number>;
  /** The measured time only. */
  readonly sentPerS: number;
  readonly acknowledgedPerS: number;
  readonly receivedPerS: number;
  readonly receivedBytesPerS: number;
  readonly deliveryLatency: LatencySummary;
  readonly acknowledgeLatency: LatencySummary;
  readonly sendDelay: LatencySummary;
  /** CPU of the harness, in cores: near 1 means that it was the limit. */
  readonly loadCores: number;
  readonly broker: {
    readonly cores: number;
    /** Per delivered message, or per sent one when nobody subscribes. */
    readonly cpuUsPerMessage: number;
    readonly residentKib: number;
    readonly residentKibPerConnection: number;
  } | null;
  readonly isStopped: boolean;
  /** What makes the exit status other than 0. */
  readonly problems: readonly string[];
}

/** What `run.ts` hands over. */
export interface ReportInput {
  readonly plan: BenchPlan;
  readonly statistics: Statistics;
  readonly publishers: readonly { readonly index: number; readonly sequence: number; readonly due: number }[];
  readonly subscribers: readonly { readonly tracker: { readonly duplicated: number; readonly reordered: number } }[];
  readonly connectSeconds: number;
  readonly before: ReportSnapshot;
  readonly start: ReportSnapshot;
  readonly end: ReportSnapshot;
  readonly isStopped: boolean;
}

/** Counts at one moment, since the beginning of the run. */
export interface ReportSnapshot {
  readonly atMs: number;
  readonly sent: number;
  readonly acknowledged: number;
  readonly received: number;
  readonly receivedBytes: number;
  /** 0 without `--pid`. */
  readonly brokerCpuS: number;
  readonly brokerKib: number;
  readonly ownCpuS: number;
}

/** Makes the result of a run, with the problems that its numbers show. */
export function summarizeRun(input: ReportInput): BenchResult {
  const { plan, statistics, start, end } = input;
  const seconds = Math.max(0.001, (end.atMs - start.atMs) / 1000);
  const perS = (amount: number): number => Math.round(amount / seconds);
  const isTracked = hasHeader(plan) && plan.publishers > 0;
  const duplicated = input.subscribers.reduce((sum, one) => sum + one.tracker.duplicated, 0);
  const reordered = input.subscribers.reduce((sum, one) => sum + one.tracker.reordered, 0);
  const expected = expectedDeliveries(plan, input.publishers);
  const asked = plan.idlers + plan.publishers + plan.subscribers;
  const result: BenchResult = {
    mode: plan.mode,
    host: plan.host,
    port: plan.port,
    protocol: plan.version === 5 ? 'MQTT 5' : 'MQTT 3.1.1',
    qos: plan.qos,
    payloadBytes: plan.payloadBytes,
    publishers: plan.publishers,
    subscribers: plan.subscribers,
    topics: plan.topics,
    isWildcard: plan.isWildcard,
    ratePerS: plan.ratePerS,
    seconds: round(seconds, 3),
    connections: {
      asked,
      ready: statistics.ready,
      seconds: round(input.connectSeconds, 3),
      perS: Math.round(statistics.ready / Math.max(0.001, input.connectSeconds)),
      failures: Object.fromEntries(statistics.connectFailures),
      latency: summarize(statistics.connectLatency),
    },
    sent: statistics.sent,
    acknowledged: statistics.acknowledged,
    received: statistics.received,
    notSent: input.publishers.reduce((sum, one) => sum + one.due, 0),
    lost: Math.max(0, expected - (statistics.ownReceived - duplicated)),
    duplicated: isTracked ? duplicated : -1,
    reordered: isTracked ? reordered : -1,
    dupFlags: statistics.dupFlags,
    refusedPublishes: Object.fromEntries(statistics.refusedPublishes),
    disconnects: Object.fromEntries(statistics.disconnects),
    sentPerS: perS(end.sent - start.sent),
    acknowledgedPerS: perS(end.acknowledged - start.acknowledged),
    receivedPerS: perS(end.received - start.received),
    receivedBytesPerS: perS(end.receivedBytes - start.receivedBytes),
    deliveryLatency: summarize(statistics.deliveryLatency),
    acknowledgeLatency: summarize(statistics.acknowledgeLatency),
    sendDelay: summarize(statistics.sendDelay),
    loadCores: round((end.ownCpuS - start.ownCpuS) / seconds, 2),
    broker: brokerFigures(input, seconds),
    isStopped: input.isStopped,
    problems: [],
  };
  return { ...result, problems: findProblems(plan, result, total(statistics.disconnects)) };
}

/** Deliveries that the messages sent must lead to. */
export function expectedDeliveries(
  plan: BenchPlan,
  publishers: readonly { readonly index: number; readonly sequence: number }[],
): number {
  let expected = 0;
  for (const one of publishers) expected += one.sequence * subscribersOfTopic(plan, one.index % plan.topics);
  return expected;
}

function brokerFigures({ plan, before, start, end, statistics }: ReportInput, seconds: number): BenchResult['broker'] {
  if (plan.brokerPid === undefined) return null;
  const messages = plan.subscribers > 0 ? end.received - start.received : end.sent - start.sent;
  const cpuS = end.brokerCpuS - start.brokerCpuS;
  return {
    cores: round(cpuS / seconds, 2),
    cpuUsPerMessage: messages === 0 ? 0 : round((cpuS * 1e6) / messages, 4),
    residentKib: end.brokerKib,
    residentKibPerConnection: round((end.brokerKib - before.brokerKib) / Math.max(1, statistics.ready), 2),
  };
}

function findProblems(plan: BenchPlan, result: BenchResult, disconnects: number): string[] {
  const problems: string[] = [];
  const { asked, ready } = result.connections;
  if (ready < asked && !result.isStopped) problems.push(`only ${ready} of ${asked} connections`);
  if (plan.subscribers > 0 && result.received === 0) problems.push('no message was received');
  if (plan.publishers > 0 && result.sent === 0) problems.push('no message was sent');
  if (plan.qos > 0 && result.sent > 0 && result.acknowledged === 0) problems.push('no message was acknowledged');
  if (!plan.isStrict) return problems;
  if (result.lost > 0) problems.push(`${result.lost} messages lost`);
  if (result.duplicated > 0) problems.push(`${result.duplicated} messages duplicated`);
  if (result.reordered > 0) problems.push(`${result.reordered} messages reordered`);
  if (disconnects > 0) problems.push(`${disconnects} disconnections`);
  return problems;
}

/** The report that people read. */
export function formatReport(result: BenchResult): string {
  const { connections, broker } = result;
  const load = result.ratePerS > 0 ? `${result.ratePerS}/s` : 'as fast as possible';
  const lines = [
    `${result.mode} at ${result.host}:${result.port}, ${result.protocol}, QoS ${result.qos}, ${result.payloadBytes} bytes, ${load}, ${result.seconds} s`,
    row(
      'connections',
      `${connections.ready} of ${connections.asked} in ${connections.seconds} s (${connections.perS}/s)`,
    ),
    row('  connect', latency(connections.latency)),
    ...reasons('  failed', connections.failures),
  ];
  if (result.publishers > 0) {
    lines.push(row('sent', `${result.sent} by ${result.publishers} publishers, ${result.sentPerS}/s`));
    if (result.notSent > 0) lines.push(row('  not sent', `${result.notSent} that were due`));
    if (result.qos > 0) lines.push(row('acknowledged', `${result.acknowledged}, ${result.acknowledgedPerS}/s`));
    lines.push(...reasons('  refused', result.refusedPublishes));
  }
  if (result.subscribers > 0) {
    const mib = round(result.receivedBytesPerS / 1048576, 1);
    lines.push(
      row(
        'received',
        `${result.received} by ${result.subscribers} subscribers, ${result.receivedPerS}/s, ${mib} MiB/s`,
      ),
    );
  }
  if (result.subscribers > 0 && result.publishers > 0) {
    const order =
      result.duplicated < 0
        ? 'duplicates and order unknown (--size under 16)'
        : `${result.duplicated} duplicated, ${result.reordered} reordered`;
    lines.push(row('integrity', `${result.lost} lost, ${order}`));
  }
  if (result.deliveryLatency.samples > 0) lines.push(row('delivery', latency(result.deliveryLatency)));
  if (result.acknowledgeLatency.samples > 0) lines.push(row('acknowledge', latency(result.acknowledgeLatency)));
  if (result.sendDelay.samples > 0) lines.push(row('sent late by', latency(result.sendDelay)));
  lines.push(...reasons('disconnected', result.disconnects));
  if (broker !== null) {
    const perMessage = result.publishers + result.subscribers > 0 ? `${broker.cpuUsPerMessage} us a message, ` : '';
    const memory = `${round(broker.residentKib / 1024, 1)} MiB (${broker.residentKibPerConnection} KiB more per connection)`;
    lines.push(row('broker', `${broker.cores} cores, ${perMessage}${memory}`));
  }
  lines.push(row('this load', `${result.loadCores} cores`));
  for (const problem of result.problems) lines.push(row('PROBLEM', problem));
  return `${lines.join('\n')}\n`;
}

function reasons(name: string, counts: Record<string, number>): string[] {
  return Object.entries(counts).map(([reason, amount]) => row(name, `${amount} x ${reason}`));
}

function row(name: string, value: string): string {
  return `${name.padEnd(14)}${value}`;
}

function latency(one: LatencySummary): string {
  if (one.samples === 0) return '-';
  const parts = [`p50 ${ms(one.p50Us)}`, `p90 ${ms(one.p90Us)}`, `p99 ${ms(one.p99Us)}`, `p99.9 ${ms(one.p999Us)}`];
  return `${parts.join(', ')}, max ${ms(one.maxUs)} (${one.samples} samples)`;
}

function ms(us: number): string {
  return us >= 1000 ? `${round(us / 1000, 2)} ms` : `${us} us`;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
