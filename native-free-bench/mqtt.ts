/**
 * `npm run bench:mqtt`: RingMQ, mosquitto, Aedes and the limit of the wire side by side, each on core 0, the load on
 * core 1; prints medians and says which limits of the acceptance table are kept.
 *
 *   node native-free-bench/mqtt.ts [--rows a,b] [--brokers a,b] [--runs 5] [--seconds 5] [--json FILE]
 *                                  [--load mqttblast|ringmq] [--tools DIR] [--smoke]
 *
 * Status 1 when a limit is not kept. `--smoke`: one short run of one row, which judges no time.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Check, formatChecks } from './checks.ts';
import { pick, toCount } from './flags.ts';
import { type Broker, brokerNames, findObstacle, readVersion, root, startBroker } from './mqtt/brokers.ts';
import { formatFigures, judge, medianOf, type RowResult } from './mqtt/judge.ts';
import {
  buildTools,
  findIdleObstacle,
  type LoadProgram,
  type Measurement,
  measureIdle,
  measureLoad,
  measureStartUp,
} from './mqtt/measure.ts';
import { canPin } from './mqtt/processes.ts';
import { type BrokerName, isForBlast, type Row, rows } from './mqtt/rows.ts';

/** `wirelimit` takes some bytes in the middle of a stream for a SUBSCRIBE: such a run is made again. */
const WIRELIMIT_TRIES = 4;

interface Plan {
  readonly rows: readonly Row[];
  readonly brokers: readonly BrokerName[];
  readonly runs: number;
  readonly seconds: number;
  readonly program: LoadProgram;
  readonly tools: ReadonlyMap<string, string>;
  readonly smoke: boolean;
  readonly jsonFile: string | undefined;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function readPlan(argv: readonly string[], folder: string): Promise<Plan> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rows: { type: 'string' },
      brokers: { type: 'string' },
      runs: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '5' },
      json: { type: 'string' },
      load: { type: 'string' },
      tools: { type: 'string', default: join(root, '..', 'shared', 'tools') },
      smoke: { type: 'boolean', default: false },
    },
  });
  const tools = await buildTools(values.tools, folder);
  const smoke = values.smoke;
  const program = values.load ?? (tools.has('mqttblast') ? 'mqttblast' : 'ringmq');
  if (program !== 'mqttblast' && program !== 'ringmq')
    throw new Error(`Cannot load with "${program}": expected mqttblast or ringmq`);
  if (program === 'mqttblast' && !tools.has(program)) throw new Error(`Cannot build mqttblast from "${values.tools}"`);
  const asked = pick('broker', values.brokers, smoke ? ['ringmq'] : brokerNames, brokerNames);
  const ids = rows.map((row) => row.id);
  const wanted = pick('row', values.rows, smoke ? ['stream'] : ids, ids);
  return {
    rows: rows.filter((row) => wanted.includes(row.id)),
    brokers: asked.filter((name) => isAvailable(name, tools)),
    runs: smoke ? 1 : toCount('--runs', values.runs),
    seconds: smoke ? 1 : toCount('--seconds', values.seconds),
    program,
    tools,
    smoke,
    jsonFile: values.json,
  };
}

function isAvailable(name: BrokerName, tools: ReadonlyMap<string, string>): boolean {
  const obstacle = findObstacle(name, tools);
  if (obstacle !== undefined) say(`without ${name}: ${obstacle}`);
  return obstacle === undefined;
}

/** Brokers that can do the work of `row`. */
function brokersOf(row: Row, plan: Plan): BrokerName[] {
  return plan.brokers.filter((name) => {
    if (row.kind === 'start-up' || row.workers > 1) return name === 'ringmq';
    // Aedes keeps sessions in memory alone, and is started with TCP alone.
    if (name === 'aedes') return isForBlast(row.workload) && !row.workload.isDurable;
    // The mosquitto of many distributions opens no WebSocket listener: these rows have no limit.
    if (name === 'mosquitto') return !row.workload.transport.startsWith('web-socket');
    return name !== 'wirelimit' || row.fitsWirelimit;
  });
}

/** All runs of a row, the brokers taking turns, so that a busy minute of the machine hits all of them. */
async function runRow(row: Row, plan: Plan): Promise<RowResult> {
  const names = brokersOf(row, plan);
  const runs = new Map<BrokerName, Measurement[]>(names.map((name) => [name, []]));
  const obstacle = row.kind === 'idle' ? findIdleObstacle() : undefined;
  if (obstacle !== undefined) {
    say(`without row ${row.id}: ${obstacle}`);
    return { row, runs: new Map() };
  }
  const started = new Map<BrokerName, Broker>();
  try {
    for (const name of names) if (isKeptRunning(name, row)) started.set(name, await startBroker(name, row, plan.tools));
    for (let run = 1; run <= plan.runs; run++) {
      for (const name of names) {
        const measurement = await measure(name, row, plan, started.get(name));
        runs.get(name)?.push(measurement);
        say(`${row.id} ${run}/${plan.runs} ${name}: ${describe(measurement)}`);
      }
    }
  } finally {
    for (const broker of started.values()) await broker.stop();
  }
  return { row, runs };
}

/** `wirelimit` does not outlive its clients, memory per connection wants a broker that had none, and kept sessions would add up. */
function isKeptRunning(name: BrokerName, row: Row): boolean {
  return row.kind === 'load' && name !== 'wirelimit' && !row.workload.isDurable;
}

async function measure(name: BrokerName, row: Row, plan: Plan, kept: Broker | undefined): Promise<Measurement> {
  if (row.kind === 'start-up') return measureStartUp();
  if (kept !== undefined) return measureOnce(kept, row, plan);
  for (let attempt = 1; ; attempt++) {
    const broker = await startBroker(name, row, plan.tools);
    try {
      const measurement = await measureOnce(broker, row, plan);
      if (name !== 'wirelimit' || measurement.lost === 0 || attempt === WIRELIMIT_TRIES) return measurement;
    } catch (error) {
      if (name !== 'wirelimit' || attempt === WIRELIMIT_TRIES) throw error;
    } finally {
      await broker.stop();
    }
  }
}

function measureOnce(broker: Broker, row: Row, plan: Plan): Promise<Measurement> {
  if (row.kind === 'idle') return measureIdle(broker);
  return measureLoad(broker, row.workload, plan.seconds, plan.program, plan.tools);
}

function describe(one: Measurement): string {
  if (one.startUpMs > 0) return `${one.startUpMs.toFixed(0)} ms`;
  if (one.perS === 0) return `${one.kibPerConnection} KiB per connection`;
  return `${one.cpuUs} us/msg, ${one.perS} msg/s, p50 ${one.p50Us} us, p99 ${one.p99Us} us, lost ${one.lost}`;
}

function writeJson(file: string, plan: Plan, results: readonly RowResult[], checks: readonly Check[]): void {
  const content = {
    machine: describeMachine(),
    versions: plan.brokers.map(readVersion),
    load: plan.program,
    command: process.argv.slice(1).map((word) => word.replace(`${root}/`, '')),
    runs: plan.runs,
    seconds: plan.seconds,
    rows: results.map(({ row, runs }) => ({
      id: row.id,
      brokers: [...runs].map(([broker, all]) => ({ broker, median: medianOf(all), runs: all })),
    })),
    checks,
  };
  writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`);
}

function describeMachine(): string {
  return `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}, Linux ${release()}${canPin ? '' : ', not pinned'}`;
}

/** Runs the plan; returns whether all is well. */
async function compareBrokers(plan: Plan): Promise<boolean> {
  if (plan.brokers.length === 0 || plan.rows.length === 0)
    throw new Error('Cannot compare: no broker or no row is left');
  if (!canPin) say('not pinned: it takes two cores and taskset to keep the load away from the broker');
  const results: RowResult[] = [];
  for (const row of plan.rows) results.push(await runRow(row, plan));
  const checks = plan.smoke ? [] : judge(results);
  const command = ['npm run bench:mqtt --', ...process.argv.slice(2)].join(' ');
  const intro = [
    `\`${command}\`: medians of ${plan.runs} runs of ${plan.seconds} s, load by ${plan.program}; over TLS and WebSocket by ringmq`,
    describeMachine(),
  ];
  process.stdout.write(`${[...intro, ...plan.brokers.map(readVersion)].join('\n')}\n\n${formatFigures(results)}\n`);
  if (checks.length > 0) process.stdout.write(`\n${formatChecks(checks)}\n`);
  if (plan.jsonFile !== undefined) writeJson(plan.jsonFile, plan, results, checks);
  const measured = results.flatMap(({ row, runs }) => (row.kind === 'load' ? [...runs.values()].flat() : []));
  if (measured.some((one) => one.perS === 0)) throw new Error('Cannot compare: a broker delivered nothing');
  return checks.every((check) => check.isKept);
}

const folder = mkdtempSync(join(tmpdir(), 'ringmq-bench-tools-'));
try {
  if (!(await compareBrokers(await readPlan(process.argv.slice(2), folder)))) process.exitCode = 1;
} catch (error) {
  say(`bench:mqtt: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
