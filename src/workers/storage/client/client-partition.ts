/** A partition as a thread sees it that uses the storage through a link. Made by the storage client of the thread. */
import type {
  AppendDone,
  CommittedListener,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StreamPartition,
  TimedOffset,
} from '../../../core/ports/stream-store.ts';
import type { StorageError } from '../../../core/streams/storage-error.ts';
import type { StorageCall } from '../messages.ts';

export interface PartitionOwner {
  append(partition: ClientPartition, bytes: Buffer, done: AppendDone): void;
  read(partition: ClientPartition, request: ReadRequest): Promise<ReadAnswer>;
  /** A call that can be made twice. */
  ask(make: () => StorageCall): Promise<unknown>;
}

export class ClientPartition implements StreamPartition {
  readonly name: string;
  /** Its number at the present host. */
  slot: number;
  /** Why it cannot be used any more, or not at the present host. */
  failure: StorageError | null = null;
  readonly #owner: PartitionOwner;
  readonly #listeners = new Set<CommittedListener>();

  constructor(name: string, slot: number, owner: PartitionOwner) {
    this.name = name;
    this.slot = slot;
    this.#owner = owner;
  }

  append(bytes: Buffer, done: AppendDone): void {
    this.#owner.append(this, bytes, done);
  }

  read(request: ReadRequest): Promise<ReadAnswer> {
    return this.#owner.read(this, request);
  }

  async places(): Promise<PartitionPlaces> {
    return (await this.#owner.ask(() => ({ call: 'places', slot: this.usableSlot() }))) as PartitionPlaces;
  }

  async offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    const found = await this.#owner.ask(() => ({ call: 'offset-for-time', slot: this.usableSlot(), timestamp }));
    return found as TimedOffset | null;
  }

  async deleteBefore(offset: number): Promise<number> {
    return (await this.#owner.ask(() => ({ call: 'delete-before', slot: this.usableSlot(), offset }))) as number;
  }

  onCommitted(listener: CommittedListener): () => void {
    // A listener that is given twice is told twice.
    const own: CommittedListener = (end) => listener(end);
    this.#listeners.add(own);
    if (this.#listeners.size === 1) this.watch();
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      this.#tell('unwatch');
    };
  }

  /** Asks the present host for word of what is new, if anybody wants it. */
  watch(): void {
    if (this.#listeners.size > 0) this.#tell('watch');
  }

  committed(end?: number): void {
    for (const listener of [...this.#listeners]) listener(end);
  }

  /** @throws StorageError when it cannot be used */
  usableSlot(): number {
    if (this.failure !== null) throw this.failure;
    return this.slot;
  }

  #tell(call: 'watch' | 'unwatch'): void {
    // A partition that is gone has nothing new; a host that is lost is asked again by `watch`.
    this.#owner.ask(() => ({ call, slot: this.usableSlot() })).catch(() => undefined);
  }
}
