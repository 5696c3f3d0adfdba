/**
 * Real faults on real processes, as many as asked for:
 *
 *   node test/cluster/run.ts [--scenario kill|pause|partition|disk|grow|snapshot|power] [--rounds 200] [--seed 1]
 *                            [--seconds MAX] [--state-mib 1024] [--lazyfs BUILD] [--json FILE]
 *
 * Status 0: everything held; 1: something did not; 2: it cannot run here. The seed chooses victims, faults and times; what
 * the machine does in between no seed can repeat.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { electionTimeoutMs } from './cluster.ts';
import { countLate, describeDurations } from './durations.ts';
import { type RunOptions, type RunResult, runRounds, type Scenario } from './rounds.ts';
import { prepareDisk } from './scenarios/disk.ts';
import { grow } from './scenarios/grow.ts';
import { kill } from './scenarios/kill.ts';
import { partition } from './scenarios/partition.ts';
import { pause } from './scenarios/pause.ts';
import { power } from './scenarios/power.ts';
import { snapshot } from './scenarios/snapshot.ts';

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'kill' },
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '0' },
    'state-mib': { type: 'string', default: '1024' },
    lazyfs: { type: 'string', default: process.env.RINGMQ_LAZYFS ?? '' },
    json: { type: 'string' },
  },
});

type Runner = (options: RunOptions) => Promise<RunResult | null>;

const scenarios = new Map<string, Runner>([
  ['kill', (options) => runRounds(kill, options)],
  ['pause', (options) => runRounds(pause, options)],
  ['partition', (options) => runRounds(partition, options)],
  ['disk', runDisk],
  ['grow', (options) => grow({ ...options, rounds: values.rounds === '200' ? 1 : options.rounds })],
  ['snapshot', () => snapshot({ stateMib: toNumber('--state-mib', values['state-mib']), say })],
  ['power', (options) => power({ ...options, rounds: values.rounds === '200' ? 20 : options.rounds }, values.lazyfs)],
]);

async function runDisk(options: RunOptions): Promise<RunResult | null> {
  const { scenario, release } = prepareDisk(say);
  try {
    const obstacle = obstacleOf(scenario);
    if (obstacle === null) return await runRounds(scenario, options);
    say(`Cannot run: ${obstacle}`);
    return null;
  } finally {
    release();
  }
}

function obstacleOf(scenario: Scenario): string | null {
  return scenario.obstacle?.() ?? null;
}

function toNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`Cannot use ${flag} "${text}": expected a whole number`);
  return value;
}

async function main(): Promise<number> {
  const runner = scenarios.get(values.scenario);
  if (runner === undefined) {
    say(`Cannot run "${values.scenario}": expected ${[...scenarios.keys()].join(', ')}`);
    return 2;
  }
  const result = await runner({
    rounds: toNumber('--rounds', values.rounds),
    seed: toNumber('--seed', values.seed),
    secondsMax: toNumber('--seconds', values.seconds),
    say,
  });
  if (result === null) return 2;
  process.stdout.write(describe(result));
  if (values.json !== undefined) {
    const content = { scenario: values.scenario, seed: values.seed, ...result, durations: [...result.durations] };
    writeFileSync(values.json, `${JSON.stringify(content, undefined, 2)}\n`);
  }
  return result.problems.length === 0 ? 0 : 1;
}

function describe(result: RunResult): string {
  const { rounds, operations, uniqueWrites, problems, durations } = result;
  const lines = [
    `${values.scenario}, seed ${values.seed}: ${rounds} rounds, ${operations} operations, ${uniqueWrites} single writes`,
    ...describeDurations(durations),
  ];
  for (const [what, all] of durations) {
    if (!what.startsWith('new leader')) continue;
    const late = countLate(all, 2 * electionTimeoutMs);
    lines.push(
      `${what}: ${late} of ${all.length} took longer than two election time-outs (${2 * electionTimeoutMs} ms)`,
    );
  }
  lines.push(problems.length === 0 ? 'everything held' : `${problems.length} PROBLEMS`);
  for (const problem of problems.slice(0, 20)) lines.push(`- ${problem}`);
  return `${lines.join('\n')}\n`;
}

process.exitCode = await main();
