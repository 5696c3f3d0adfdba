/**
 * `npm run bench:kv`: three nodes of RingMQ and three of etcd in turn on the same machine and disk, loaded by `ringmq bench
 * kv`; prints medians and ratios and says which limits are kept. Each system is compared at its best: clients at the leader
 * or at all nodes, and etcd with the gRPC library or with a client that leaves it more of the machine.
 *
 *   node native-free-bench/kv.ts [--rows a,b] [--systems a,b] [--runs 5] [--seconds 4] [--warm-up 1] [--folder DIR]
 *                                [--json FILE] [--smoke]
 *
 * Status 1 when a limit is not kept. `--smoke`: one short run, which judges nothing.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Check, formatChecks } from './checks.ts';
import { pick, toCount } from './flags.ts';
import { type Cluster, findObstacle, readVersion, startCluster } from './kv/clusters.ts';
import { formatFigures, judge, type Measurement, medianOf, type Series } from './kv/judge.ts';
import { benchFlags, IN_PROCESS, nameOf, type Row, rows, type SystemName, type Way, ways } from './kv/rows.ts';
import { root } from './mqtt/brokers.ts';
import { runToEnd } from './mqtt/processes.ts';
import { median } from './table.ts';

/** Reads by another thread of a node's process: a program of its own, because the benchmarks import no broker. */
const IN_PROCESS_PROGRAM = join(root, 'test', 'cluster', 'in-process-reads.child.ts');

/** Load of fresh nodes before the first row. */
const WARM_SECONDS = 6;

interface Plan {
  readonly rows: readonly Row[];
  readonly systems: readonly SystemName[];
  readonly measuresInProcess: boolean;
  readonly runs: number;
  readonly seconds: number;
  readonly warmUp: number;
  readonly folder: string;
  readonly smoke: boolean;
  readonly jsonFile: string | undefined;
}

const systemNames: readonly SystemName[] = ['ringmq', 'etcd'];

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function readPlan(argv: readonly string[], folder: string): Plan {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rows: { type: 'string' },
      systems: { type: 'string' },
      runs: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '4' },
      'warm-up': { type: 'string', default: '1' },
      folder: { type: 'string', default: folder },
      json: { type: 'string' },
      smoke: { type: 'boolean', default: false },
    },
  });
  const { smoke } = values;
  const ids = [...rows.map((row) => row.id), IN_PROCESS];
  const wanted = pick('row', values.rows, ids, ids);
  const systems: readonly SystemName[] = pick('system', values.systems, systemNames, systemNames);
  return {
    rows: rows.filter((row) => wanted.includes(row.id)),
    measuresInProcess: wanted.includes(IN_PROCESS) && systems.includes('ringmq'),
    systems: systems.filter((system) => {
      const obstacle = findObstacle(system);
      if (obstacle !== undefined) say(`without ${system}: ${obstacle}`);
      return obstacle === undefined;
    }),
    runs: smoke ? 1 : toCount('--runs', values.runs),
    seconds: smoke ? 1 : toCount('--seconds', values.seconds),
    warmUp: smoke ? 0.5 : Number(values['warm-up']),
    folder: values.folder,
    smoke,
    jsonFile: values.json,
  };
}

interface BenchJson {
  readonly perS: number;
  readonly errorCount: number;
  readonly setLatency: { readonly p50Us: number; readonly p99Us: number; readonly p999Us: number };
  readonly getLatency: { readonly p50Us: number; readonly p99Us: number; readonly p999Us: number };
  readonly loadCpuUsPerOperation: number;
  readonly servers: { readonly cpuUsPerOperation: number };
}

async function measure(row: Row, way: Way, cluster: Cluster, plan: Plan): Promise<Measurement> {
  const endpoints = way.nodes === 'all' ? cluster.endpoints : cluster.endpoints.slice(0, 1);
  const command = [process.execPath, join(root, 'bin', 'ringmq.js'), 'bench', 'kv', '--target', way.system];
  command.push('--endpoints', endpoints.join(','), ...benchFlags(row), ...(way.isLean ? ['--lean'] : []));
  command.push('--seconds', `${plan.seconds}`, '--warm-up', `${plan.warmUp}`, '--json', '--quiet');
  for (const pid of cluster.pids) command.push('--pid', `${pid}`);
  const result = JSON.parse(await runToEnd(command, (plan.seconds + plan.warmUp + 30) * 1000)) as BenchJson;
  const latency = row.operations === 'set' ? result.setLatency : result.getLatency;
  return {
    perS: result.perS,
    p50Us: latency.p50Us,
    p99Us: latency.p99Us,
    p999Us: latency.p999Us,
    errors: result.errorCount,
    serverCpuUs: result.servers.cpuUsPerOperation,
    loadCpuUs: result.loadCpuUsPerOperation,
  };
}

/** Servers run for months: what is compared is how they are after their first seconds, with their code compiled. */
async function warm(system: SystemName, cluster: Cluster, plan: Plan): Promise<void> {
  const seconds = plan.smoke ? 1 : WARM_SECONDS;
  const command = [process.execPath, join(root, 'bin', 'ringmq.js'), 'bench', 'kv', '--target', system];
  command.push('--endpoints', cluster.endpoints.join(','), '--clients', '100', '--operations', 'mixed', '--lean');
  command.push('--warm-up', '0', '--seconds', `${seconds}`, '--quiet');
  await runToEnd(command, (seconds + 30) * 1000);
}

/** All rows of one system on fresh nodes. The systems take turns, so that a busy minute of the machine hits both. */
async function runSystem(system: SystemName, run: number, plan: Plan, series: Map<string, Series>): Promise<void> {
  const cluster = await startCluster(system, join(plan.folder, `${system}-${run}`));
  try {
    await warm(system, cluster, plan);
    for (const row of plan.rows) {
      for (const way of ways) {
        if (way.system !== system) continue;
        const measurement = await measure(row, way, cluster, plan);
        const key = `${row.id} ${nameOf(way)}`;
        series.set(key, { row, way, runs: [...(series.get(key)?.runs ?? []), measurement] });
        const { perS, p50Us, p99Us, errors } = measurement;
        say(
          `${row.id} ${run}/${plan.runs} ${nameOf(way)}: ${perS}/s, p50 ${p50Us} us, p99 ${p99Us} us, ${errors} errors`,
        );
      }
    }
  } finally {
    await cluster.stop();
  }
}

/** Reads a second by another thread of the same process. */
interface InProcess {
  readonly perS: number;
  readonly linearizablePerS: number;
}

/** The medians of the runs. */
async function measureInProcess(plan: Plan): Promise<InProcess> {
  const results: InProcess[] = [];
  for (let run = 1; run <= plan.runs; run++) {
    const command = [process.execPath, IN_PROCESS_PROGRAM, '--seconds', `${plan.seconds}`];
    const result = JSON.parse(await runToEnd(command, (2 * plan.seconds + 60) * 1000)) as InProcess;
    say(`${IN_PROCESS} ${run}/${plan.runs} ringmq: ${result.perS}/s, linearizable ${result.linearizablePerS}/s`);
    results.push(result);
  }
  return {
    perS: median(results.map((one) => one.perS)),
    linearizablePerS: median(results.map((one) => one.linearizablePerS)),
  };
}

function describeMachine(): string {
  return `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}, Linux ${release()}`;
}

/** Runs the plan; answers whether all limits are kept. */
async function compare(plan: Plan): Promise<boolean> {
  const found = new Map<string, Series>();
  for (let run = 1; run <= plan.runs; run++) {
    for (const system of plan.systems) if (plan.rows.length > 0) await runSystem(system, run, plan, found);
  }
  const inProcess = plan.measuresInProcess ? await measureInProcess(plan) : undefined;
  const series = [...found.values()];
  const checks = plan.smoke ? [] : judge(plan.rows, series);
  const versions = plan.systems.map(readVersion);
  const command = ['npm run bench:kv --', ...process.argv.slice(2)].join(' ');
  const intro = [`\`${command}\`: medians of ${plan.runs} runs of ${plan.seconds} s`, describeMachine(), ...versions];
  process.stdout.write(`${intro.join('\n')}\n\n${formatFigures(plan.rows, series)}\n`);
  if (inProcess !== undefined) {
    const { perS, linearizablePerS } = inProcess;
    process.stdout.write(`\nReads by a thread of a node: serializable ${perS}/s, linearizable ${linearizablePerS}/s\n`);
  }
  if (checks.length > 0) process.stdout.write(`\n${formatChecks(checks)}\n`);
  if (plan.jsonFile !== undefined) writeJson(plan.jsonFile, { plan, series, checks, versions, inProcess });
  return checks.every((check) => check.isKept);
}

interface Outcome {
  readonly plan: Plan;
  readonly series: readonly Series[];
  readonly checks: readonly Check[];
  readonly versions: readonly string[];
  readonly inProcess: InProcess | undefined;
}

function writeJson(file: string, { plan, series, checks, versions, inProcess }: Outcome): void {
  const content = {
    machine: describeMachine(),
    versions,
    runs: plan.runs,
    seconds: plan.seconds,
    series: series.map(({ row, way, runs }) => ({ row: row.id, way: nameOf(way), median: medianOf(runs), runs })),
    inProcess,
    checks,
  };
  writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`);
}

const folder = mkdtempSync(join(tmpdir(), 'ringmq-bench-kv-'));
try {
  if (!(await compare(readPlan(process.argv.slice(2), folder)))) process.exitCode = 1;
} catch (error) {
  say(`bench:kv: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
