/**
 * SIGSTOP of the leader in every other round, of a follower in the others, for longer than an election takes. The leader
 * that comes back believes for a moment that it still leads: it must not answer reads from before its sleep.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { electionTimeoutMs } from '../cluster.ts';
import type { RoundContext, Scenario } from '../rounds.ts';

const LEADER_LIMIT_MS = 15_000;

export const pause: Scenario = { cluster: { size: 3 }, disturb };

async function disturb({ cluster, random, index, leader, follower, note }: RoundContext): Promise<string> {
  const isLeader = index % 2 === 0;
  const victim = isLeader ? leader.node : follower;
  const pausedMs = performance.now();
  victim.pause();
  try {
    if (isLeader) {
      const others = cluster.running.filter((node) => node !== victim);
      await cluster.waitForLeader(LEADER_LIMIT_MS, leader.term + 1, others);
      note('new leader after SIGSTOP', performance.now() - pausedMs);
      await sleep(random.between(0, electionTimeoutMs));
    } else await sleep(random.between(electionTimeoutMs, 4 * electionTimeoutMs));
  } finally {
    victim.resume();
  }
  const resumedMs = performance.now();
  await cluster.waitUntilCaughtUp(victim, LEADER_LIMIT_MS);
  note('caught up after SIGCONT', performance.now() - resumedMs);
  return `paused ${victim.name} (${isLeader ? 'leader' : 'follower'}) for ${Math.round(resumedMs - pausedMs)} ms`;
}
