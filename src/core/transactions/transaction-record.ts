/**
 * What is known of a named producer, and how it is stored: as JSON, the value of a record whose key is the name. Pure. Any thread; used
 * by the coordinator.
 */

import { assert } from '../../std/assert.ts';
import type { ProducerIdentity } from './producer-registry.ts';
import { type TransactionState, transactionStates } from './transaction-state.ts';

export interface TransactionMetadata {
  readonly state: TransactionState;
  /** What markers carry while a transaction is being ended; else what the producer uses. */
  readonly producerId: number;
  readonly producerEpoch: number;
  /** What the producer used in the transaction that was ended last; -1: none. */
  readonly previousId: number;
  readonly previousEpoch: number;
  /** The id that the producer has from now on, when the epochs of its present one are used up; -1: it keeps it. */
  readonly nextId: number;
  readonly timeoutMs: number;
  readonly partitions: readonly string[];
  readonly groups: readonly string[];
  /** Of the transaction that is under way; 0: none is. Milliseconds since 1970, as the next one. */
  readonly startedMs: number;
  readonly updatedMs: number;
}

const version = 1;

export function encodeTransaction(metadata: TransactionMetadata): Buffer {
  assert(metadata.state !== 'prepareEpochFence' && metadata.state !== 'dead', 'it is a state that is stored');
  return Buffer.from(JSON.stringify({ version, ...metadata }));
}

/** Null when it is not one, or one of a later version. */
export function decodeTransaction(bytes: Buffer): TransactionMetadata | null {
  const read = parse(bytes) as Partial<TransactionMetadata & { version: number }> | null;
  if (read?.version !== version || !transactionStates.includes(read.state ?? 'dead')) return null;
  const { version: _, ...metadata } = read;
  return metadata as TransactionMetadata;
}

/** What the producer uses now, or from the end on that is under way. */
export function identityOf({ producerId, producerEpoch, nextId }: TransactionMetadata): ProducerIdentity {
  return nextId < 0 ? { producerId, producerEpoch } : { producerId: nextId, producerEpoch: 0 };
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return null;
  }
}
