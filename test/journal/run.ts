/**
 * The journal and all services over it, over crashes, as many as asked for:
 *
 *   node test/journal/run.ts [--scenario kill|power] [--rounds N] [--seed 1] [--services LIST] [--plant NAME] [--load-ms 400] [--folder DIR]
 *
 * `kill`: kill -9 of a process that hosts them on real files, at a random moment under load, at its start, or while it is compared
 * (default 500 rounds). `power`: simulated disks that lose what was not synced, tear writes at any byte and reorder between files
 * (default 200 rounds: 12 crashes of the journal alone, and 6 of the journal with its services).
 *
 * `--services`: some of producers, transactions, delayed, queues, half; default all. `--plant`: a bug that the checks must find; `--plant
 * list` names them. Status 0: everything held; 1: something did not.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { crashRun, newCounts } from '../unit/journal/crash-run.ts';
import { killRounds } from './kill-rounds.ts';
import { type Plant, plantNamed, plants } from './planted-store.ts';
import { powerRounds } from './power-rounds.ts';
import { type ServiceName, serviceNames } from './store-lines.ts';

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'kill' },
    rounds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    services: { type: 'string', default: serviceNames.join(',') },
    plant: { type: 'string' },
    'load-ms': { type: 'string', default: '400' },
    folder: { type: 'string', default: tmpdir() },
  },
});

const say = (line: string): void => void process.stderr.write(`${line}\n`);

function toNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`Cannot use ${flag} "${text}": expected a whole number`);
  return value;
}

function toServices(text: string): ServiceName[] {
  return text.split(',').map((name) => {
    const known = serviceNames.find((service) => service === name);
    if (known === undefined) throw new Error(`Cannot load "${name}": expected some of ${serviceNames.join(',')}`);
    return known;
  });
}

const seed = toNumber('--seed', values.seed);
const services = toServices(values.services);
const plant: Plant | null = values.plant === undefined || values.plant === 'list' ? null : plantNamed(values.plant);

async function kill(): Promise<string[]> {
  const rounds = toNumber('--rounds', values.rounds ?? '500');
  const loadMsMax = toNumber('--load-ms', values['load-ms']);
  const folder = mkdtempSync(join(values.folder, 'ringmq-journal-'));
  const cacheFolder = mkdtempSync(join(values.folder, 'ringmq-modules-'));
  const began = performance.now();
  const result = await killRounds({ folder, cacheFolder, rounds, seed, loadMsMax, services, plant, say });
  const { problems, ...counts } = result;
  const seconds = Math.round((performance.now() - began) / 1000);
  process.stdout.write(`kill, seed ${seed}, ${seconds} s: ${JSON.stringify(counts, null, 1)}\n`);
  rmSync(cacheFolder, { recursive: true });
  if (problems.length === 0) rmSync(folder, { recursive: true });
  else process.stdout.write(`the data folder is left: ${folder}\n`);
  return problems;
}

async function power(): Promise<string[]> {
  const rounds = toNumber('--rounds', values.rounds ?? '200');
  const began = performance.now();
  const counts = newCounts();
  const problems: string[] = [];
  for (let round = 0; round < rounds && plant === null; round += 1) {
    try {
      crashRun({ seed: seed + round, crashes: 12, callsMax: 700 }, counts);
    } catch (error) {
      problems.push(`seed ${seed + round}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const result = await powerRounds({ seed, rounds, crashes: 6, services, plant, say });
  problems.push(...result.problems);
  const seconds = Math.round((performance.now() - began) / 1000);
  const all = {
    journal: counts,
    services: result.services,
    crashes: result.crashes,
    cutsInOpening: result.cutsInOpening,
  };
  process.stdout.write(`power, seeds ${seed} to ${seed + rounds - 1}, ${seconds} s: ${JSON.stringify(all, null, 1)}\n`);
  return problems;
}

const scenarios = new Map<string, () => Promise<string[]>>([
  ['kill', kill],
  ['power', power],
]);
const scenario = scenarios.get(values.scenario);
if (scenario === undefined) {
  throw new Error(`Cannot run "${values.scenario}": expected ${[...scenarios.keys()].join(' or ')}`);
}
if (values.plant === 'list') {
  for (const [name, service] of Object.entries(plants)) process.stdout.write(`${service.padEnd(13)} ${name}\n`);
} else {
  const problems = await scenario();
  process.stdout.write(problems.length === 0 ? 'everything held\n' : `${problems.length} PROBLEMS\n`);
  for (const problem of problems.slice(0, 20)) process.stdout.write(`- ${problem}\n`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
