/** The result of a key-value run: as an object for `--json`, and as text for people. Pure. Thread of the harness. */
import { type LatencySummary, summarize, total } from '../statistics.ts';
import type { KvStatistics } from './load.ts';
import type { KvPlan } from './options.ts';

/** What `--json` prints. Names are a contract; new ones may come. */
export interface KvResult {
  readonly target: string;
  readonly endpoints: readonly string[];
  readonly clients: number;
  readonly channels: number;
  readonly isLean: boolean;
  readonly operations: string;
  readonly keys: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly ratePerS: number;
  readonly seconds: number;
  /** Answered as they should within the measured time. */
  readonly sets: number;
  readonly gets: number;
  readonly perS: number;
  /** From the intended time of sending until the answer. */
  readonly setLatency: LatencySummary;
  readonly getLatency: LatencySummary;
  readonly errorCount: number;
  readonly errors: Record<string, number>;
  /** Due at the fixed rate and not sent by the end: the servers or the harness fell behind. */
  readonly overdue: number;
  /** CPU of the harness, in cores: near 1 means that it was the limit. */
  readonly loadCores: number;
  readonly loadCpuUsPerOperation: number;
  /** All processes of `--pid` together. */
  readonly servers: { readonly cores: number; readonly cpuUsPerOperation: number } | null;
  readonly isStopped: boolean;
  /** What makes the exit status other than 0. */
  readonly problems: readonly string[];
}

/** Clocks at one moment. */
export interface KvSnapshot {
  readonly atMs: number;
  readonly serverCpuS: number;
  readonly ownCpuS: number;
}

/** What `run.ts` hands over. */
export interface KvReportInput {
  readonly plan: KvPlan;
  readonly statistics: KvStatistics;
  readonly start: KvSnapshot;
  readonly end: KvSnapshot;
  readonly overdue: number;
  readonly isStopped: boolean;
}

export function summarizeKvRun({ plan, statistics, start, end, overdue, isStopped }: KvReportInput): KvResult {
  const seconds = (end.atMs - start.atMs) / 1000;
  const operations = statistics.sets + statistics.gets;
  const errorCount = total(statistics.errors);
  const usPerOperation = (cpuS: number): number => (operations === 0 ? 0 : round((cpuS * 1e6) / operations, 1));
  const ownCpuS = end.ownCpuS - start.ownCpuS;
  const serverCpuS = end.serverCpuS - start.serverCpuS;
  return {
    target: plan.target,
    endpoints: plan.endpoints,
    clients: plan.clients,
    channels: plan.channels,
    isLean: plan.isLean,
    operations: plan.operations,
    keys: plan.keys,
    keyBytes: plan.keyBytes,
    valueBytes: plan.valueBytes,
    ratePerS: plan.ratePerS,
    seconds: round(seconds, 3),
    sets: statistics.sets,
    gets: statistics.gets,
    perS: seconds > 0 ? Math.round(operations / seconds) : 0,
    setLatency: summarize(statistics.setLatency),
    getLatency: summarize(statistics.getLatency),
    errorCount,
    errors: Object.fromEntries(statistics.errors),
    overdue,
    loadCores: round(ownCpuS / seconds, 2),
    loadCpuUsPerOperation: usPerOperation(ownCpuS),
    servers:
      plan.serverPids.length === 0
        ? null
        : { cores: round(serverCpuS / seconds, 2), cpuUsPerOperation: usPerOperation(serverCpuS) },
    isStopped,
    problems: findProblems(plan, operations, errorCount),
  };
}

function findProblems(plan: KvPlan, operations: number, errorCount: number): string[] {
  const problems: string[] = [];
  if (operations === 0) problems.push('no operation succeeded');
  if (plan.isStrict && errorCount > 0) problems.push(`${errorCount} operations failed`);
  return problems;
}

/** The report that people read. */
export function formatKvReport(result: KvResult): string {
  const load = result.ratePerS > 0 ? `${result.ratePerS}/s` : 'as fast as answers come';
  const lines = [
    `${result.target} at ${result.endpoints.join(', ')}: ${result.operations}, ${result.clients} clients, ` +
      `${result.keys} keys of ${result.keyBytes} bytes, values of ${result.valueBytes} bytes, ${load}, ${result.seconds} s`,
    row('operations', `${result.sets + result.gets}, ${result.perS}/s`),
  ];
  if (result.setLatency.samples > 0) lines.push(row('set', latency(result.setLatency)));
  if (result.getLatency.samples > 0) lines.push(row('get', latency(result.getLatency)));
  lines.push(row('errors', `${result.errorCount}`));
  for (const [reason, amount] of Object.entries(result.errors)) lines.push(row('', `${amount} x ${reason}`));
  if (result.overdue > 0) lines.push(row('not sent', `${result.overdue} that were due`));
  if (result.servers !== null) {
    lines.push(row('servers', `${result.servers.cores} cores, ${result.servers.cpuUsPerOperation} us an operation`));
  }
  lines.push(row('this load', `${result.loadCores} cores, ${result.loadCpuUsPerOperation} us an operation`));
  for (const problem of result.problems) lines.push(row('PROBLEM', problem));
  return `${lines.join('\n')}\n`;
}

function row(name: string, value: string): string {
  return `${name.padEnd(12)}${value}`;
}

function latency(one: LatencySummary): string {
  const parts = [`p50 ${ms(one.p50Us)}`, `p90 ${ms(one.p90Us)}`, `p99 ${ms(one.p99Us)}`, `p99.9 ${ms(one.p999Us)}`];
  return `${parts.join(', ')}, max ${ms(one.maxUs)} (${one.samples} samples)`;
}

function ms(us: number): string {
  return us >= 1000 ? `${round(us / 1000, 2)} ms` : `${us} us`;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
