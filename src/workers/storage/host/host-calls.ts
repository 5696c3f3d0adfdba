/**
 * Answers the calls that come through the clients' ports: all that is no append. Thread: the journal worker; owned by the host.
 *
 * A read is answered with a plan when the store has one: the client then reads the file itself, and a slow disk stops neither it nor
 * this thread. Bytes that are answered lie in shared memory and are not copied, or they are copied once into memory that is moved.
 */
import { canLocate } from '../../../core/ports/read-plan.ts';
import type { ReadAnswer, StreamStore } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { type SentError, toSentError } from '../link.ts';
import type { SentAnswer, SentPlan, SlotOrError, StorageCall } from '../messages.ts';
import type { HostLink } from './host-link.ts';
import type { HostedPartition, PartitionTable } from './partition-table.ts';
import type { StorageMetrics } from './storage-metrics.ts';

type ReadCall = Extract<StorageCall, { call: 'read' }>;

export class HostCalls {
  readonly #store: StreamStore;
  readonly #partitions: PartitionTable;
  readonly #metrics: StorageMetrics;
  readonly #removed: (slot: number | null, name: string) => void;

  constructor(
    store: StreamStore,
    partitions: PartitionTable,
    metrics: StorageMetrics,
    /** `slot` null: nobody had it open. */
    removed: (slot: number | null, name: string) => void,
  ) {
    this.#store = store;
    this.#partitions = partitions;
    this.#metrics = metrics;
    this.#removed = removed;
  }

  /** Never rejects: what goes wrong is told to the client. */
  async answer(link: HostLink, id: number, call: StorageCall): Promise<void> {
    try {
      if (call.call === 'read') await this.#read(link, id, call);
      else link.send({ type: 'result', id, result: await this.#run(link, call) });
    } catch (thrown) {
      link.send({ type: 'error', id, error: toSentError(thrown) });
    }
  }

  async #run(link: HostLink, call: Exclude<StorageCall, ReadCall>): Promise<unknown> {
    const store = this.#store;
    switch (call.call) {
      case 'create':
        return (await this.#partitions.create(call.name, call.settings)).slot;
      case 'open':
        return (await this.#partitions.open(call.name)).slot;
      case 'reopen':
        return Promise.all(call.names.map((name) => this.#reopen(name)));
      case 'remove': {
        const removed = await this.#partitions.remove(call.name);
        this.#removed(removed?.slot ?? null, call.name);
        return null;
      }
      case 'names':
        return store.names();
      case 'change':
        await store.change(call.name, call.settings);
        return null;
      case 'settings':
        return store.settings(call.name);
      case 'places':
        return this.#partition(call.slot).partition.places();
      case 'offset-for-time':
        return this.#partition(call.slot).partition.offsetForTime(call.timestamp);
      case 'delete-before':
        return this.#partition(call.slot).partition.deleteBefore(call.offset);
      case 'watch':
        this.#partition(call.slot).watch(link);
        return null;
      case 'unwatch':
        this.#partitions.get(call.slot)?.unwatch(link);
        return null;
    }
  }

  async #reopen(name: string): Promise<SlotOrError> {
    try {
      return (await this.#partitions.open(name)).slot;
    } catch (thrown) {
      return toSentError(thrown) satisfies SentError;
    }
  }

  async #read(link: HostLink, id: number, { slot, request, byHost }: ReadCall): Promise<void> {
    const startMs = performance.now();
    const { partition } = this.#partition(slot);
    if (!byHost && canLocate(partition)) {
      const plan = await partition.locate(request);
      if (plan.type === 'file') {
        this.#metrics.add('readsPlanned', 1);
        link.send({ type: 'result', id, result: plan satisfies SentPlan });
        return;
      }
      this.#sendAnswer(link, id, plan.answer, startMs);
      return;
    }
    this.#sendAnswer(link, id, await partition.read(request), startMs);
  }

  #sendAnswer(link: HostLink, id: number, answer: ReadAnswer, startMs: number): void {
    const { slices, transfer } = toSentSlices(answer);
    const sent: SentAnswer = { ...answer, slices };
    link.send({ type: 'result', id, result: { type: 'answer', answer: sent } satisfies SentPlan }, transfer);
    this.#metrics.read(performance.now() - startMs, answer.bytes);
  }

  #partition(slot: number): HostedPartition {
    const hosted = this.#partitions.get(slot);
    if (hosted !== undefined) return hosted;
    throw new StorageError('STORAGE_PARTITION_UNKNOWN', 'Cannot use the partition: it was removed');
  }
}

interface SentSlices {
  readonly slices: readonly Uint8Array[];
  readonly transfer: readonly ArrayBuffer[];
}

/** Memory that threads share goes as it is. Other memory may be the store's own, or lie in a pool: a copy of it is moved. */
function toSentSlices({ slices, bytes }: ReadAnswer): SentSlices {
  if (slices.every((slice) => (slice.buffer as ArrayBufferLike) instanceof SharedArrayBuffer))
    return { slices, transfer: [] };
  const memory = new ArrayBuffer(bytes);
  const copy = Buffer.from(memory);
  let at = 0;
  for (const slice of slices) at += slice.copy(copy, at);
  return { slices: [copy], transfer: [memory] };
}
