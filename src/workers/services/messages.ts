/**
 * Every message between the services on the journal worker and a thread that uses them. Plain data: errors travel as code and message,
 * records and deliveries as bytes that are moved. Messages of one turn go as one list, since a message to another thread costs
 * about as much as everything that one of these lists holds.
 */
import type { OffsetCommit } from '../../core/ports/cursors.ts';
import type { DelayedHandle } from '../../core/ports/delayed.ts';
import type { QueueOptions, QueueSettings } from '../../core/ports/queues.ts';
import type { ProducerIdentity, TransactionEnd } from '../../core/ports/transactions.ts';
import type { SentServiceError } from './service-error.ts';

/** One end is a thread's client, the other one the host. Both directions carry lists. */
export type ClientToServices =
  | { readonly type: 'call'; readonly id: number; readonly call: ServiceCall }
  /** Of a call that waits for messages: answer what is there. */
  | { readonly type: 'cancel'; readonly id: number }
  /** `isTotal`: in place of what it has. */
  | { readonly type: 'credit'; readonly consumer: number; readonly credit: number; readonly isTotal: boolean }
  /** Bytes of deliveries that the thread has looked at. */
  | { readonly type: 'taken'; readonly bytes: number };

export type ServicesToClient =
  /** The first one: from now on calls are carried out. */
  | { readonly type: 'hello' }
  | { readonly type: 'result'; readonly id: number; readonly result: unknown }
  | { readonly type: 'error'; readonly id: number; readonly error: SentServiceError }
  /** Packed as in `delivery-codec.ts`. */
  | { readonly type: 'messages'; readonly consumer: number; readonly bytes: ArrayBuffer }
  /** The group ended, or was changed. */
  | { readonly type: 'ended'; readonly consumer: number; readonly error: SentServiceError }
  /** Packed as a message that waits, without a time. */
  | {
      readonly type: 'check';
      readonly number: number;
      readonly group: string;
      readonly count: number;
      readonly message: ArrayBuffer;
    };

export type ServiceCall =
  | { readonly call: 'queue-create'; readonly queue: string; readonly options: QueueOptions }
  | { readonly call: 'queue-delete' | 'queue-describe' | 'queue-route'; readonly queue: string }
  | { readonly call: 'queue-names' }
  | {
      readonly call: 'group-create';
      readonly queue: string;
      readonly group: string;
      readonly settings: Partial<QueueSettings>;
      readonly start: 'earliest' | 'latest';
    }
  | {
      readonly call: 'group-change';
      readonly queue: string;
      readonly group: string;
      readonly settings: Partial<QueueSettings>;
    }
  | { readonly call: 'group-delete' | 'purge'; readonly queue: string; readonly group: string }
  | AttachCall
  | { readonly call: 'detach'; readonly consumer: number }
  | ReceiveCall
  | SettleCall
  | {
      readonly call: 'seek';
      readonly queue: string;
      readonly group: string;
      readonly partition: number;
      readonly offset: number;
    }
  | { readonly call: 'seek-time'; readonly queue: string; readonly group: string; readonly timeMs: number }
  | { readonly call: 'cursor-claim' | 'cursor-release'; readonly group: string; readonly generation: number }
  | {
      readonly call: 'cursor-commit';
      readonly group: string;
      readonly generation: number | null;
      readonly commits: readonly OffsetCommit[];
    }
  | { readonly call: 'cursor-fetch' | 'cursor-delete'; readonly group: string; readonly streams: readonly string[] }
  | { readonly call: 'cursor-groups' }
  | { readonly call: 'cursor-describe' | 'cursor-delete-group'; readonly group: string }
  /** `message` as `encodeMessage` makes it; its number and time mean nothing. */
  | { readonly call: 'delay'; readonly timeMs: number; readonly isDelay: boolean; readonly message: ArrayBuffer }
  | { readonly call: 'delay-cancel'; readonly handle: DelayedHandle }
  | { readonly call: 'delay-list'; readonly countMax: number }
  | { readonly call: 'producer-allocate' }
  | { readonly call: 'producer-open'; readonly name: string }
  | {
      readonly call: 'transaction-begin';
      readonly name: string;
      readonly timeoutMs: number;
      readonly producer: ProducerIdentity | null;
    }
  | {
      readonly call: 'transaction-add';
      readonly name: string;
      readonly producer: ProducerIdentity;
      readonly partitions: readonly string[];
    }
  | {
      readonly call: 'transaction-offsets';
      readonly name: string;
      readonly producer: ProducerIdentity;
      readonly group: string;
      readonly generation: number | null;
      readonly commits: readonly OffsetCommit[];
    }
  | {
      readonly call: 'transaction-verify';
      readonly name: string;
      readonly producer: ProducerIdentity;
      readonly partition: string;
    }
  | {
      readonly call: 'transaction-end';
      readonly name: string;
      readonly producer: ProducerIdentity;
      readonly outcome: TransactionEnd;
      readonly bumpsEpoch: boolean;
    }
  | { readonly call: 'transaction-list' }
  | { readonly call: 'transaction-describe' | 'transaction-abort'; readonly name: string }
  | { readonly call: 'half-prepare'; readonly group: string; readonly message: ArrayBuffer }
  | { readonly call: 'half-commit' | 'half-rollback'; readonly number: number }
  | { readonly call: 'half-listen' | 'half-ignore'; readonly group: string };

export interface AttachCall {
  readonly call: 'attach';
  /** Chosen by the client, unique within its life. */
  readonly consumer: number;
  readonly queue: string;
  readonly group: string;
  readonly name: string;
  readonly inFlightMax: number;
  readonly credit: number;
}

export interface ReceiveCall {
  readonly call: 'receive';
  readonly queue: string;
  readonly group: string;
  readonly name: string;
  readonly countMax: number;
  readonly waitMs: number;
  /** Null: that of the group. */
  readonly visibilityMs: number | null;
}

export interface SettleCall {
  readonly call: 'settle';
  readonly queue: string;
  readonly group: string;
  /** As in `settle-codec.ts`. Answered with a byte for each: 1 when the receipt was good. */
  readonly settlements: Float64Array<ArrayBuffer>;
}
