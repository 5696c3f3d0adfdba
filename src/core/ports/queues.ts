/**
 * The port of queues: what protocols, the administration API and the library use. The queues themselves live on one thread of the
 * node; each other thread has an implementation of this port. What the words mean stands in docs/internals/queues.md.
 *
 * All calls reject with QueueError, StorageError or StreamError. STORAGE_UNAVAILABLE: nothing was done. STORAGE_UNCERTAIN: it was done
 * or not; the thread that has the queues died meanwhile, or did not answer in time.
 */
import type { QueueOptions } from '../queues/queue-definition.ts';
import type { QueueSettings } from '../queues/queue-settings.ts';
import type { SetDescription } from '../queues/set-types.ts';
import type { Delivery, Receipt } from '../queues/stored-message.ts';

export type { Delivery, QueueOptions, QueueSettings, Receipt };

export interface QueueDescription {
  readonly name: string;
  readonly ownsStreams: boolean;
  readonly deletesSettled: boolean;
  readonly levels: number;
  /** Partitions in the storage, with their levels of priority. */
  readonly partitions: readonly { readonly stream: string; readonly level: number }[];
  readonly groups: readonly SetDescription[];
  /** Why the queue cannot be used; null when it can. `groups` is empty then. */
  readonly problem: string | null;
}

export interface QueueMessage {
  readonly key?: Uint8Array | null;
  readonly value?: Uint8Array | null;
  readonly headers?: readonly { readonly key: Uint8Array; readonly value: Uint8Array | null }[];
  /** Milliseconds since 1970; default: now. */
  readonly timestampMs?: number;
  /** 0 is served last. Default 0. */
  readonly priority?: number;
  /** How `priority` is meant; `centred`: 4 is the usual one. Default `clamped`. */
  readonly priorityScale?: 'clamped' | 'centred';
}

/** Where a message of a queue was stored. */
export interface StoredPlace {
  readonly partition: string;
  readonly offset: number;
}

/** What becomes of a delivery. */
export type SettlementAction =
  /** Done for good. */
  | { readonly action: 'acknowledge' }
  /** Again after `delayMs`, or after the delay of the group's settings when it is null or not there. */
  | { readonly action: 'fail'; readonly delayMs?: number | null }
  /** Again at once; the delivery does not count. */
  | { readonly action: 'release' }
  /** The consumer has so long from now. */
  | { readonly action: 'extend'; readonly visibilityMs: number }
  /** To the dead letters, or away without them. */
  | { readonly action: 'reject' };

export type Settlement = SettlementAction & { readonly receipt: Receipt };

export interface AttachOptions {
  /** Default: the group that every queue has. */
  readonly group?: string;
  /** For descriptions and logs. */
  readonly name: string;
  /** Most messages that it has and has not settled. Default 1000. */
  readonly inFlightMax?: number;
  /** Messages that it may be sent from the beginning, and again after each reset. Default 0. */
  readonly credit?: number;
  /** Called with at least one message, never inside of another call. Buffers are the consumer's own. */
  readonly onMessages: (deliveries: readonly Delivery[]) => void;
  /**
   * The thread that has the queues was replaced, or the group was changed: deliveries before this call are void, and come again. The
   * consumer is attached anew, with the credit of its options.
   */
  readonly onReset?: () => void;
  /** Nothing comes any more: the queue or the group is gone, or there is no thread to ask. Called at most once. */
  readonly onEnd?: (reason: Error) => void;
}

/** A consumer of a group. */
export interface AttachedConsumer {
  readonly queue: string;
  readonly group: string;
  /** It may be sent so many messages more. */
  addCredit(count: number): void;
  /** It may be sent so many messages from now on, in place of those that it could before. */
  setCredit(count: number): void;
  /** As `Queues.settle`. */
  settle(settlements: readonly Settlement[]): Promise<readonly boolean[]>;
  /** Done with one delivery; see `Queues.settle`. */
  acknowledge(receipt: Receipt): Promise<boolean>;
  /** What it has goes to others at once. Nothing is called any more. */
  close(): Promise<void>;
}

export interface ReceiveOptions {
  readonly group?: string;
  readonly name: string;
  /** At most so many messages. Default 1. */
  readonly countMax?: number;
  /** So long is waited for the first one, ms. Default 0: only what is at hand. */
  readonly waitMs?: number;
  /** Time to settle them, in place of that of the group. */
  readonly visibilityMs?: number;
}

export interface Queues {
  /** Creates a queue with the group `default`. */
  create(name: string, options?: QueueOptions): Promise<void>;
  /** With its groups, and its streams when they are its own. */
  delete(name: string): Promise<void>;
  /** Sorted. */
  names(): Promise<readonly string[]>;
  describe(name: string): Promise<QueueDescription>;
  createGroup(
    queue: string,
    group: string,
    settings?: Partial<QueueSettings>,
    start?: 'earliest' | 'latest',
  ): Promise<void>;
  changeGroup(queue: string, group: string, changes: Partial<QueueSettings>): Promise<void>;
  deleteGroup(queue: string, group: string): Promise<void>;
  /** Appends messages; answers where each is, when all are durable. When it rejects some of them may be stored. */
  produce(queue: string, messages: readonly QueueMessage[]): Promise<readonly StoredPlace[]>;
  /** The partition that a message belongs to, for whoever stores it in another way: delayed, or in a transaction. */
  route(queue: string, message: QueueMessage): Promise<string>;
  /** Begins to consume. Resolves when the consumer is there. */
  attach(queue: string, options: AttachOptions): Promise<AttachedConsumer>;
  /**
   * Takes messages once, for consumers that are one request long: what is not settled in time comes again. The group needs a
   * `visibilityMs`. An aborted wait takes nothing.
   */
  receive(queue: string, options: ReceiveOptions, signal?: AbortSignal): Promise<readonly Delivery[]>;
  /**
   * Settles deliveries; resolves when that is as durable as the group's settings say. False: the receipt is void, since its time was
   * over or the queue was opened anew meanwhile, and the message comes again.
   */
  settle(queue: string, group: string, settlements: readonly Settlement[]): Promise<readonly boolean[]>;
  /** Drops what is in the queue for the group and not at a consumer; answers how many messages that were. */
  purge(queue: string, group: string): Promise<number>;
  /** Goes on at an offset of a partition (its index in the description); answers where that is. */
  seek(queue: string, group: string, partition: number, offset: number): Promise<number>;
  /** Goes on at the first messages of this time or later. Milliseconds since 1970. */
  seekToTime(queue: string, group: string, timeMs: number): Promise<void>;
}
