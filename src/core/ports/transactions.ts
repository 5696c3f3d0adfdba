/**
 * The port of producers, transactions and half messages. One thread of the node has them; each other thread has an implementation of this
 * port. Calls reject with TransactionError, QueueError or StorageError. What the calls promise stands in docs/internals/transactions.md.
 */
import type { NewRecord } from '../batch/batch-builder.ts';
import type { OffsetCommit } from '../queues/offset-cursors.ts';
import type { HalfCheck } from '../transactions/half-messages.ts';
import type { ProducerIdentity } from '../transactions/producer-registry.ts';
import type { TransactionDescription, TransactionEnd } from '../transactions/transaction-coordinator.ts';

export type { HalfCheck, ProducerIdentity, TransactionDescription, TransactionEnd };

export interface Producers {
  /** An id that nobody had before, with epoch 0. */
  allocate(): Promise<ProducerIdentity>;
  /** The producer of this name with the next epoch. */
  open(name: string): Promise<ProducerIdentity>;
}

export interface Transactions {
  /** A producer of this name begins. `producer`: what it had before, when it begins anew by itself. */
  initialize(name: string, timeoutMs: number, producer?: ProducerIdentity | null): Promise<ProducerIdentity>;
  addPartitions(name: string, producer: ProducerIdentity, partitions: readonly string[]): Promise<void>;
  /** Takes the group into the transaction, and keeps the cursors that its commit sets. */
  addOffsets(
    name: string,
    producer: ProducerIdentity,
    group: string,
    generation: number | null,
    commits: readonly OffsetCommit[],
  ): Promise<void>;
  /** Resolves when the producer may write to the partition; ask before its first batch there. */
  verify(name: string, producer: ProducerIdentity, partition: string): Promise<void>;
  /** Resolves when the decision is durable, with what the producer uses from then on. */
  end(
    name: string,
    producer: ProducerIdentity,
    outcome: TransactionEnd,
    bumpsEpoch?: boolean,
  ): Promise<ProducerIdentity>;
  /** Sorted by name. */
  list(): Promise<readonly TransactionDescription[]>;
  describe(name: string): Promise<TransactionDescription>;
  /** Gives up the transaction that is under way, on behalf of an operator. TRANSACTION_STATE when none is. */
  abort(name: string): Promise<void>;
}

export interface HalfMessages {
  /** Stores a message that nobody sees; answers the number that decides it. */
  prepare(group: string, target: string, record: NewRecord): Promise<number>;
  /** Resolves when the target has it. */
  commit(number: number): Promise<void>;
  rollback(number: number): Promise<void>;
  /** Asks are for members of the group on all threads, in turn; answers how to end it. */
  onCheck(group: string, handler: (check: HalfCheck) => void): () => void;
}
