/** Networks that break between the nodes, while every client still reaches every node. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultNetwork } from '../../support/fault-proxy.ts';
import { electionTimeoutMs } from '../cluster.ts';
import type { RoundContext, Scenario } from '../rounds.ts';

const LEADER_LIMIT_MS = 15_000;

export const partition: Scenario = { cluster: { size: 3, hasFaultNetwork: true }, disturb };

interface Fault {
  readonly name: string;
  /** The others have to choose a new leader. */
  readonly deposes: boolean;
  apply(network: FaultNetwork, context: RoundContext): void;
}

const faults: readonly Fault[] = [
  {
    name: 'leader alone, packets lost',
    deposes: true,
    apply: (network, { leader }) => network.isolate(leader.node.name),
  },
  {
    name: 'follower alone, packets lost',
    deposes: false,
    apply: (network, { follower }) => network.isolate(follower.name),
  },
  {
    name: 'leader alone, ports closed',
    deposes: true,
    apply: (network, { leader }) => network.isolate(leader.node.name, 'cut'),
  },
  {
    name: 'leader speaks and does not hear',
    deposes: true,
    apply: (network, { cluster, leader }) => {
      for (const { name } of cluster.nodes) {
        if (name !== leader.node.name) network.link(name, leader.node.name).set({ isHung: true });
      }
    },
  },
  {
    name: 'leader hears and does not speak',
    deposes: true,
    apply: (network, { cluster, leader }) => {
      for (const { name } of cluster.nodes) {
        if (name !== leader.node.name) network.link(leader.node.name, name).set({ isHung: true });
      }
    },
  },
  {
    name: 'leader and one follower do not reach each other',
    deposes: false,
    apply: (network, { leader, follower }) => {
      network.link(leader.node.name, follower.name).set({ isHung: true });
      network.link(follower.name, leader.node.name).set({ isHung: true });
    },
  },
  {
    name: 'all links slow',
    deposes: false,
    apply: (network, { cluster, random }) => {
      const delayMs = random.between(5, 40);
      for (const a of cluster.nodes) {
        for (const b of cluster.nodes) if (a !== b) network.link(a.name, b.name).set({ delayMs });
      }
    },
  },
  { name: 'all connections reset', deposes: false, apply: (network) => network.resetAll() },
];

async function disturb(context: RoundContext): Promise<string> {
  const { cluster, random, index, leader, note } = context;
  const { network } = cluster;
  if (network === null) throw new Error('The scenario needs proxies between the nodes');
  const fault = faults[index % faults.length];
  const brokenMs = performance.now();
  fault.apply(network, context);
  try {
    if (fault.deposes) {
      const others = cluster.running.filter((node) => node !== leader.node);
      await cluster.waitForLeader(LEADER_LIMIT_MS, leader.term + 1, others);
      note('new leader after a partition', performance.now() - brokenMs);
    }
    await sleep(random.between(electionTimeoutMs, 3 * electionTimeoutMs));
  } finally {
    network.healAll();
  }
  const healedMs = performance.now();
  for (const node of cluster.running) await cluster.waitUntilCaughtUp(node, LEADER_LIMIT_MS);
  note('caught up after healing', performance.now() - healedMs);
  return `${fault.name} for ${Math.round(healedMs - brokenMs)} ms`;
}
