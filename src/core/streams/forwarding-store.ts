/**
 * A stream store and a partition that pass everything on to another one: the base of those that change a part of what it does. Thread:
 * that of the store inside.
 */
import type {
  AppendDone,
  CommittedListener,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StoreHealth,
  StreamPartition,
  StreamSettings,
  StreamStore,
  TimedOffset,
} from '../ports/stream-store.ts';

/** A partition of the store inside becomes the same object each time. */
export abstract class ForwardingStore implements StreamStore {
  protected readonly inner: StreamStore;
  readonly #wrapped = new WeakMap<StreamPartition, StreamPartition>();

  constructor(inner: StreamStore) {
    this.inner = inner;
  }

  get adapter(): string {
    return this.inner.adapter;
  }

  health(): StoreHealth {
    return this.inner.health();
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    return this.inner.onHealth(listener);
  }

  async create(name: string, settings?: StreamSettings): Promise<StreamPartition> {
    return this.#wrap(await this.inner.create(name, settings));
  }

  async open(name: string): Promise<StreamPartition> {
    return this.#wrap(await this.inner.open(name));
  }

  remove(name: string): Promise<void> {
    return this.inner.remove(name);
  }

  names(): Promise<readonly string[]> {
    return this.inner.names();
  }

  change(name: string, settings: StreamSettings): Promise<void> {
    return this.inner.change(name, settings);
  }

  settings(name: string): Promise<StreamSettings> {
    return this.inner.settings(name);
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  /** What users of this store get for a partition of the store inside. Called once for each. */
  protected abstract wrap(partition: StreamPartition): StreamPartition;

  #wrap(partition: StreamPartition): StreamPartition {
    const known = this.#wrapped.get(partition);
    if (known !== undefined) return known;
    const wrapped = this.wrap(partition);
    this.#wrapped.set(partition, wrapped);
    return wrapped;
  }
}

export abstract class ForwardingPartition<P extends StreamPartition = StreamPartition> implements StreamPartition {
  readonly name: string;
  protected readonly inner: P;

  constructor(inner: P) {
    this.name = inner.name;
    this.inner = inner;
  }

  append(bytes: Buffer, done: AppendDone): void {
    this.inner.append(bytes, done);
  }

  read(request: ReadRequest): Promise<ReadAnswer> {
    return this.inner.read(request);
  }

  places(): Promise<PartitionPlaces> {
    return this.inner.places();
  }

  offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    return this.inner.offsetForTime(timestamp);
  }

  deleteBefore(offset: number): Promise<number> {
    return this.inner.deleteBefore(offset);
  }

  onCommitted(listener: CommittedListener): () => void {
    return this.inner.onCommitted(listener);
  }
}
