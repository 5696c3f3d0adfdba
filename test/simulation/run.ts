/**
 * `npm run sim -- --seed N --steps M [--seeds K] [--jobs J] [--canary NAME|all] [--trace]`: runs K seeds from N on; a
 * failure is shrunk and printed with the command that repeats it. With `--canary` the seeds run with a planted bug, which
 * must be found. Exit status 1 when a seed fails, or a canary is not found.
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { canaries, canaryOf } from './canaries/registry.ts';
import type { Mutation } from './mutation.ts';
import { plant } from './plant.ts';
import { type FaultKind, faultKinds, type ProfileLimits } from './profile.ts';
import { commandOf, describeFailure, describeRun, Totals } from './report.ts';
import { shrink } from './shrink.ts';
import { simulate } from './world.ts';

const { values } = parseArgs({
  options: {
    /** Without it another one each time; for planted bugs always 1. */
    seed: { type: 'string' },
    seeds: { type: 'string', default: '1' },
    steps: { type: 'string', default: '8000' },
    jobs: { type: 'string', default: '1' },
    canary: { type: 'string' },
    /** Kinds of faults that are left out, with commas. */
    without: { type: 'string', default: '' },
    /** Kinds that are on in every seed, with commas. */
    with: { type: 'string', default: '' },
    hosts: { type: 'string', default: '7' },
    trace: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
    /** Set by a run with jobs for its children. */
    child: { type: 'boolean', default: false },
  },
});

function wholeNumber(name: 'seed' | 'seeds' | 'steps' | 'jobs' | 'hosts'): number {
  const value = Number(values[name]);
  if (!Number.isSafeInteger(value) || value < (name === 'seed' ? 0 : 1))
    throw new Error(`--${name} takes a whole number`);
  return value;
}

function faultsOf(text: string): FaultKind[] {
  const names = text.split(',').filter((name) => name !== '');
  return names.map((name) => {
    const kind = faultKinds.find((each) => each === name);
    if (kind === undefined) throw new Error(`There is no fault "${name}": there are ${faultKinds.join(', ')}`);
    return kind;
  });
}

values.seed ??= values.canary === undefined ? `${Date.now() % 1_000_000}` : '1';
const first = wholeNumber('seed');
const count = wholeNumber('seeds');
const steps = wholeNumber('steps');
const jobs = Math.min(wholeNumber('jobs'), count);
const limits: ProfileLimits = {
  disabled: faultsOf(values.without),
  hostsMax: wholeNumber('hosts'),
  required: faultsOf(values.with),
};

/** Answers the number of seeds that failed. */
function runSeeds(totals: Totals): number {
  let failed = 0;
  for (let seed = first; seed < first + count; seed++) {
    const report = simulate({ seed, steps, limits, print: values.trace ? (line) => console.log(line) : null });
    totals.add(report);
    if (report.violation === null) {
      if (count === 1) console.log(describeRun(report));
      continue;
    }
    failed++;
    const { report: smallest, limits: smallestLimits, runs } = shrink(report, { limits });
    console.log(describeFailure(smallest));
    console.log(`  shrunk in ${runs} runs; again with: ${commandOf(smallest, smallestLimits, null)}`);
    console.log(`  as it was: ${commandOf(report, limits, null)}: ${report.violation.message}`);
    if (!values['keep-going']) break;
  }
  return failed;
}

/** Answers whether the planted bug was found in time. A seed that fails without the bug as well says nothing. */
async function findCanary(canary: Mutation): Promise<boolean> {
  const planted = canary.edits === undefined ? simulate : await plant(canary.name, canary.edits);
  const own = { ...limits, required: canary.needs };
  for (let tried = 0; tried < canary.seedsMax; tried++) {
    const seed = first + tried;
    const { violation, events } = planted({ seed, steps, limits: own, mutation: canary });
    if (violation === null) continue;
    if (violation.invariant === 'liveness' && canary.mayStall !== true) continue;
    const clean = simulate({ seed, steps, limits: own });
    if (clean.violation !== null) {
      console.log(`spoilt ${canary.name}: seed ${seed} fails without it: ${clean.violation.message.split('\n')[0]}`);
      continue;
    }
    const what = `${violation.invariant} (${events} events): ${violation.message.split('\n')[0]}`;
    console.log(`found  ${canary.name} with ${tried + 1} of ${canary.seedsMax} seeds by ${what}`);
    return true;
  }
  console.log(`MISSED ${canary.name} in ${canary.seedsMax} seeds: ${canary.bug}`);
  return false;
}

async function findCanaries(chosen: readonly Mutation[]): Promise<boolean> {
  let found = 0;
  for (const canary of chosen) {
    try {
      if (await findCanary(canary)) found++;
    } catch (error) {
      // The place where the bug goes is not there any more: the canary has to follow the source.
      console.log(`UNSET  ${canary.name}: ${(error as Error).message}`);
    }
  }
  console.log(`${found === chosen.length ? 'PASS' : 'FAIL'}: ${found} of ${chosen.length} planted bugs found`);
  return found === chosen.length;
}

/** Runs shares of the seeds in processes of their own. */
async function runJobs(totals: Totals): Promise<number> {
  const share = Math.ceil(count / jobs);
  const children = Array.from({ length: jobs }, async (_, i): Promise<number> => {
    const seeds = Math.min(share, count - i * share);
    if (seeds <= 0) return 0;
    const own = ['--seed', `${first + i * share}`, '--seeds', `${seeds}`, '--steps', `${steps}`, '--child'];
    const passedOn = [
      '--without',
      values.without,
      '--hosts',
      values.hosts,
      ...(values['keep-going'] ? ['--keep-going'] : []),
    ];
    const child = spawn(process.execPath, [import.meta.filename, ...own, ...passedOn], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    let failed = 1;
    child.on('message', (message: { failed: number; totals: Parameters<Totals['merge']>[0] }) => {
      failed = message.failed;
      totals.merge(message.totals);
    });
    return new Promise((resolve) => child.on('close', () => resolve(failed)));
  });
  return (await Promise.all(children)).reduce((sum, failed) => sum + failed, 0);
}

async function main(): Promise<boolean> {
  if (values.canary !== undefined) {
    return findCanaries(values.canary === 'all' ? canaries : [canaryOf(values.canary)]);
  }
  const startedAt = performance.now();
  const totals = new Totals();
  const failed = jobs > 1 ? await runJobs(totals) : runSeeds(totals);
  if (values.child) {
    process.send?.({ failed, totals: { runs: totals.runs, sums: [...totals.sums], runsWith: [...totals.runsWith] } });
    return failed === 0;
  }
  const minutes = (performance.now() - startedAt) / 60_000;
  if (count > 1) {
    console.log(totals.describe());
    console.log(
      `${totals.runs} seeds from ${first} on, ${steps} steps each, ${Math.round(totals.runs / minutes)} seeds a minute`,
    );
  }
  console.log(failed === 0 ? 'PASS' : `FAIL: ${failed} seeds failed`);
  return failed === 0;
}

process.exitCode = (await main()) ? 0 : 1;
