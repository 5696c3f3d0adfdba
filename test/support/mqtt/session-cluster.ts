/** Brokers of one cluster on this machine, each with a data folder that outlives it, and clients that answer by hand. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GroupStatus } from '../../../src/core/ports/placement.ts';
import { BrokerProcess, type BrokerProcessOptions } from '../broker-process.ts';
import { RawClient, type RawConnect } from './raw-client.ts';

const formingMs = 20_000;

export class SessionCluster {
  readonly names: readonly string[];
  readonly errors: string[] = [];
  private readonly folder: string;
  private readonly options: BrokerProcessOptions;
  private readonly brokers = new Map<string, BrokerProcess>();
  private readonly clients: RawClient[] = [];

  private constructor(names: readonly string[], folder: string, options: BrokerProcessOptions) {
    this.names = names;
    this.folder = folder;
    this.options = options;
  }

  /** Resolves when all nodes vote. */
  static async start(names: readonly string[], options: BrokerProcessOptions = {}): Promise<SessionCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-sessions-'));
    const cluster = new SessionCluster(names, folder, options);
    try {
      const [first, ...others] = names;
      await cluster.startNode(first);
      await Promise.all(others.map((name) => cluster.startNode(name)));
      await cluster.formed(names.length);
      for (const name of names) await cluster.ready(name);
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  /** A node that was never there, or that was killed. */
  async startNode(name: string): Promise<void> {
    const data = join(this.folder, name);
    mkdirSync(data, { recursive: true });
    const [first] = this.brokers.values();
    const join_ = first === undefined || first === this.brokers.get(name) ? [] : ['--join', this.address(first)];
    const { settings = {}, workers = 1 } = this.options;
    const broker = await BrokerProcess.start({
      ...this.options,
      ...{ workers, data },
      flags: ['--cluster', '127.0.0.1:0', ...join_],
      settings: { 'cluster.name': name, ...settings },
    });
    this.brokers.set(name, broker);
  }

  broker(name: string): BrokerProcess {
    const broker = this.brokers.get(name);
    if (broker === undefined) throw new Error(`there is no node ${name}`);
    return broker;
  }

  /** kill -9. */
  async kill(name: string): Promise<void> {
    const broker = this.broker(name);
    this.errors.push(...broker.unexpectedErrors);
    await broker.kill();
  }

  async connect(name: string, options?: RawConnect): Promise<RawClient> {
    return this.keep(await RawClient.connect(this.broker(name).port(), options));
  }

  async tryConnect(name: string, options?: RawConnect): Promise<RawClient> {
    return this.keep(await RawClient.tryConnect(this.broker(name).port(), options));
  }

  /** As the node sees the group. */
  async statusOf(name: string): Promise<GroupStatus> {
    const response = await fetch(`http://127.0.0.1:${this.broker(name).port('http')}/api/v1/cluster/status`);
    return (await response.json()) as GroupStatus;
  }

  /** Resolves when the nodes that run see so many voters, and a leader. */
  async formed(count: number): Promise<void> {
    const limit = performance.now() + formingMs;
    for (const [name, broker] of this.brokers) {
      while (broker.isRunning) {
        const { members, leader } = await this.statusOf(name);
        if (leader !== null && members.filter(({ role }) => role === 'voter').length === count) break;
        if (performance.now() > limit) throw new Error(`${name} does not see ${count} voters`);
        await sleep(20);
      }
    }
  }

  /** Resolves when the node lets clients in: it has read the rules, and is registered. */
  async ready(name: string): Promise<void> {
    const limit = performance.now() + formingMs;
    for (;;) {
      const client = await this.tryConnect(name, { clientId: `probe-${name}` });
      await client.cut();
      if (client.connack.returnCode === 0) return;
      if (performance.now() > limit) throw new Error(`${name} refuses: ${JSON.stringify(client.connack)}`);
      await sleep(50);
    }
  }

  /** Ends everything. Throws when a node logged errors. */
  async end(): Promise<void> {
    for (const { socket } of this.clients) socket.destroy();
    for (const name of this.brokers.keys()) await this.kill(name);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    if (this.errors.length > 0) throw new Error(`Nodes logged errors:\n${this.errors.join('\n')}`);
  }

  private address(broker: BrokerProcess): string {
    return `127.0.0.1:${broker.port('cluster')}`;
  }

  private keep(client: RawClient): RawClient {
    this.clients.push(client);
    return client;
  }
}
