/**
 * Rounds of faults under load: begin the load, break something, mend it, stop the load, check everything. The scenarios
 * bring the breaking. Thread of the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../simulation/random.ts';
import { checkRound, checkUnique, checkWatch } from './checks.ts';
import { Cluster, type ClusterOptions, type Leader } from './cluster.ts';
import { defaultLoad, Load, type LoadOptions, type Round } from './load.ts';
import type { ClusterNode } from './nodes.ts';
import { WatchRecorder } from './watch-recorder.ts';

/** The watch may be behind by the time that it takes to notice a dead server and come back. */
const WATCH_LIMIT_MS = 15_000;
const CAUGHT_UP_LIMIT_MS = 20_000;

export interface RunOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Ends after the round in which this has passed; 0 for no limit. */
  readonly secondsMax: number;
  readonly say: (line: string) => void;
}

/** What a scenario does in one round; everything that it breaks is mended when it resolves. */
export interface RoundContext {
  readonly cluster: Cluster;
  readonly random: Random;
  readonly index: number;
  readonly leader: Leader;
  /** A node that does not lead; the leader itself where there is no other. */
  readonly follower: ClusterNode;
  /** Notes a duration of this round, ms. */
  note(what: string, ms: number): void;
}

export interface Scenario {
  readonly cluster: ClusterOptions;
  readonly load?: Partial<LoadOptions>;
  /** Log lines of level error that the faults explain. */
  readonly expectedErrors?: readonly RegExp[];
  /** Why it cannot run here; null when it can. */
  readonly obstacle?: () => string | null;
  /** Answers what was done, in some words. */
  readonly disturb: (context: RoundContext) => Promise<string>;
}

export interface RunResult {
  readonly rounds: number;
  readonly operations: number;
  readonly uniqueWrites: number;
  readonly problems: readonly string[];
  /** All durations, by what they are of, ms. */
  readonly durations: ReadonlyMap<string, readonly number[]>;
}

/** Runs a scenario; stops at the first round with a problem. Throws when the cluster does not come up or back. */
export async function runRounds(scenario: Scenario, options: RunOptions): Promise<RunResult> {
  const random = new Random(options.seed);
  const loadOptions = { ...defaultLoad, ...scenario.load };
  const cluster = await Cluster.start(scenario.cluster);
  const durations = new Map<string, number[]>();
  const note = (what: string, ms: number): void => {
    const list = durations.get(what);
    if (list === undefined) durations.set(what, [ms]);
    else list.push(ms);
  };
  const problems: string[] = [];
  const unique = new Map<string, ReadonlyMap<string, number>>();
  let operations = 0;
  let rounds = 0;
  const startMs = performance.now();
  const load = await Load.open(cluster.nodes, random.fork('load'), loadOptions);
  const watch = await WatchRecorder.open(cluster.nodes);
  try {
    while (rounds < options.rounds && problems.length === 0) {
      if (options.secondsMax > 0 && performance.now() - startMs > options.secondsMax * 1000) break;
      const index = rounds++;
      const round = load.begin(`round-${index}`);
      const what = await disturbOnce(scenario, { cluster, random: random.fork(`round ${index}`), index, note });
      await load.end();
      note('pause of writes', round.pauseMsMax);
      for (const node of cluster.running) await cluster.waitUntilCaughtUp(node, CAUGHT_UP_LIMIT_MS);
      problems.push(...(await checkRound(cluster, round, loadOptions.keys)));
      problems.push(...(await checkWatch(watch, round, WATCH_LIMIT_MS)));
      operations += round.operations + round.unique.size;
      unique.set(round.name, round.unique);
      options.say(describeRound(index, what, round));
    }
    if (problems.length === 0) problems.push(...(await checkAfterKillOfAll(cluster, unique)));
    for (const node of cluster.nodes) {
      for (const line of node.errors) {
        const text = JSON.stringify(line);
        if (!(scenario.expectedErrors ?? []).some((expected) => expected.test(text))) {
          problems.push(`${node.name} logged ${text}`);
        }
      }
    }
    if (problems.length > 0) options.say(await cluster.describe());
  } finally {
    load.close();
    await watch.close();
    await cluster.destroy();
  }
  const uniqueWrites = [...unique.values()].reduce((sum, one) => sum + one.size, 0);
  return { rounds, operations, uniqueWrites, problems, durations };
}

async function disturbOnce(scenario: Scenario, parts: Omit<RoundContext, 'leader' | 'follower'>): Promise<string> {
  const { cluster, random } = parts;
  await sleep(random.between(200, 600));
  const leader = await cluster.waitForLeader(10_000);
  const others = cluster.running.filter((node) => node !== leader.node);
  const follower = others.length === 0 ? leader.node : random.pick(others);
  const what = await scenario.disturb({ ...parts, leader, follower });
  await sleep(300);
  return what;
}

/** The last test: all nodes at once lose their memory, and everything that was ever acknowledged is there. */
async function checkAfterKillOfAll(
  cluster: Cluster,
  unique: ReadonlyMap<string, ReadonlyMap<string, number>>,
): Promise<string[]> {
  const nodes = cluster.running;
  await Promise.all(nodes.map((node) => node.kill()));
  await Promise.all(nodes.map((node) => node.start()));
  const { node } = await cluster.waitForLeader(20_000);
  const client = await cluster.observer(node);
  const problems: string[] = [];
  for (const [round, keys] of unique) problems.push(...(await checkUnique(client, round, keys, 'after a kill of all')));
  return problems;
}

function countByText(texts: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].map(([text, amount]) => `${amount} x ${text}`).join('; ');
}

function describeRound(index: number, what: string, round: Round): string {
  const { operations, unique, pauseMsMax, roamingFailures } = round;
  const failures = roamingFailures.length === 0 ? '' : `, failed for roaming clients: ${countByText(roamingFailures)}`;
  const amount = `${operations} operations, ${unique.size} single writes`;
  return `round ${index}: ${what}; ${amount}, writes paused for ${Math.round(pauseMsMax)} ms${failures}`;
}
