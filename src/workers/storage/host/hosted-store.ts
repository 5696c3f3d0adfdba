/**
 * The store as the services on the journal worker use it: directly, except that what they remove is told to the clients that have it
 * open, that files are read beside the thread, and that it is not theirs to close. Made by the storage host.
 */
import { canLocate, type LocatingPartition } from '../../../core/ports/read-plan.ts';
import type {
  AppendDone,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StoreHealth,
  StreamPartition,
  StreamSettings,
  StreamStore,
  TimedOffset,
} from '../../../core/ports/stream-store.ts';
import type { ColdGate } from '../client/cold-gate.ts';
import { PlanReader } from '../client/plan-reader.ts';

export class HostedStore implements StreamStore {
  readonly #store: StreamStore;
  readonly #remove: (name: string) => Promise<void>;
  readonly #reader: PlanReader;
  /** So that a partition is the same object each time. */
  readonly #planned = new WeakMap<StreamPartition, PlannedPartition>();

  /** `remove` is that of the host. `gate`: the pace of cold reads; null without one. */
  constructor(store: StreamStore, remove: (name: string) => Promise<void>, gate: ColdGate | null) {
    this.#store = store;
    this.#remove = remove;
    this.#reader = new PlanReader(gate);
  }

  get adapter(): string {
    return this.#store.adapter;
  }

  health(): StoreHealth {
    return this.#store.health();
  }

  onHealth(listener: (health: StoreHealth) => void): () => void {
    return this.#store.onHealth(listener);
  }

  async create(name: string, settings?: StreamSettings): Promise<StreamPartition> {
    return this.#plan(await this.#store.create(name, settings));
  }

  async open(name: string): Promise<StreamPartition> {
    return this.#plan(await this.#store.open(name));
  }

  remove(name: string): Promise<void> {
    return this.#remove(name);
  }

  names(): Promise<readonly string[]> {
    return this.#store.names();
  }

  change(name: string, settings: StreamSettings): Promise<void> {
    return this.#store.change(name, settings);
  }

  settings(name: string): Promise<StreamSettings> {
    return this.#store.settings(name);
  }

  /** Lets go of the files that are read. */
  close(): Promise<void> {
    this.#reader.close();
    return Promise.resolve();
  }

  #plan(partition: StreamPartition): StreamPartition {
    if (!canLocate(partition)) return partition;
    const known = this.#planned.get(partition);
    if (known !== undefined) return known;
    const planned = new PlannedPartition(partition, this.#reader);
    this.#planned.set(partition, planned);
    return planned;
  }
}

/** A partition whose files are read beside the thread, as clients read them: a slow disk stops nobody's appends. */
class PlannedPartition implements StreamPartition {
  readonly #partition: LocatingPartition;
  readonly #reader: PlanReader;

  constructor(partition: LocatingPartition, reader: PlanReader) {
    this.#partition = partition;
    this.#reader = reader;
  }

  get name(): string {
    return this.#partition.name;
  }

  append(bytes: Buffer, done: AppendDone): void {
    this.#partition.append(bytes, done);
  }

  async read(request: ReadRequest): Promise<ReadAnswer> {
    const plan = await this.#partition.locate(request);
    if (plan.type === 'answer') return plan.answer;
    // Without an answer the log has changed meanwhile, or is damaged: the store knows which.
    return (await this.#reader.read(plan.file, request)) ?? this.#partition.read(request);
  }

  places(): Promise<PartitionPlaces> {
    return this.#partition.places();
  }

  offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    return this.#partition.offsetForTime(timestamp);
  }

  deleteBefore(offset: number): Promise<number> {
    return this.#partition.deleteBefore(offset);
  }

  onCommitted(listener: () => void): () => void {
    return this.#partition.onCommitted(listener);
  }
}
