/**
 * Nodes of a cluster as real processes on loopback, each with a data folder and a port that stay the same over its lives.
 * Used by the scenarios; thread of the test.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrokerProcess, type LogLine } from '../support/broker-process.ts';

export interface NodeOptions {
  readonly name: string;
  readonly data: string;
  /** Of node-to-node traffic and of clients. */
  readonly port: number;
  /** Where to ask for membership at the first start; none founds the cluster. */
  readonly join: readonly string[];
  /** Where the others are reached from here, by name; without an entry where they say. */
  readonly peers: ReadonlyMap<string, string>;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Variables of the process, beside the path of programs. */
  readonly environment: Readonly<Record<string, string>>;
}

export class ClusterNode {
  readonly name: string;
  readonly data: string;
  /** Where clients reach it. */
  readonly address: string;
  /** Log lines of level error of all lives. */
  readonly errors: LogLine[] = [];
  private readonly options: NodeOptions;
  private process: BrokerProcess | null = null;
  private isPausedNow = false;

  constructor(options: NodeOptions) {
    this.options = options;
    this.name = options.name;
    this.data = options.data;
    this.address = `127.0.0.1:${options.port}`;
    mkdirSync(options.data, { recursive: true });
  }

  get isRunning(): boolean {
    return this.process?.isRunning ?? false;
  }

  get isPaused(): boolean {
    return this.isPausedNow;
  }

  get pid(): number {
    return this.process?.pid ?? 0;
  }

  /** Log of the life that is or was last. */
  get log(): string {
    return this.process?.log ?? '';
  }

  /** Resolves when the node says that it is ready. */
  async start(): Promise<void> {
    if (this.isRunning) return;
    const { options } = this;
    const peers = [...options.peers].map(([name, address]) => ({ name, address }));
    this.process = await BrokerProcess.start({
      workers: 1,
      data: this.data,
      settings: { 'cluster.name': this.name, 'cluster.peers': peers, ...options.settings },
      environment: options.environment,
      flags: ['--cluster', this.address, ...(options.join.length === 0 ? [] : ['--join', options.join.join(',')])],
    });
  }

  /** As a crash does: no flush, no goodbye. Resolves when the process is gone. */
  async kill(): Promise<void> {
    await this.process?.kill();
    this.isPausedNow = false;
    this.keepErrors();
  }

  /** Resolves when the process has ended by itself, within `limitMs`; answers whether it did. */
  async hasEnded(limitMs: number): Promise<boolean> {
    if (this.process === null) return true;
    const limit = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => limit.resolve(false), limitMs);
    const hasEnded = await Promise.race([this.process.exited.then(() => true), limit.promise]);
    clearTimeout(timer);
    return hasEnded;
  }

  /** SIGSTOP: the kernel goes on taking bytes for it. */
  pause(): void {
    this.process?.signal('SIGSTOP');
    this.isPausedNow = true;
  }

  resume(): void {
    this.process?.signal('SIGCONT');
    this.isPausedNow = false;
  }

  /** Orderly end; throws when it is not orderly. */
  async stop(): Promise<void> {
    if (!this.isRunning) return;
    this.resume();
    await this.process?.stop();
    this.keepErrors();
  }

  private keepErrors(): void {
    this.errors.push(...(this.process?.logLines ?? []).filter(({ level }) => level === 'error'));
  }
}

/** Ports that were free a moment ago, all different. */
export async function findFreePorts(amount: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: amount }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** A folder for all nodes of a run, and the way to remove it. */
export function makeRunFolder(): { readonly path: string; nodeFolder(name: string): string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'ringmq-cluster-'));
  return {
    path,
    nodeFolder: (name) => join(path, name),
    remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}
