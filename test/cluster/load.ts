/**
 * Clients that read and write while things break, and note all of it. Some talk to one node only, whatever its state, so
 * that a node that answers what it must not is seen; some go where the cluster lives. Used by the scenarios; thread of
 * the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import type { Random } from '../simulation/random.ts';
import { History } from './history.ts';
import type { ClusterNode } from './nodes.ts';

export interface LoadOptions {
  /** Clients that talk to one node only, per node. */
  readonly pinnedPerNode: number;
  /** Clients that know all nodes. */
  readonly roaming: number;
  /** Keys that all clients fight for, new ones in each round. */
  readonly keys: number;
  /** Mean pause of a client between two operations. */
  readonly pauseMs: number;
  /** Writes in flight to keys that are written once. */
  readonly uniqueInFlight: number;
  readonly timeoutMs: number;
}

export const defaultLoad: LoadOptions = {
  pinnedPerNode: 2,
  roaming: 3,
  keys: 6,
  pauseMs: 8,
  uniqueInFlight: 4,
  timeoutMs: 3000,
};

const MISSING = null;

/** One round: its keys, its history, and what was acknowledged. */
export interface Round {
  readonly name: string;
  readonly history: History;
  /** Keys that were written once → revision; -1 where the answer did not tell. */
  readonly unique: Map<string, number>;
  /** Acknowledged writes of shared keys: revision → key and value. */
  readonly revisions: Map<number, readonly [string, string | null]>;
  operations: number;
  /** Operations of roaming clients without an answer in time. */
  roamingFailures: string[];
  /** Longest time without an acknowledged write of a roaming client. */
  pauseMsMax: number;
  lastWriteMs: number;
}

interface Client {
  readonly name: string;
  readonly isRoaming: boolean;
  readonly placement: PlacementClient;
}

export class Load {
  private readonly options: LoadOptions;
  private readonly random: Random;
  private readonly clients: readonly Client[];
  private current: Round | null = null;
  private workers: Promise<void>[] = [];
  private nextValue = 0;

  private constructor(options: LoadOptions, random: Random, clients: readonly Client[]) {
    this.options = options;
    this.random = random;
    this.clients = clients;
  }

  static async open(nodes: readonly ClusterNode[], random: Random, options: LoadOptions = defaultLoad): Promise<Load> {
    const { timeoutMs } = options;
    const clients: Client[] = [];
    for (const node of nodes) {
      for (let i = 0; i < options.pinnedPerNode; i++) {
        const placement = await PlacementClient.create({ servers: node.address, followLeader: false, timeoutMs });
        clients.push({ name: `${node.name}/${i}`, isRoaming: false, placement });
      }
    }
    for (let i = 0; i < options.roaming; i++) {
      const servers = random.shuffle(nodes.map(({ address }) => address));
      const placement = await PlacementClient.create({ servers, timeoutMs: 4 * timeoutMs });
      clients.push({ name: `roaming/${i}`, isRoaming: true, placement });
    }
    return new Load(options, random, clients);
  }

  begin(name: string): Round {
    const round: Round = {
      name,
      history: new History(),
      unique: new Map(),
      revisions: new Map(),
      operations: 0,
      roamingFailures: [],
      pauseMsMax: 0,
      lastWriteMs: performance.now(),
    };
    this.current = round;
    this.workers = this.clients.map((client) => this.work(client, round));
    for (let i = 0; i < this.options.uniqueInFlight; i++) this.workers.push(this.workUnique(round, i));
    return round;
  }

  /** No new operations; resolves when every one that was under way has ended. */
  async end(): Promise<void> {
    const round = this.current;
    this.current = null;
    if (round !== null) this.noteWrite(round);
    await Promise.all(this.workers);
  }

  close(): void {
    this.current = null;
    for (const { placement } of this.clients) placement.close();
  }

  private async work(client: Client, round: Round): Promise<void> {
    const random = this.random.fork(`${round.name}/${client.name}`);
    /** What this client saw last, by key: the starting point of its compare-and-sets. */
    const seen = new Map<string, string | null>();
    while (this.current === round) {
      const key = `${round.name}/${random.below(this.options.keys)}`;
      const dice = random.share();
      const isAnswered = await this.operate(client, round, key, dice, seen);
      round.operations++;
      await sleep(isAnswered ? random.around(this.options.pauseMs) : 20);
    }
  }

  private operate(
    client: Client,
    round: Round,
    key: string,
    dice: number,
    seen: Map<string, string | null>,
  ): Promise<boolean> {
    if (dice < 0.5) return this.get(client, round, key, seen);
    if (dice < 0.78) return this.set(client, round, key);
    if (dice < 0.94) return this.compareAndSet(client, round, key, seen.get(key) ?? MISSING);
    return this.remove(client, round, key);
  }

  private async get(client: Client, round: Round, key: string, seen: Map<string, string | null>): Promise<boolean> {
    const call = round.history.call(client.name, key, { type: 'read', value: null });
    try {
      const { item } = await client.placement.get(key);
      const value = item === undefined ? MISSING : textOf(item.value);
      call.answered({ type: 'read', value });
      seen.set(key, value);
      return true;
    } catch (error) {
      call.nothing();
      return this.failed(client, round, error);
    }
  }

  private async set(client: Client, round: Round, key: string): Promise<boolean> {
    const value = this.makeValue();
    const action = { type: 'write', value } as const;
    const call = round.history.call(client.name, key, action);
    try {
      const { revision, wasRepeated } = await client.placement.set(key, value);
      call.answered(action);
      if (!wasRepeated) round.revisions.set(revision, [key, value]);
      this.acknowledged(client, round);
      return true;
    } catch (error) {
      call.unknown();
      return this.failed(client, round, error);
    }
  }

  private async remove(client: Client, round: Round, key: string): Promise<boolean> {
    const action = { type: 'write', value: MISSING } as const;
    const call = round.history.call(client.name, key, action);
    try {
      const { revision, count, wasRepeated } = await client.placement.delete(key);
      call.answered(action);
      if (!wasRepeated && count > 0) round.revisions.set(revision, [key, MISSING]);
      this.acknowledged(client, round);
      return true;
    } catch (error) {
      call.unknown();
      return this.failed(client, round, error);
    }
  }

  private async compareAndSet(client: Client, round: Round, key: string, expected: string | null): Promise<boolean> {
    const value = this.makeValue();
    const call = round.history.call(client.name, key, { type: 'cas', expected, value, didSet: null });
    try {
      const expectation = expected === MISSING ? { modRevision: 0 } : { value: expected };
      const { succeeded, revision, wasRepeated } = await client.placement.compareAndSet(key, expectation, value);
      call.answered({ type: 'cas', expected, value, didSet: succeeded });
      if (succeeded && !wasRepeated) round.revisions.set(revision, [key, value]);
      if (succeeded) this.acknowledged(client, round);
      return true;
    } catch (error) {
      call.unknown();
      return this.failed(client, round, error);
    }
  }

  /** Writes keys that nobody else writes: each that is acknowledged must be there at the end. */
  private async workUnique(round: Round, index: number): Promise<void> {
    const roaming = this.clients.filter(({ isRoaming }) => isRoaming);
    const client = roaming[index % roaming.length];
    for (let i = 0; this.current === round; i++) {
      const key = `${round.name}/unique/${index}/${i}`;
      try {
        const { revision, wasRepeated } = await client.placement.set(key, key);
        round.unique.set(key, wasRepeated ? -1 : revision);
        this.acknowledged(client, round);
      } catch (error) {
        this.failed(client, round, error);
      }
      await sleep(4);
    }
  }

  private acknowledged(client: Client, round: Round): void {
    if (client.isRoaming) this.noteWrite(round);
  }

  private noteWrite(round: Round): void {
    const now = performance.now();
    round.pauseMsMax = Math.max(round.pauseMsMax, now - round.lastWriteMs);
    round.lastWriteMs = now;
  }

  private failed(client: Client, round: Round, error: unknown): false {
    // Everything else than an error of the API is a defect of the test or the client.
    if (!(error instanceof Error) || !('code' in error)) throw error;
    if (client.isRoaming) round.roamingFailures.push(`${error.code}: ${error.message}`);
    return false;
  }

  private makeValue(): string {
    return `v${this.nextValue++}`;
  }
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
