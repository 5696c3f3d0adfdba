/**
 * What the rounds and the host of the store say to each other: calls with an answer each, and pushes. As JSON values, one per line, when
 * the host is a process of its own; as they are when it lives in the same one. Any process.
 */
import type { AbortedTransaction } from '../../src/core/streams/producer-state.ts';

/** What the host makes when they are missing. */
export const partitionNames = ['orders', 'events', 'audit.log'] as const;
export const transactionInput = 'tx-in';
export const transactionOutputs = ['tx-0', 'tx-1', 'tx-2'] as const;
export const delayedTargets = ['delayed-0', 'delayed-1'] as const;
export const halfTargets = ['half-0', 'half-1'] as const;
export const halfDeadLetters = 'half-dead';
export const queueDeadLetters = 'queue-dead';
export const queueNames = ['keyed', 'plain'] as const;
export type QueueName = (typeof queueNames)[number];

/** After so many deliveries that failed a message dies. */
export const deliveriesMax = 4;
export const visibilityMs = 300;
export const halfChecksMax = 4;

export const serviceNames = ['producers', 'transactions', 'delayed', 'queues', 'half'] as const;
export type ServiceName = (typeof serviceNames)[number];

interface Producer {
  readonly name: string;
  readonly producerId: number;
  readonly producerEpoch: number;
}

type Nothing = Readonly<Record<never, never>>;

/** Every call by its name: what is given, and what is answered. */
export interface Calls {
  append: {
    given: { readonly partition: string; readonly bytes: string };
    answer: { readonly baseOffset: number; readonly lastOffset: number; readonly isDuplicate: boolean };
  };
  read: {
    given: { readonly partition: string; readonly offset: number; readonly isolation: 'committed' | 'stable' };
    answer: {
      readonly slices: readonly string[];
      readonly nextOffset: number;
      readonly aborted: readonly AbortedTransaction[];
    };
  };
  places: {
    given: { readonly partition: string };
    answer: {
      readonly logStartOffset: number;
      readonly logEndOffset: number;
      readonly highWatermark: number;
      readonly lastStableOffset: number;
    };
  };
  deleteBefore: {
    given: { readonly partition: string; readonly offset: number };
    answer: { readonly logStartOffset: number };
  };
  begin: {
    /** `producerId` −1: whoever had the name before is fenced. */
    given: Producer & { readonly timeoutMs: number };
    answer: { readonly producerId: number; readonly producerEpoch: number };
  };
  addPartitions: { given: Producer & { readonly partitions: readonly string[] }; answer: Nothing };
  /** Verified by the coordinator before it is appended, as a broker does it. */
  appendIn: {
    given: Producer & { readonly partition: string; readonly bytes: string };
    answer: { readonly baseOffset: number };
  };
  addOffsets: {
    given: Producer & { readonly group: string; readonly stream: string; readonly offset: number };
    answer: Nothing;
  };
  end: {
    given: Producer & { readonly outcome: 'commit' | 'abort' };
    answer: { readonly producerId: number; readonly producerEpoch: number };
  };
  /** −1: there is none. */
  cursor: {
    given: { readonly group: string; readonly stream: string };
    answer: { readonly offset: number; readonly isStaged: boolean };
  };
  delay: {
    given: { readonly target: string; readonly dueMs: number; readonly value: string };
    answer: { readonly message: number; readonly dueMs: number };
  };
  cancel: { given: { readonly message: number; readonly dueMs: number }; answer: { readonly outcome: string } };
  publish: {
    given: {
      readonly queue: QueueName;
      readonly key: string | null;
      readonly priority: number;
      readonly value: string;
    };
    answer: { readonly offset: number };
  };
  consume: {
    given: { readonly queue: QueueName; readonly consumer: string; readonly credit: number };
    answer: Nothing;
  };
  credit: { given: { readonly queue: QueueName; readonly consumer: string; readonly count: number }; answer: Nothing };
  leave: { given: { readonly queue: QueueName; readonly consumer: string }; answer: Nothing };
  settle: {
    given: {
      readonly queue: QueueName;
      readonly kind: 'acknowledge' | 'fail' | 'release' | 'reject' | 'extend';
      readonly partition: number;
      readonly offset: number;
      readonly tag: number;
      readonly delayMs: number;
    };
    answer: { readonly isTaken: boolean; readonly atMs: number };
  };
  /** Answered when everything that was settled before it is stored. */
  confirm: { given: { readonly queue: QueueName }; answer: Nothing };
  lag: { given: { readonly queue: QueueName }; answer: { readonly lag: number; readonly problems: readonly string[] } };
  prepare: { given: { readonly target: string; readonly value: string }; answer: { readonly half: number } };
  decide: { given: { readonly half: number; readonly outcome: 'commit' | 'rollback' }; answer: Nothing };
  /** How much waits in the services that work by themselves. */
  pending: { given: Nothing; answer: { readonly delayed: number; readonly half: number; readonly isIdle: boolean } };
}

export type CallName = keyof Calls;
export type Call = {
  [Name in CallName]: { readonly number: number; readonly type: Name } & Calls[Name]['given'];
}[CallName];

export interface CallFailure {
  readonly code: string;
  readonly message: string;
}

export type Push =
  | { readonly type: 'ready' }
  /** The journal reports something. */
  | { readonly type: 'event'; readonly text: string }
  /** A service ended by itself. */
  | { readonly type: 'stopped'; readonly reason: string }
  | {
      readonly type: 'delivery';
      readonly queue: QueueName;
      readonly consumer: string;
      readonly partition: number;
      readonly offset: number;
      readonly tag: number;
      readonly count: number;
      readonly key: string | null;
      readonly value: string;
      /** On the clock of the host, milliseconds since 1970. */
      readonly atMs: number;
    }
  | {
      readonly type: 'check';
      readonly half: number;
      readonly target: string;
      readonly value: string;
      readonly count: number;
    };

export type Line =
  | { readonly number: number; readonly failure: CallFailure | null; readonly answer: unknown }
  | { readonly push: Push };
