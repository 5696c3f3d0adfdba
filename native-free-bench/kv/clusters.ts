/** Starts three nodes of RingMQ or of etcd as processes, with their data beside each other. Used by `../kv.ts`. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../mqtt/brokers.ts';
import { findFreePort, findProgram, type Running, running, runToEnd, startUntilLine } from '../mqtt/processes.ts';
import type { SystemName } from './rows.ts';

const NODES = 3;
const LEADER_LIMIT_MS = 20_000;

export interface Cluster {
  /** The leader first. */
  readonly endpoints: readonly string[];
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

const starters: Record<SystemName, (folder: string, nodes: Running[]) => Promise<readonly string[]>> = {
  ringmq: startRingmq,
  etcd: startEtcd,
};

/** Why `system` cannot take part, or undefined when it can. */
export function findObstacle(system: SystemName): string | undefined {
  return system === 'etcd' && findProgram('etcd') === undefined ? 'it is not installed' : undefined;
}

export function readVersion(system: SystemName): string {
  if (system === 'ringmq') return `ringmq, Node ${process.version}`;
  return execFileSync(findProgram('etcd') ?? 'etcd', ['--version'], { encoding: 'utf8' }).split('\n')[0];
}

/** Three nodes on an empty folder; resolves when they have a leader. */
export async function startCluster(system: SystemName, folder: string): Promise<Cluster> {
  const nodes: Running[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()));
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    mkdirSync(folder, { recursive: true });
    const endpoints = await starters[system](folder, nodes);
    return { endpoints, pids: nodes.map((node) => node.pid), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startRingmq(folder: string, nodes: Running[]): Promise<readonly string[]> {
  const addresses: string[] = [];
  for (let i = 0; i < NODES; i++) {
    const address = `127.0.0.1:${await findFreePort()}`;
    const command = [process.execPath, join(root, 'bin', 'ringmq.js'), 'start', '--data', join(folder, `node-${i}`)];
    command.push('--workers', '1', '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0', '--cluster', address);
    if (addresses.length > 0) command.push('--join', addresses.join(','));
    nodes.push(await startUntilLine(command, /^ringmq ready .*\bcluster=/m));
    addresses.push(address);
  }
  return leaderFirst(addresses, async (address) => (await ringmqStatus(address)).isSettledLeader);
}

interface RingmqStatus {
  readonly isSettledLeader: boolean;
}

/** Leads, and all three have a vote. */
async function ringmqStatus(address: string): Promise<RingmqStatus> {
  const command = [process.execPath, join(root, 'bin', 'ringmq.js'), 'ctl', '--server', address];
  const text = await runToEnd([...command, 'cluster', 'status', '--json'], 10_000);
  const status = JSON.parse(text) as { role: string; members: readonly { role: string }[] };
  const voters = status.members.filter((member) => member.role === 'voter').length;
  return { isSettledLeader: status.role === 'leader' && voters === NODES };
}

async function startEtcd(folder: string, nodes: Running[]): Promise<readonly string[]> {
  const members: { name: string; client: string; peer: string }[] = [];
  for (let i = 0; i < NODES; i++) {
    const [client, peer] = [`127.0.0.1:${await findFreePort()}`, `127.0.0.1:${await findFreePort()}`];
    members.push({ name: `node-${i}`, client, peer });
  }
  const initial = members.map(({ name, peer }) => `${name}=http://${peer}`).join(',');
  for (const { name, client, peer } of members) {
    const flags = ['--name', name, '--data-dir', join(folder, name), '--log-level', 'error'];
    flags.push('--listen-client-urls', `http://${client}`, '--advertise-client-urls', `http://${client}`);
    flags.push('--listen-peer-urls', `http://${peer}`, '--initial-advertise-peer-urls', `http://${peer}`);
    flags.push('--initial-cluster', initial, '--initial-cluster-state', 'new');
    nodes.push(running(spawn(findProgram('etcd') ?? 'etcd', flags, { stdio: 'ignore' })));
  }
  const endpoints = members.map(({ client }) => client);
  return leaderFirst(endpoints, isEtcdLeader);
}

async function isEtcdLeader(endpoint: string): Promise<boolean> {
  const response = await fetch(`http://${endpoint}/v3/maintenance/status`, { method: 'POST', body: '{}' });
  const status = (await response.json()) as { header?: { member_id?: string }; leader?: string };
  return status.leader !== undefined && status.leader === status.header?.member_id;
}

async function leaderFirst(
  endpoints: readonly string[],
  isLeader: (endpoint: string) => Promise<boolean>,
): Promise<readonly string[]> {
  const limit = performance.now() + LEADER_LIMIT_MS;
  let last: unknown;
  while (performance.now() < limit) {
    for (const endpoint of endpoints) {
      try {
        if (await isLeader(endpoint)) return [endpoint, ...endpoints.filter((one) => one !== endpoint)];
      } catch (error) {
        // Not up yet; said below when it stays so.
        last = error;
      }
    }
    await sleep(100);
  }
  throw new Error(`Cannot find a leader of ${endpoints.join(', ')}`, { cause: last });
}
