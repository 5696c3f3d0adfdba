/**
 * Power loss: the process dies and everything that it had not synced is gone, on one node, on all three at the same moment,
 * on one of three. Nothing acknowledged may be lost. The control is the same with syncs that do nothing: there the checks
 * must find lost writes, or they would find nothing elsewhere either.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findLazyFs, LazyDisk, type LazyFsBuild } from '../lazy-disk.ts';
import { LyingDisk } from '../lying-disk.ts';
import type { ClusterNode } from '../nodes.ts';
import { type RoundContext, type RunOptions, type RunResult, runRounds, type Scenario } from '../rounds.ts';

const LEADER_LIMIT_MS = 30_000;
/** A node that has joined writes who it is until it votes; without that it would not start again. */
const SETTLED_MS = 3_000;
/** Time for acknowledged writes that are on no disk. */
const LIE_MS = 600;

/** With fewer the nodes hardly worked, and nothing was put to the test. */
const WRITES_PER_ROUND_MIN = 20;

/** Losses of one run of rounds, with the disks that they happen to. */
class Outage {
  readonly scenario: Scenario;
  private readonly disks: ReadonlyMap<string, LazyDisk>;
  private readonly liar: LyingDisk | null;

  constructor(disks: ReadonlyMap<string, LazyDisk>, liar: LyingDisk | null) {
    this.disks = disks;
    this.liar = liar;
    this.scenario = {
      cluster: {
        size: disks.size,
        dataOf: (name) => join(this.diskOf(name).path, 'data'),
        environment: liar?.environment ?? {},
      },
      disturb: (context) => this.disturb(context),
    };
  }

  private async disturb(context: RoundContext): Promise<string> {
    const { cluster, random, index, note } = context;
    const isAll = index % 2 === 0 || this.disks.size === 1;
    const victims = isAll ? cluster.nodes : [random.pick(cluster.nodes)];
    if (this.liar !== null) {
      await sleep(SETTLED_MS);
      this.liar.beginToLie();
      await sleep(LIE_MS);
    }
    const times = this.liar === null && random.chance(0.3) ? 2 : 1;
    for (let time = 0; time < times; time++) {
      // The second time hits nodes that have just begun to serve, or have not caught up.
      if (time > 0) await sleep(random.between(0, 200));
      await this.losePower(victims);
      this.liar?.stopLying();
      await startAll(victims);
    }
    const startMs = performance.now();
    await cluster.waitForLeader(LEADER_LIMIT_MS);
    for (const node of victims) await cluster.waitUntilCaughtUp(node, LEADER_LIMIT_MS);
    note('caught up after the loss', performance.now() - startMs);
    const who = victims.length > 1 ? `all ${victims.length}` : victims[0].name;
    return `${who} lost power${times === 2 ? ' twice' : ''}${this.liar === null ? '' : ' and had not synced'}`;
  }

  private async losePower(victims: readonly ClusterNode[]): Promise<void> {
    // The signals go out together, before anything is waited for.
    await Promise.all(victims.map((node) => node.kill()));
    await Promise.all(victims.map(({ name }) => this.diskOf(name).losePower()));
  }

  private diskOf(name: string): LazyDisk {
    const disk = this.disks.get(name);
    if (disk === undefined) throw new Error(`There is no disk for ${name}`);
    return disk;
  }
}

/** Throws the first failure, when every start has ended one way or the other: none may hold a disk unseen. */
async function startAll(nodes: readonly ClusterNode[]): Promise<void> {
  const results = await Promise.allSettled(nodes.map((node) => node.start()));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

interface Tools {
  readonly build: LazyFsBuild;
  readonly liar: LyingDisk;
  readonly say: (line: string) => void;
}

/** Each part has as many rounds as asked for. Null, and says why, when it cannot run here. */
export async function power(options: RunOptions, lazyFsFolder: string): Promise<RunResult | null> {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-power-'));
  try {
    const tools = prepare(lazyFsFolder, folder, options.say);
    return tools === null ? null : await runParts(tools, options);
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function prepare(lazyFsFolder: string, folder: string, say: (line: string) => void): Tools | null {
  try {
    return { build: findLazyFs(lazyFsFolder), liar: LyingDisk.make(folder), say };
  } catch (error) {
    say(`Cannot run: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  }
}

async function runParts(tools: Tools, options: RunOptions): Promise<RunResult> {
  const parts: RunResult[] = [];
  for (const size of [1, 3]) {
    options.say(`${size === 1 ? 'one node' : `${size} nodes`}, ${options.rounds} rounds`);
    const part = await withDisks(tools, size, null, (scenario) => runRounds(scenario, options));
    const wanted = part.rounds * WRITES_PER_ROUND_MIN;
    const problem = `${size} nodes acknowledged ${part.uniqueWrites} single writes, which proves little`;
    parts.push(part.uniqueWrites < wanted ? { ...part, problems: [...part.problems, problem] } : part);
  }
  if (parts.every(({ problems }) => problems.length === 0)) parts.push(await runControl(tools, options));
  return sum(parts);
}

/** A round without syncs must end in a lost acknowledged write, on one node and on three. */
async function runControl(tools: Tools, options: RunOptions): Promise<RunResult> {
  options.say(`control, syncs do nothing, ${options.rounds} rounds`);
  const problems: string[] = [];
  let uniqueWrites = 0;
  let operations = 0;
  for (let round = 0; round < options.rounds; round++) {
    const size = round % 2 === 0 ? 1 : 3;
    const once: RunOptions = { ...options, rounds: 1, seed: options.seed + round, say: () => undefined };
    const result = await withDisks(tools, size, tools.liar, (scenario) => runRounds(scenario, once));
    operations += result.operations;
    uniqueWrites += result.uniqueWrites;
    const lost = countLost(result.problems);
    options.say(`control ${round}: ${size} without syncs, ${lost} of ${result.uniqueWrites} single writes found lost`);
    if (lost === 0) problems.push(`control ${round}: ${size} without syncs lost nothing that the checks could see`);
  }
  return { rounds: options.rounds, operations, uniqueWrites, problems, durations: new Map() };
}

/** Every node that was asked says it of every write. */
function countLost(problems: readonly string[]): number {
  return new Set(problems.flatMap((problem) => /the acknowledged (\S+) .*is lost/.exec(problem)?.[1] ?? [])).size;
}

async function withDisks(
  { build, say }: Tools,
  size: number,
  liar: LyingDisk | null,
  run: (scenario: Scenario) => Promise<RunResult>,
): Promise<RunResult> {
  const place = mkdtempSync(join(tmpdir(), 'ringmq-disks-'));
  const disks = new Map<string, LazyDisk>();
  let isKept = true;
  try {
    for (let number = 1; number <= size; number++) {
      const name = `node-${number}`;
      disks.set(name, await LazyDisk.mount(build, join(place, name)));
    }
    const result = await run(new Outage(disks, liar).scenario);
    isKept = liar === null && result.problems.length > 0;
    return result;
  } finally {
    liar?.stopLying();
    for (const disk of disks.values()) await disk.unmount();
    if (isKept) say(`What the disks hold is kept in ${place}`);
    else rmSync(place, { recursive: true, force: true, maxRetries: 5 });
  }
}

function sum(parts: readonly RunResult[]): RunResult {
  const durations = new Map<string, readonly number[]>();
  for (const part of parts) {
    for (const [what, all] of part.durations) durations.set(what, [...(durations.get(what) ?? []), ...all]);
  }
  const total = (value: (part: RunResult) => number): number => parts.reduce((all, part) => all + value(part), 0);
  return {
    rounds: total(({ rounds }) => rounds),
    operations: total(({ operations }) => operations),
    uniqueWrites: total((part) => part.uniqueWrites),
    problems: parts.flatMap(({ problems }) => problems),
    durations,
  };
}
