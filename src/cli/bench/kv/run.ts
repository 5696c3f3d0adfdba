/**
 * One run of the key-value load: connect, fill, warm up, measure, drain, close. Thread of the harness (the main thread of
 * the command's process); called by `kv/command.ts` and by tests.
 */
import { CliError } from '../../exit-codes.ts';
import { readCpuS } from '../broker-process.ts';
import type { RunHooks } from '../run.ts';
import { nowMs, total } from '../statistics.ts';
import { KvLoad, KvStatistics } from './load.ts';
import type { KvPlan } from './options.ts';
import { type KvResult, type KvSnapshot, summarizeKvRun } from './report.ts';
import type { KvTarget } from './target.ts';

const CONNECT_LIMIT_MS = 10_000;
/** Longest wait for answers that are still out at the end. */
const DRAIN_LIMIT_MS = 3000;

/** Runs `plan` against `target`, which it closes; throws `CliError` when nothing answers. */
export async function runKvBench(plan: KvPlan, target: KvTarget, hooks: RunHooks): Promise<KvResult> {
  const statistics = new KvStatistics();
  const load = new KvLoad(plan, target, statistics);
  const stopped = Promise.withResolvers<void>();
  let isStopped = false;
  hooks.onStoppable(() => {
    isStopped = true;
    stopped.resolve();
  });
  let phase = 'connecting';
  let before = 0;
  const second = setInterval(() => {
    const done = statistics.sets + statistics.gets;
    const parts = [`${phase}: ${Math.max(0, done - before)} operations/s`, `${load.inFlight} in flight`];
    const errorCount = total(statistics.errors);
    if (errorCount > 0) parts.push(`${errorCount} errors`);
    if (load.overdue > 0) parts.push(`${load.overdue} overdue`);
    before = done;
    hooks.onProgress(parts.join(', '));
  }, 1000);
  try {
    await target.connect(CONNECT_LIMIT_MS);
    phase = 'filling';
    if (plan.operations !== 'set') await fill(load, plan);
    phase = 'warming up';
    load.start();
    await pause(plan.warmUpMs, stopped.promise);
    load.measure();
    before = 0;
    phase = 'measuring';
    const start = snapshot(plan);
    await pause(plan.durationMs, stopped.promise);
    const { overdue } = load;
    const drained = load.stop();
    const end = snapshot(plan);
    await Promise.race([drained, pause(DRAIN_LIMIT_MS, stopped.promise)]);
    return summarizeKvRun({ plan, statistics, start, end, overdue, isStopped });
  } finally {
    clearInterval(second);
    target.close();
  }
}

async function fill(load: KvLoad, plan: KvPlan): Promise<void> {
  const errors = await load.fill();
  if (errors.size === 0) return;
  const reasons = [...errors].map(([reason, amount]) => `${amount} x ${reason}`).join(', ');
  throw new CliError(`Cannot set the keys that are to be read at "${plan.endpoints.join(',')}": ${reasons}`);
}

/** Waits, unless the run is stopped before. */
async function pause(ms: number, stopped: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([elapsed, stopped]);
  clearTimeout(timer);
}

function snapshot(plan: KvPlan): KvSnapshot {
  const own = process.cpuUsage();
  return {
    atMs: nowMs(),
    serverCpuS: plan.serverPids.reduce((sum, pid) => sum + readCpuS(pid), 0),
    ownCpuS: (own.user + own.system) / 1e6,
  };
}
