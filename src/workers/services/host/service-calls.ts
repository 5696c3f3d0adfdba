/** Carries out the calls of the threads to the services. Thread: the journal worker; owned by the services host. */

import { DelayedError } from '../../../core/delayed/delayed-error.ts';
import type { DelayedHandle } from '../../../core/delayed/delayed-messages.ts';
import { recordOf, targetOf } from '../../../core/delayed/stored-message.ts';
import type { FetchedCursor } from '../../../core/ports/cursors.ts';
import type { QueueDescription } from '../../../core/ports/queues.ts';
import type { TransactionDescription } from '../../../core/ports/transactions.ts';
import type { AcknowledgementSet } from '../../../core/queues/acknowledgement-set.ts';
import { QueueError } from '../../../core/queues/queue-error.ts';
import type { QueueService } from '../../../core/queues/queue-service.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { codeOf } from '../../../core/transactions/internal-stream.ts';
import { TransactionError } from '../../../core/transactions/transaction-error.ts';
import type { ReceiveCall, ServiceCall, SettleCall } from '../messages.ts';
import { settleAll } from '../settle-codec.ts';
import type { HostedServices } from './hosted-services.ts';
import { receive } from './receive.ts';
import type { ServiceLink } from './service-link.ts';
import type { ServiceMetrics } from './service-metrics.ts';

const listMax = 10_000;

type CallOf<N extends ServiceCall['call']> = Extract<ServiceCall, { call: N }>;
type CursorCall = CallOf<
  | 'cursor-claim'
  | 'cursor-release'
  | 'cursor-commit'
  | 'cursor-fetch'
  | 'cursor-delete'
  | 'cursor-groups'
  | 'cursor-describe'
  | 'cursor-delete-group'
>;
type TransactionCall = CallOf<
  | 'transaction-begin'
  | 'transaction-add'
  | 'transaction-offsets'
  | 'transaction-verify'
  | 'transaction-end'
  | 'transaction-list'
  | 'transaction-describe'
  | 'transaction-abort'
>;

export class ServiceCalls {
  readonly #services: HostedServices;
  readonly #metrics: ServiceMetrics;

  constructor(services: HostedServices, metrics: ServiceMetrics) {
    this.#services = services;
    this.#metrics = metrics;
  }

  /** Rejects with an error of the services. Memory that is answered is moved to the thread. */
  run(link: ServiceLink, id: number, call: ServiceCall): Promise<unknown> {
    switch (call.call) {
      case 'settle':
        return this.#settle(call);
      case 'attach':
        return this.#attach(link, call);
      case 'detach':
        link.detach(call.consumer);
        return Promise.resolve(null);
      case 'receive':
        return this.#receive(link, id, call);
      case 'delay':
        return this.#delay(call);
      case 'delay-cancel':
        return this.#cancelDelayed(call.handle);
      case 'delay-list':
        return this.#listDelayed(call.countMax);
      case 'producer-allocate':
      case 'producer-open':
        return this.#producer(call);
      case 'half-prepare':
      case 'half-commit':
      case 'half-rollback':
        return this.#half(call);
      case 'half-listen':
      case 'half-ignore':
        if (call.call === 'half-listen') link.checkGroups.add(call.group);
        else link.checkGroups.delete(call.group);
        return Promise.resolve(null);
      case 'transaction-begin':
      case 'transaction-add':
      case 'transaction-offsets':
      case 'transaction-verify':
      case 'transaction-end':
      case 'transaction-list':
      case 'transaction-describe':
      case 'transaction-abort':
        return this.#transaction(call);
      case 'cursor-claim':
      case 'cursor-release':
      case 'cursor-commit':
      case 'cursor-fetch':
      case 'cursor-delete':
      case 'cursor-groups':
      case 'cursor-describe':
      case 'cursor-delete-group':
        return this.#cursors(call);
      default:
        return this.#queue(call);
    }
  }

  // --- queues

  async #queue(
    call: CallOf<
      | 'queue-create'
      | 'queue-delete'
      | 'queue-describe'
      | 'queue-route'
      | 'queue-names'
      | 'group-create'
      | 'group-change'
      | 'group-delete'
      | 'purge'
      | 'seek'
      | 'seek-time'
    >,
  ): Promise<unknown> {
    const queues = await this.#services.queues.get();
    switch (call.call) {
      case 'queue-create':
        return queues.createQueue(call.queue, call.options);
      case 'queue-delete':
        return queues.deleteQueue(call.queue);
      case 'queue-names':
        return queues.queues();
      case 'queue-describe':
        return describe(queues, call.queue);
      case 'queue-route':
        await mend(queues, call.queue);
        return queues.definition(call.queue).partitions;
      case 'group-create':
        return queues.createGroup(call.queue, call.group, call.settings, call.start);
      case 'group-change':
        return queues.changeGroup(call.queue, call.group, call.settings);
      case 'group-delete':
        return queues.deleteGroup(call.queue, call.group);
      case 'purge':
        return (await this.#set(call)).purge();
      case 'seek': {
        const set = await this.#set(call);
        const count = queues.definition(call.queue).partitions.length;
        if (call.partition < count) return set.seek(call.partition, call.offset);
        const what = `Cannot seek in partition ${call.partition} of queue "${call.queue}": it has ${count}`;
        throw new QueueError('QUEUE_SETTING_INVALID', what);
      }
      case 'seek-time':
        return (await this.#set(call)).seekToTime(call.timeMs);
    }
  }

  async #set({ queue, group }: { readonly queue: string; readonly group: string }): Promise<AcknowledgementSet> {
    return (await this.#services.queues.get()).openGroup(queue, group);
  }

  async #attach(link: ServiceLink, call: CallOf<'attach'>): Promise<null> {
    link.attach(await this.#set(call), call);
    return null;
  }

  async #receive(link: ServiceLink, id: number, call: ReceiveCall): Promise<ArrayBuffer> {
    return receive(await this.#set(call), call, link, id);
  }

  async #settle(call: SettleCall): Promise<Uint8Array<ArrayBuffer>> {
    const startMs = performance.now();
    const set = await this.#set(call);
    const results = settleAll(set, call.settlements);
    await set.whenStored();
    this.#metrics.took('settle', startMs);
    return results;
  }

  // --- cursors

  async #cursors(call: CursorCall): Promise<unknown> {
    const startMs = performance.now();
    const { offsets } = await this.#services.queues.get();
    switch (call.call) {
      case 'cursor-claim':
        return offsets.claim(call.group, call.generation);
      case 'cursor-release':
        return offsets.release(call.group, call.generation);
      case 'cursor-commit':
        await offsets.commit(call.group, call.generation, call.commits);
        this.#metrics.took('commit', startMs);
        return null;
      case 'cursor-fetch':
        return call.streams.map((stream): FetchedCursor => {
          const { group } = call;
          return { stream, cursor: offsets.fetch(group, stream), isStaged: offsets.isStaged(group, stream) };
        });
      case 'cursor-delete':
        return offsets.deleteCursors(call.group, call.streams);
      case 'cursor-groups':
        return offsets.groups();
      case 'cursor-describe':
        return offsets.describe(call.group);
      case 'cursor-delete-group':
        return offsets.deleteGroup(call.group);
    }
  }

  // --- delayed messages

  async #delay({ timeMs, isDelay, message }: CallOf<'delay'>): Promise<DelayedHandle> {
    const bytes = Buffer.from(message);
    const target = targetOf(bytes);
    if (!Number.isSafeInteger(Math.trunc(timeMs))) {
      throw new DelayedError('DELAYED_INVALID', `Cannot delay a message to ${timeMs}: that is no time`);
    }
    // At its time there would be nobody left to tell that it goes nowhere.
    await this.#services.checkTarget(target);
    const delayed = await this.#services.delayed.get();
    const dueMs = isDelay ? Date.now() + Math.max(0, Math.ceil(timeMs)) : Math.ceil(timeMs);
    return new Promise((resolve, reject) => {
      delayed.acceptAt(dueMs, { target, record: recordOf(bytes) }, (error, handle) => {
        if (handle === null) {
          reject(error);
          return;
        }
        this.#services.wake(handle.dueMs - Date.now());
        resolve(handle);
      });
      this.#services.wake();
    });
  }

  async #cancelDelayed(handle: DelayedHandle): Promise<unknown> {
    const delayed = await this.#services.delayed.get();
    return new Promise((resolve, reject) => {
      delayed.cancel(handle, (error, outcome) => (error === null ? resolve(outcome) : reject(error)));
      this.#services.wake();
    });
  }

  async #listDelayed(countMax: number): Promise<unknown> {
    const count = Math.min(listMax, Math.max(1, Math.trunc(countMax)));
    return (await this.#services.delayed.get()).list(count);
  }

  // --- producers, transactions, half messages

  async #producer(call: CallOf<'producer-allocate' | 'producer-open'>): Promise<unknown> {
    const producers = await this.#services.producers.get();
    if (call.call === 'producer-allocate') return producers.allocate();
    // Names of the broker's own services begin like this: to open one would shut the service out.
    if (!call.name.startsWith('__')) return producers.open(call.name);
    throw new TransactionError(
      'TRANSACTION_INVALID',
      `Cannot open producer "${call.name}": the name is the broker's own`,
    );
  }

  async #transaction(call: TransactionCall): Promise<unknown> {
    const transactions = await this.#services.transactions.get();
    this.#services.catchUp();
    const startMs = performance.now();
    try {
      switch (call.call) {
        case 'transaction-begin':
          return await transactions.initialize(call.name, call.timeoutMs, call.producer);
        case 'transaction-add':
          return await transactions.addPartitions(call.name, call.producer, call.partitions);
        case 'transaction-offsets': {
          const { name, producer, group, generation, commits } = call;
          const { offsets } = await this.#services.queues.get();
          const stage = (): Promise<void> => offsets.stage(producer.producerId, group, generation, commits);
          return await transactions.addOffsets(name, producer, group, stage);
        }
        case 'transaction-verify':
          return transactions.verify(call.name, call.producer, call.partition);
        case 'transaction-end': {
          const { name, producer, outcome, bumpsEpoch } = call;
          const next = await transactions.end(name, producer, outcome, bumpsEpoch);
          this.#metrics.took('end', startMs);
          return next;
        }
        case 'transaction-list':
          return [...transactions.names()]
            .sort()
            .slice(0, listMax)
            .map((name): TransactionDescription => transactions.describe(name));
        case 'transaction-describe':
          return transactions.describe(call.name);
        case 'transaction-abort': {
          const { state, producer } = transactions.describe(call.name);
          if (state !== 'ongoing') {
            const what = `Cannot abort transaction "${call.name}": none is under way, it is ${state}`;
            throw new TransactionError('TRANSACTION_STATE', what);
          }
          return await transactions.end(call.name, producer, 'abort');
        }
      }
    } finally {
      this.#services.wake();
    }
  }

  async #half(call: CallOf<'half-prepare' | 'half-commit' | 'half-rollback'>): Promise<unknown> {
    const halves = await this.#services.halves.get();
    this.#services.catchUp();
    try {
      if (call.call !== 'half-prepare') {
        return await (call.call === 'half-commit' ? halves.commit(call.number) : halves.rollback(call.number));
      }
      const bytes = Buffer.from(call.message);
      const target = targetOf(bytes);
      await this.#services.checkTarget(target);
      return await new Promise((resolve, reject) => {
        halves.prepare(call.group, target, recordOf(bytes), (error, number) => {
          if (error === null) resolve(number);
          else reject(error);
        });
      });
    } finally {
      this.#services.wake();
    }
  }
}

/** A queue that could not be opened is tried again when somebody wants to use it. Rejects with the reason. */
async function mend(queues: QueueService, queue: string): Promise<void> {
  if (queues.problemOf(queue) !== null) await queues.reopenQueue(queue);
}

async function describe(queues: QueueService, queue: string): Promise<QueueDescription> {
  const { name, ownsStreams, deletesSettled, partitions } = queues.definition(queue);
  const levels = Math.max(...partitions.map(({ level }) => level)) + 1;
  const own = { name, ownsStreams, deletesSettled, partitions, levels };
  const problem = queues.problemOf(queue);
  if (problem !== null) return { ...own, groups: [], problem: problem.message };
  return { ...own, groups: (await queues.describe(queue)).groups, problem: null };
}

/** What is no error of the services is a defect, or an error of a disk: the caller is told all the same. */
export function toServiceError(thrown: unknown): Error {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  if (codeOf(error) !== null || error instanceof QueueError || error instanceof TransactionError) return error;
  if (error instanceof DelayedError) return error;
  return new StorageError('STORAGE_UNCERTAIN', `Cannot say whether it was done: ${error.message}`, { cause: error });
}
