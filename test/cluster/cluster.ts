/**
 * A cluster of real processes, seen as its operators see it: who leads, who is a member, who is behind. Used by the
 * scenarios; thread of the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import { type GroupStatus, MemberRole, ReplicaRole } from '../../src/rpc/generated/ringmq/placement/v1/group.ts';
import { FaultNetwork } from '../support/fault-proxy.ts';
import { ClusterNode, findFreePorts, makeRunFolder } from './nodes.ts';

/** Ticks and unit of the shortest election time-out, as nodes have them by default. */
const ELECTION_TICKS = 14;
const TICK_MS = 50;
export const electionTimeoutMs = ELECTION_TICKS * TICK_MS;

const STATUS_LIMIT_MS = 500;
const POLL_MS = 10;

export interface ClusterOptions {
  readonly size: number;
  /** Nodes that get a port and may be started later. */
  readonly spares?: number;
  /** Node-to-node traffic goes through proxies that can be broken. */
  readonly hasFaultNetwork?: boolean;
  /** Data folder of a node, where it is not one in the folder of the run. */
  readonly dataOf?: (name: string) => string | undefined;
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Variables of the processes. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Leader {
  readonly node: ClusterNode;
  readonly term: number;
}

export class Cluster {
  /** Also those that were not started yet, or have left. */
  readonly nodes: readonly ClusterNode[];
  readonly network: FaultNetwork | null;
  private readonly observers = new Map<ClusterNode, PlacementClient>();
  private readonly removeFolder: () => void;

  private constructor(nodes: readonly ClusterNode[], network: FaultNetwork | null, removeFolder: () => void) {
    this.nodes = nodes;
    this.network = network;
    this.removeFolder = removeFolder;
  }

  /** Starts `size` nodes one after the other; resolves when all of them vote. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const amount = options.size + (options.spares ?? 0);
    const ports = await findFreePorts(amount);
    const names = ports.map((_, index) => `node-${index + 1}`);
    const network = options.hasFaultNetwork === true ? await makeNetwork(names, ports) : null;
    const folder = makeRunFolder();
    const nodes = names.map(
      (name, index) =>
        new ClusterNode({
          name,
          data: options.dataOf?.(name) ?? folder.nodeFolder(name),
          port: ports[index],
          join: ports.slice(0, Math.min(index, options.size)).map((port) => `127.0.0.1:${port}`),
          peers: new Map(
            network === null
              ? []
              : names.filter((peer) => peer !== name).map((peer) => [peer, network.link(name, peer).address]),
          ),
          settings: options.settings ?? {},
          environment: options.environment ?? {},
        }),
    );
    const cluster = new Cluster(nodes, network, folder.remove);
    try {
      for (const node of nodes.slice(0, options.size)) await node.start();
      await cluster.waitForVoters(options.size, 30_000);
      return cluster;
    } catch (error) {
      await cluster.destroy();
      throw error;
    }
  }

  get running(): readonly ClusterNode[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  /** What the node says of the group; null when it does not answer. */
  async status(node: ClusterNode): Promise<GroupStatus | null> {
    if (!node.isRunning || node.isPaused) return null;
    const observer = await this.observer(node);
    try {
      return (await observer.status({ timeoutMs: STATUS_LIMIT_MS })).group ?? null;
    } catch {
      // Any failure means the same here: it does not say.
      return null;
    }
  }

  /** A client that talks to this node alone. */
  async observer(node: ClusterNode): Promise<PlacementClient> {
    const known = this.observers.get(node);
    if (known !== undefined) return known;
    const client = await PlacementClient.create({ servers: node.address, followLeader: false });
    this.observers.set(node, client);
    return client;
  }

  /** Who says of itself that it leads, in the newest term. */
  async findLeader(among: readonly ClusterNode[] = this.running): Promise<Leader | null> {
    const all = await Promise.all(among.map(async (node) => ({ node, status: await this.status(node) })));
    let found: Leader | null = null;
    for (const { node, status } of all) {
      if (status?.role !== ReplicaRole.LEADER) continue;
      if (found === null || status.term > found.term) found = { node, term: status.term };
    }
    return found;
  }

  /** Waits for a leader among `among` with a term of at least `termMin`. */
  async waitForLeader(limitMs: number, termMin = 0, among?: readonly ClusterNode[]): Promise<Leader> {
    return this.until(limitMs, 'no leader', async () => {
      const leader = await this.findLeader(among);
      return leader !== null && leader.term >= termMin ? leader : null;
    });
  }

  /** Waits until the leader counts exactly so many voters. */
  async waitForVoters(amount: number, limitMs: number): Promise<void> {
    await this.until(limitMs, `there are not ${amount} voters`, async () => {
      const leader = await this.findLeader();
      const status = leader === null ? null : await this.status(leader.node);
      const voters = status?.members.filter(({ role }) => role === MemberRole.VOTER).length;
      return voters === amount ? true : null;
    });
  }

  /** Waits until the node has applied what is committed now. Answers how long it took, ms. */
  async waitUntilCaughtUp(node: ClusterNode, limitMs: number): Promise<number> {
    const startMs = performance.now();
    const { node: leader } = await this.waitForLeader(limitMs);
    const commit = (await this.status(leader))?.commitIndex ?? Number.POSITIVE_INFINITY;
    await this.until(limitMs, `${node.name} is behind index ${commit}`, async () => {
      const status = await this.status(node);
      return status !== null && status.appliedIndex >= commit ? true : null;
    });
    return performance.now() - startMs;
  }

  /** Polls until `probe` answers something; throws with the logs when it does not. */
  async until<T>(limitMs: number, what: string, probe: () => Promise<T | null>): Promise<T> {
    const limit = performance.now() + limitMs;
    for (;;) {
      const answer = await probe();
      if (answer !== null) return answer;
      if (performance.now() > limit) throw new Error(`After ${limitMs} ms ${what}\n${await this.describe()}`);
      await sleep(POLL_MS);
    }
  }

  /** States of all nodes and the ends of their logs, for people. */
  async describe(): Promise<string> {
    const lines = await Promise.all(
      this.nodes.map(async (node) => {
        const status = await this.status(node);
        const state = status === null ? (node.isRunning ? 'silent' : 'not running') : summary(status);
        return [`${node.name} ${node.address}: ${state}`, ...node.log.trim().split('\n').slice(-8)].join('\n    ');
      }),
    );
    return lines.join('\n');
  }

  /** Ends everything, by force. */
  async destroy(): Promise<void> {
    for (const observer of this.observers.values()) observer.close();
    this.observers.clear();
    await Promise.all(this.nodes.map((node) => node.kill()));
    await this.network?.close();
    this.removeFolder();
  }
}

function summary(status: GroupStatus): string {
  const role = Object.entries(ReplicaRole).find(([, number]) => number === status.role)?.[0];
  const { term, leader, commitIndex, appliedIndex, lastIndex, members, fault } = status;
  const voters = members.filter((member) => member.role === MemberRole.VOTER).length;
  const place = `last ${lastIndex}, commit ${commitIndex}, applied ${appliedIndex}`;
  return `${role}, term ${term}, leader ${leader}, ${place}, ${voters} voters of ${members.length}, ${fault ?? 'healthy'}`;
}

async function makeNetwork(names: readonly string[], ports: readonly number[]): Promise<FaultNetwork> {
  const network = new FaultNetwork();
  for (const from of names) {
    for (const [index, to] of names.entries()) {
      if (from !== to) await network.add(from, to, { host: '127.0.0.1', port: ports[index] });
    }
  }
  return network;
}
