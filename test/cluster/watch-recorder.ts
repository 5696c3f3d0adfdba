/** A watch of all keys from the first revision on that outlives everything; notes what it was told. Thread of the test. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlacementClient } from '../../src/rpc/client/placement-client.ts';
import { WatchEventType } from '../../src/rpc/generated/ringmq/placement/v1/watch.ts';
import { textOf } from './load.ts';
import type { ClusterNode } from './nodes.ts';

interface Seen {
  /** Null: removed. */
  readonly value: string | null;
}

export class WatchRecorder {
  private readonly client: PlacementClient;
  private readonly abort = new AbortController();
  private readonly done: Promise<void>;
  private readonly events = new Map<string, Seen>();
  private problems: string[] = [];
  private reported = 0;
  private lastEventRevision = 0;

  private constructor(client: PlacementClient) {
    this.client = client;
    this.done = this.run();
  }

  static async open(nodes: readonly ClusterNode[]): Promise<WatchRecorder> {
    return new WatchRecorder(await PlacementClient.create({ servers: nodes.map(({ address }) => address) }));
  }

  /** Everything up to here was reported. */
  get revision(): number {
    return this.reported;
  }

  /** Events that were noted and not forgotten. */
  get eventCount(): number {
    return this.events.size;
  }

  eventAt(revision: number, key: string): Seen | undefined {
    return this.events.get(`${revision} ${key}`);
  }

  /** Resolves with whether the watch comes to `revision` in time. */
  async reaches(revision: number, limitMs: number): Promise<boolean> {
    const limit = performance.now() + limitMs;
    while (this.reported < revision && performance.now() < limit) await sleep(10);
    return this.reported >= revision;
  }

  /** What was wrong with the stream itself. */
  takeProblems(): string[] {
    const { problems } = this;
    this.problems = [];
    return problems;
  }

  forget(): void {
    this.events.clear();
  }

  async close(): Promise<void> {
    this.abort.abort();
    this.client.close();
    await this.done;
  }

  private async run(): Promise<void> {
    try {
      for await (const { revision, events } of this.client.watch(
        { prefix: '' },
        { fromRevision: 1, signal: this.abort.signal },
      )) {
        for (const { type, item } of events) {
          if (item === undefined) continue;
          const key = textOf(item.key);
          if (item.modRevision < this.lastEventRevision) {
            this.problems.push(`The watch went back from revision ${this.lastEventRevision} to ${item.modRevision}`);
          }
          if (this.eventAt(item.modRevision, key) !== undefined) {
            this.problems.push(`The watch told revision ${item.modRevision} of ${key} twice`);
          }
          this.lastEventRevision = item.modRevision;
          const value = type === WatchEventType.DELETE ? null : textOf(item.value);
          this.events.set(`${item.modRevision} ${key}`, { value });
        }
        if (revision < this.reported) this.problems.push(`The watch went back from ${this.reported} to ${revision}`);
        this.reported = Math.max(this.reported, revision);
      }
    } catch (error) {
      if (!this.abort.signal.aborted) this.problems.push(`The watch ended: ${String(error)}`);
    }
  }
}
