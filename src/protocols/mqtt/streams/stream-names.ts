/** Which partitions streams have, asked of the store not more often than some seconds ago. Thread: one per connection worker. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import { streamPartitionsMax } from '../../../core/streams/stream-catalog.ts';

const freshMs = 5_000;
/** Also for whoever asks for a stream that is not known: clients can ask for as many as they like. */
const forcedMs = 250;

export class StreamNames {
  private readonly store: StreamStore;
  private names: Promise<ReadonlySet<string>> | null = null;
  private askedMs = 0;

  constructor(store: StreamStore) {
    this.store = store;
  }

  /** Names of the partitions in the store, by number; none when there is no such stream. Rejects with StorageError. */
  async partitionsOf(name: string, mustBeNew: boolean): Promise<readonly string[]> {
    let names = await this.ask(freshMs);
    // It may have been made a moment ago.
    if (mustBeNew && !names.has(`${name}-0`)) {
      const waitMs = this.askedMs + forcedMs - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      names = await this.ask(forcedMs);
    }
    const partitions: string[] = [];
    while (partitions.length < streamPartitionsMax && names.has(`${name}-${partitions.length}`))
      partitions.push(`${name}-${partitions.length}`);
    return partitions;
  }

  private ask(ageMsMax: number): Promise<ReadonlySet<string>> {
    const nowMs = performance.now();
    if (this.names !== null && nowMs - this.askedMs < ageMsMax) return this.names;
    this.askedMs = nowMs;
    const names = this.store.names().then((all) => new Set(all));
    this.names = names;
    // What failed is asked again by whoever comes next.
    names.catch(() => {
      if (this.names === names) this.names = null;
    });
    return names;
  }
}
