/** Runs one load against one broker, with `mqttblast` or `ringmq bench`, pinned to core 1. Used by `../mqtt.ts`. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Broker, root } from './brokers.ts';
import { findFreePort, findProgram, pinned, runToEnd, waitForPort } from './processes.ts';
import { benchFlags, blastFlags, IDLE_CONNECTIONS, isForBlast, type Workload } from './rows.ts';

const LOAD_CORE = 1;
const TOOLS = ['mqttblast', 'wirelimit'];
/** `mqttblast` whose subscribers ask for sessions that are kept: made of its source, which knows clean ones alone. */
const DURABLE_BLAST = 'mqttblast-durable';
const CLEAN_FLAG = 'b[o++] = 2 | (user';
const CLEAN_FLAG_OF_PUBLISHERS = 'b[o++] = (c->sub ? 0 : 2) | (user';

/** What a run showed; those that a row does not measure are 0. */
export interface Measurement {
  /** CPU microseconds of all threads of the broker per delivered message. */
  readonly cpuUs: number;
  readonly perS: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly lost: number;
  readonly kibPerConnection: number;
  readonly startUpMs: number;
}

export type LoadProgram = 'mqttblast' | 'ringmq';

const nothing: Measurement = { cpuUs: 0, perS: 0, p50Us: 0, p99Us: 0, lost: 0, kibPerConnection: 0, startUpMs: 0 };

/** Builds the C programs found in `source` into `target`; returns the paths of those that worked. */
export async function buildTools(source: string, target: string): Promise<Map<string, string>> {
  const built = new Map<string, string>();
  const compiler = findProgram('cc');
  if (compiler === undefined) return built;
  for (const name of TOOLS) {
    const file = join(source, `${name}.c`);
    if (!existsSync(file)) continue;
    const program = join(target, name);
    await runToEnd([compiler, '-O2', '-w', '-o', program, file], 60_000);
    built.set(name, program);
  }
  const text = built.has('mqttblast') ? readFileSync(join(source, 'mqttblast.c'), 'utf8') : '';
  if (text.includes(CLEAN_FLAG)) {
    const file = join(target, `${DURABLE_BLAST}.c`);
    writeFileSync(file, text.replace(CLEAN_FLAG, CLEAN_FLAG_OF_PUBLISHERS));
    await runToEnd([compiler, '-O2', '-w', '-o', join(target, DURABLE_BLAST), file], 60_000);
    built.set(DURABLE_BLAST, join(target, DURABLE_BLAST));
  }
  return built;
}

/** Loads `broker` for `seconds` after a second of warm-up. */
export async function measureLoad(
  broker: Broker,
  workload: Workload,
  seconds: number,
  program: LoadProgram,
  tools: ReadonlyMap<string, string>,
): Promise<Measurement> {
  const limitMs = (seconds + 60) * 1000;
  const blast = tools.get(workload.isDurable ? DURABLE_BLAST : 'mqttblast');
  if (program === 'mqttblast' && blast !== undefined && isForBlast(workload)) {
    const target = ['-p', `${broker.port}`, '-b', `${broker.pid}`, '-d', `${seconds}`];
    const output = await runToEnd(pinned(LOAD_CORE, [blast, ...target, ...blastFlags(workload)]), limitMs);
    return readBlast(output);
  }
  const result = await runBench(broker, ['1:1', ...benchFlags(workload), '--duration', `${seconds}`], limitMs);
  return {
    ...nothing,
    cpuUs: result.broker?.cpuUsPerMessage ?? 0,
    perS: result.receivedPerS,
    p50Us: result.deliveryLatency.p50Us,
    p99Us: result.deliveryLatency.p99Us,
    lost: result.lost,
  };
}

/** Memory per idle connection. */
export async function measureIdle(broker: Broker): Promise<Measurement> {
  const result = await runBench(broker, ['connect', '--clients', `${IDLE_CONNECTIONS}`, '--duration', '3'], 120_000);
  return { ...nothing, kibPerConnection: result.broker?.residentKibPerConnection ?? 0 };
}

/** Why so many connections cannot be opened here, or undefined when they can. */
export function findIdleObstacle(): string | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return Number(soft) < IDLE_CONNECTIONS + 200 ? `only ${soft} files may be open (ulimit -n)` : undefined;
}

/** Time from `npm start` until the MQTT port accepts. Not pinned: it is what a user feels. */
export async function measureStartUp(): Promise<Measurement> {
  const data = mkdtempSync(join(tmpdir(), 'ringmq-bench-'));
  const port = await findFreePort();
  const flags = ['--data', data, '--mqtt', `127.0.0.1:${port}`, '--http', '127.0.0.1:0'];
  const startedMs = performance.now();
  // A group of its own, because npm does not pass every signal on to what it started.
  const child = spawn('npm', ['start', '--silent', '--', ...flags], { cwd: root, stdio: 'ignore', detached: true });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const isReady = await waitForPort(port, 20_000, () => child.exitCode !== null);
  const startUpMs = performance.now() - startedMs;
  if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM');
  await exited;
  rmSync(data, { recursive: true, force: true, maxRetries: 5 });
  if (!isReady) throw new Error('Cannot measure the start-up time: npm start does not open its port');
  return { ...nothing, startUpMs };
}

interface BenchJson {
  readonly receivedPerS: number;
  readonly lost: number;
  readonly deliveryLatency: { readonly p50Us: number; readonly p99Us: number };
  readonly broker: { readonly cpuUsPerMessage: number; readonly residentKibPerConnection: number } | null;
}

async function runBench(broker: Broker, flags: readonly string[], limitMs: number): Promise<BenchJson> {
  const program = [process.execPath, join(root, 'bin', 'ringmq.js'), 'bench', 'mqtt'];
  const target = ['--port', `${broker.port}`, '--pid', `${broker.pid}`, '--json', '--quiet'];
  return JSON.parse(await runToEnd(pinned(LOAD_CORE, [...program, ...flags, ...target]), limitMs)) as BenchJson;
}

function readBlast(output: string): Measurement {
  const found = JSON.parse(output) as Record<'cpu_us_per_msg' | 'recv_per_s' | 'p50_us' | 'p99_us' | 'lost', number>;
  return {
    ...nothing,
    cpuUs: found.cpu_us_per_msg,
    perS: found.recv_per_s,
    p50Us: found.p50_us,
    p99Us: found.p99_us,
    lost: found.lost,
  };
}
