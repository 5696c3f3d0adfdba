/** Producers and transactions as a thread uses them that does not have them. Made by the services client of a thread. */
import type {
  ProducerIdentity,
  Producers,
  TransactionDescription,
  Transactions,
} from '../../../core/ports/transactions.ts';
import { plainCommits } from './client-cursors.ts';
import type { ServiceCalls } from './service-calls.ts';

const canRepeat = { canRepeat: true };

export function createProducers(calls: ServiceCalls): Producers {
  return {
    // An id or an epoch that nobody uses is no loss.
    allocate: async () => (await calls.run({ call: 'producer-allocate' }, canRepeat)) as ProducerIdentity,
    open: async (name) =>
      (await calls.run({ call: 'producer-open', name: String(name) }, canRepeat)) as ProducerIdentity,
  };
}

export function createTransactions(calls: ServiceCalls): Transactions {
  return {
    initialize: async (name, timeoutMs, producer = null) => {
      const known = producer === null ? null : identity(producer);
      const call = {
        call: 'transaction-begin',
        name: String(name),
        timeoutMs: Number(timeoutMs),
        producer: known,
      } as const;
      return (await calls.run(call)) as ProducerIdentity;
    },
    addPartitions: async (name, producer, partitions) => {
      const call = { call: 'transaction-add', name: String(name), producer: identity(producer) } as const;
      await calls.run({ ...call, partitions: partitions.map(String) }, canRepeat);
    },
    addOffsets: async (name, producer, group, generation, commits) => {
      const call = {
        call: 'transaction-offsets',
        name: String(name),
        producer: identity(producer),
        group: String(group),
      } as const;
      await calls.run({ ...call, generation, commits: plainCommits(commits) }, canRepeat);
    },
    verify: async (name, producer, partition) => {
      const call = { call: 'transaction-verify', name: String(name), producer: identity(producer) } as const;
      await calls.run({ ...call, partition: String(partition) }, canRepeat);
    },
    // Asked again it answers the same, as long as the epoch is raised.
    end: async (name, producer, outcome, bumpsEpoch = true) => {
      const call = {
        call: 'transaction-end',
        name: String(name),
        producer: identity(producer),
        outcome,
        bumpsEpoch,
      } as const;
      return (await calls.run(call, { canRepeat: bumpsEpoch })) as ProducerIdentity;
    },
    list: async () => (await calls.run({ call: 'transaction-list' }, canRepeat)) as readonly TransactionDescription[],
    describe: async (name) => {
      return (await calls.run(
        { call: 'transaction-describe', name: String(name) },
        canRepeat,
      )) as TransactionDescription;
    },
    abort: async (name) => {
      await calls.run({ call: 'transaction-abort', name: String(name) });
    },
  };
}

function identity({ producerId, producerEpoch }: ProducerIdentity): ProducerIdentity {
  return { producerId: Number(producerId), producerEpoch: Number(producerEpoch) };
}
