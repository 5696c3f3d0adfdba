/**
 * The store as the services on the journal worker use it: directly, except that what they remove is told to the clients that have it
 * open, that files are read beside the thread, and that it is not theirs to close. Made by the storage host.
 */
import { canLocate, type LocatingPartition } from '../../../core/ports/read-plan.ts';
import type { ReadAnswer, ReadRequest, StreamPartition, StreamStore } from '../../../core/ports/stream-store.ts';
import { ForwardingPartition, ForwardingStore } from '../../../core/streams/forwarding-store.ts';
import type { ColdGate } from '../client/cold-gate.ts';
import { PlanReader } from '../client/plan-reader.ts';

export class HostedStore extends ForwardingStore {
  readonly #remove: (name: string) => Promise<void>;
  readonly #reader: PlanReader;

  /** `remove` is that of the host. `gate`: the pace of cold reads; null without one. */
  constructor(store: StreamStore, remove: (name: string) => Promise<void>, gate: ColdGate | null) {
    super(store);
    this.#remove = remove;
    this.#reader = new PlanReader(gate);
  }

  override remove(name: string): Promise<void> {
    return this.#remove(name);
  }

  /** Lets go of the files that are read. */
  override close(): Promise<void> {
    this.#reader.close();
    return Promise.resolve();
  }

  protected override wrap(partition: StreamPartition): StreamPartition {
    return canLocate(partition) ? new PlannedPartition(partition, this.#reader) : partition;
  }
}

/** A partition whose files are read beside the thread, as clients read them: a slow disk stops nobody's appends. */
class PlannedPartition extends ForwardingPartition<LocatingPartition> {
  readonly #reader: PlanReader;

  constructor(partition: LocatingPartition, reader: PlanReader) {
    super(partition);
    this.#reader = reader;
  }

  override async read(request: ReadRequest): Promise<ReadAnswer> {
    const plan = await this.inner.locate(request);
    if (plan.type === 'answer') return plan.answer;
    // Without an answer the log has changed meanwhile, or is damaged: the store knows which.
    return (await this.#reader.read(plan.file, request)) ?? this.inner.read(request);
  }
}
