/** kill -9 of the leader in every other round, of a follower in the others; it starts again with what its disk has. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RoundContext, Scenario } from '../rounds.ts';

const LEADER_LIMIT_MS = 15_000;

export const kill: Scenario = { cluster: { size: 3 }, disturb };

async function disturb({ cluster, random, index, leader, follower, note }: RoundContext): Promise<string> {
  const isLeader = index % 2 === 0;
  const victim = isLeader ? leader.node : follower;
  const killedMs = performance.now();
  const gone = victim.kill();
  let said = '';
  if (isLeader) {
    const others = cluster.running.filter((node) => node !== victim);
    const next = await cluster.waitForLeader(LEADER_LIMIT_MS, leader.term + 1, others);
    const tookMs = performance.now() - killedMs;
    note('new leader after kill -9', tookMs);
    said = `, ${next.node.name} led after ${Math.round(tookMs)} ms`;
  }
  await gone;
  await sleep(random.between(100, 700));
  const startMs = performance.now();
  await victim.start();
  await cluster.waitUntilCaughtUp(victim, LEADER_LIMIT_MS);
  note('restart until caught up', performance.now() - startMs);
  return `killed ${victim.name} (${isLeader ? 'leader' : 'follower'})${said}`;
}
