/** From one node to three to five and back to three, while clients work: nobody is to notice more than a retry. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../simulation/random.ts';
import { checkRound, checkWatch } from '../checks.ts';
import { Cluster } from '../cluster.ts';
import { defaultLoad, Load } from '../load.ts';
import type { ClusterNode } from '../nodes.ts';
import type { RunOptions, RunResult } from '../rounds.ts';
import { WatchRecorder } from '../watch-recorder.ts';

const VOTERS_LIMIT_MS = 30_000;
const WATCH_LIMIT_MS = 15_000;
const SETTLE_MS = 700;

/** Runs it `options.rounds` times, each with a new cluster. */
export async function grow(options: RunOptions): Promise<RunResult> {
  const problems: string[] = [];
  const durations = new Map<string, number[]>();
  let operations = 0;
  let uniqueWrites = 0;
  let rounds = 0;
  const startMs = performance.now();
  while (rounds < options.rounds && problems.length === 0) {
    if (options.secondsMax > 0 && performance.now() - startMs > options.secondsMax * 1000) break;
    const note = (what: string, ms: number): void => {
      durations.set(what, [...(durations.get(what) ?? []), ms]);
    };
    const result = await growOnce(new Random(options.seed + rounds), note, options.say);
    problems.push(...result.problems);
    operations += result.operations;
    uniqueWrites += result.uniqueWrites;
    rounds++;
  }
  return { rounds, operations, uniqueWrites, problems, durations };
}

interface GrowResult {
  readonly operations: number;
  readonly uniqueWrites: number;
  readonly problems: readonly string[];
}

async function growOnce(
  random: Random,
  note: (what: string, ms: number) => void,
  say: (line: string) => void,
): Promise<GrowResult> {
  const cluster = await Cluster.start({ size: 1, spares: 4 });
  // Pinned clients of nodes that do not exist yet, or not any more, would fail by design.
  const options = { ...defaultLoad, pinnedPerNode: 0, roaming: 8 };
  const load = await Load.open(cluster.nodes, random.fork('load'), options);
  const watch = await WatchRecorder.open(cluster.nodes);
  try {
    const round = load.begin('grow');
    await sleep(SETTLE_MS);
    for (const voters of [2, 3, 4, 5]) {
      const startMs = performance.now();
      await cluster.nodes[voters - 1].start();
      await cluster.waitForVoters(voters, VOTERS_LIMIT_MS);
      note('join until it votes', performance.now() - startMs);
      await sleep(SETTLE_MS);
    }
    // First the leader itself, then somebody else.
    const first = await cluster.waitForLeader(VOTERS_LIMIT_MS);
    await remove(cluster, first.node, 4, note);
    await sleep(SETTLE_MS);
    const second = await cluster.waitForLeader(VOTERS_LIMIT_MS);
    await remove(cluster, random.pick(cluster.running.filter((node) => node !== second.node)), 3, note);
    await sleep(SETTLE_MS);
    await load.end();
    note('pause of writes', round.pauseMsMax);
    for (const node of cluster.running) await cluster.waitUntilCaughtUp(node, VOTERS_LIMIT_MS);
    const problems = await checkRound(cluster, round, options.keys);
    problems.push(...(await checkWatch(watch, round, WATCH_LIMIT_MS)));
    for (const failure of round.roamingFailures) problems.push(`An operation failed: ${failure}`);
    say(
      `grown and shrunk: ${round.operations} operations, ${round.unique.size} single writes, ` +
        `${round.roamingFailures.length} failed, writes paused for ${Math.round(round.pauseMsMax)} ms`,
    );
    if (problems.length > 0) say(await cluster.describe());
    return { operations: round.operations + round.unique.size, uniqueWrites: round.unique.size, problems };
  } finally {
    load.close();
    await watch.close();
    await cluster.destroy();
  }
}

/** Takes the node out of the group, and then down. */
async function remove(
  cluster: Cluster,
  node: ClusterNode,
  votersAfter: number,
  note: (what: string, ms: number) => void,
): Promise<void> {
  const startMs = performance.now();
  const replica = (await cluster.status(node))?.replica ?? '';
  const { node: leader } = await cluster.waitForLeader(VOTERS_LIMIT_MS);
  const client = await cluster.observer(leader);
  try {
    await client.members.remove(replica);
  } catch (error) {
    // A leader that removes itself may be gone before it has answered: what counts is whether it is a member.
    if (leader !== node) throw error;
  }
  const rest = cluster.running.filter((one) => one !== node);
  await cluster.until(VOTERS_LIMIT_MS, `${node.name} is still a member`, async () => {
    const found = await cluster.findLeader(rest);
    const status = found === null ? null : await cluster.status(found.node);
    const isGone = status !== null && !status.members.some((member) => member.replica === replica);
    return isGone && status.members.length === votersAfter ? true : null;
  });
  note('removal', performance.now() - startMs);
  await node.stop();
}
