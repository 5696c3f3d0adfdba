/**
 * Every message between the journal worker and the other threads, in one place: the main thread's about its life, and those of the
 * clients' ports. Plain data; errors travel as code and message.
 */

import type { ServicesSettings } from '../../config/services-schema.ts';
import type { FilePlan } from '../../core/ports/read-plan.ts';
import type { ReadAnswer, ReadRequest, StoreHealth, StreamSettings } from '../../core/ports/stream-store.ts';
import type { LogFormat, LogLevel } from '../../observability/log.ts';
import type { SentError, StorageLink } from './link.ts';

// --- main thread and journal worker ---

export type MainToStorage = StorageStartMessage | StorageConnectMessage | StorageStopMessage;

export type StorageToMain =
  /** The store is open. */
  | { readonly type: 'ready' }
  /** It cannot be opened. The thread ends after it. */
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'health'; readonly health: StoreHealth }
  | { readonly type: 'stopped' };

/** The first message. Answered by `ready` or `failed`. */
export interface StorageStartMessage {
  readonly type: 'start';
  readonly start: StorageStart;
}

export interface StorageStart {
  /** Name of the storage adapter. */
  readonly adapter: string;
  /** Its validated settings. */
  readonly settings: unknown;
  /** Of the services over it. */
  readonly services: ServicesSettings;
  /** Data folder of the node. */
  readonly folder: string;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** One line of heartbeats, beaten by this thread. */
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** A line for the host and one for each client. */
  readonly doorbells: SharedArrayBuffer;
  /** See `cold-pace.ts`; the same lines. */
  readonly coldPace: SharedArrayBuffer;
}

/** A thread wants to use the storage; the host's ends of its ports are in the transfer list. */
export interface StorageConnectMessage {
  readonly type: 'connect';
  readonly link: StorageLink;
}

/** Answer what is under way, close the store, end the thread. Answered by `stopped` and its exit. */
export interface StorageStopMessage {
  readonly type: 'stop';
}

// --- a client's port ---

export type StorageCall =
  | { readonly call: 'create'; readonly name: string; readonly settings: StreamSettings }
  | { readonly call: 'open' | 'remove' | 'settings'; readonly name: string }
  /** After the host was replaced. */
  | { readonly call: 'reopen'; readonly names: readonly string[] }
  | { readonly call: 'names' }
  | { readonly call: 'change'; readonly name: string; readonly settings: StreamSettings }
  | { readonly call: 'places' | 'watch' | 'unwatch'; readonly slot: number }
  | { readonly call: 'offset-for-time'; readonly slot: number; readonly timestamp: number }
  | { readonly call: 'delete-before'; readonly slot: number; readonly offset: number }
  /** `byHost`: a plan was of no use. */
  | { readonly call: 'read'; readonly slot: number; readonly request: ReadRequest; readonly byHost: boolean };

/** By number, of partitions that are open; never used again for another one in the life of a host. */
export type SlotOrError = number | SentError;

export type SentAnswer = Omit<ReadAnswer, 'slices'> & { readonly slices: readonly Uint8Array[] };

export type SentPlan =
  | { readonly type: 'answer'; readonly answer: SentAnswer }
  | { readonly type: 'file'; readonly file: FilePlan };

export interface ClientToHost {
  readonly id: number;
  readonly call: StorageCall;
}

export type HostToClient =
  | { readonly type: 'result'; readonly id: number; readonly result: unknown }
  | { readonly type: 'error'; readonly id: number; readonly error: SentError }
  | { readonly type: 'health'; readonly health: StoreHealth }
  /** Somebody removed the partition. */
  | { readonly type: 'removed'; readonly slot: number };
