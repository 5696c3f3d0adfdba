/**
 * The partitions that clients have open, by name and by number. Numbers are what travels with each append; one is never given to
 * another partition in the life of the host, so that an append that was on its way to a partition that is gone cannot end up in one
 * that came after it. Thread: the journal worker; owned by the host.
 */
import type { StreamPartition, StreamSettings, StreamStore } from '../../../core/ports/stream-store.ts';

/** Who is told of new records: the link of a client. */
export interface Watcher {
  readonly isClosed: boolean;
  /** `end`: what is new lies below it; -1: not known. */
  committed(slot: number, end: number): void;
}

export class HostedPartition {
  readonly slot: number;
  readonly partition: StreamPartition;
  readonly #watchers = new Set<Watcher>();
  #unsubscribe: (() => void) | null = null;

  constructor(slot: number, partition: StreamPartition) {
    this.slot = slot;
    this.partition = partition;
  }

  /** The client wants to be told when there is something new to read. */
  watch(link: Watcher): void {
    if (link.isClosed) return;
    this.#watchers.add(link);
    this.#unsubscribe ??= this.partition.onCommitted((end = -1) => {
      for (const watcher of this.#watchers) watcher.committed(this.slot, end);
    });
  }

  unwatch(link: Watcher): void {
    this.#watchers.delete(link);
    if (this.#watchers.size === 0) this.end();
  }

  end(): void {
    this.#watchers.clear();
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }
}

export class PartitionTable {
  readonly #store: StreamStore;
  readonly #bySlot = new Map<number, HostedPartition>();
  readonly #byName = new Map<string, HostedPartition>();
  readonly #opening = new Map<string, Promise<HostedPartition>>();
  #slotNext = 1;

  constructor(store: StreamStore) {
    this.#store = store;
  }

  get size(): number {
    return this.#bySlot.size;
  }

  get all(): Iterable<HostedPartition> {
    return this.#bySlot.values();
  }

  /** Undefined when it was removed. */
  get(slot: number): HostedPartition | undefined {
    return this.#bySlot.get(slot);
  }

  /** Rejects like `StreamStore.open`. */
  open(name: string): Promise<HostedPartition> {
    const known = this.#byName.get(name);
    if (known !== undefined) return Promise.resolve(known);
    const opening = this.#opening.get(name);
    if (opening !== undefined) return opening;
    const opened = this.#open(name);
    this.#opening.set(name, opened);
    return opened;
  }

  /** Rejects like `StreamStore.create`. */
  async create(name: string, settings: StreamSettings): Promise<HostedPartition> {
    const partition = await this.#store.create(name, settings);
    return this.#byName.get(name) ?? this.#add(name, partition);
  }

  /** Rejects like `StreamStore.remove`; answers what was open under the name. */
  async remove(name: string): Promise<HostedPartition | null> {
    await this.#store.remove(name);
    const hosted = this.#byName.get(name);
    if (hosted === undefined) return null;
    hosted.end();
    this.#byName.delete(name);
    this.#bySlot.delete(hosted.slot);
    return hosted;
  }

  async #open(name: string): Promise<HostedPartition> {
    try {
      const partition = await this.#store.open(name);
      return this.#byName.get(name) ?? this.#add(name, partition);
    } finally {
      this.#opening.delete(name);
    }
  }

  #add(name: string, partition: StreamPartition): HostedPartition {
    const hosted = new HostedPartition(this.#slotNext, partition);
    this.#slotNext += 1;
    this.#byName.set(name, hosted);
    this.#bySlot.set(hosted.slot, hosted);
    return hosted;
  }
}
