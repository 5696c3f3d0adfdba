/**
 * Every message between the main thread and a connection worker, in one place.
 *
 * All of them are plain data: structured clone drops classes, so an error travels as code and message. The one object
 * that is not plain is the accepted socket, which is moved in the transfer list, as the ports of a storage link are. Ports deliver in order, and the
 * directory and the control plane rely on it.
 */
import type { Socket } from 'node:net';
import type { WebSocketTransport } from '../net/http/port.ts';
import type { TlsMaterial } from '../net/tls/tls-material.ts';
import type { UnixSocketFile } from '../net/unix/unix-socket.ts';
import type { ErrorCode } from '../std/error-codes.ts';
import type { AccessToMain, AccessToWorker } from './access-messages.ts';
import type { LimitsToMain, LimitsToWorker } from './limit-messages.ts';
import type { NodeToMain, NodeToWorker } from './node-messages.ts';
import type { WorkerStart } from './runtime/worker-start.ts';
import type { SessionsToMain, SessionsToWorker } from './session-messages.ts';
import type { StorageLink } from './storage/link.ts';

/** Main thread to connection worker. */
export type MainToWorker =
  | StartMessage
  | ConnectionMessage
  | TlsMessage
  | WebSocketsMessage
  | UnixListenMessage
  | DrainMessage
  | StopMessage
  | PeerMessage
  | StorageLinkMessage
  | BroadcastDelivery
  | BroadcastDone
  | DirectoryToWorker
  | AccessToWorker
  | SessionsToWorker
  | LimitsToWorker
  | NodeToWorker;

/** Connection worker to main thread. */
export type WorkerToMain =
  | ReadyMessage
  | RetainedLoadedMessage
  | UnixListeningMessage
  | DrainedMessage
  | BroadcastRequest
  | BroadcastHandled
  | DirectoryToMain
  | NamesToMain
  | AccessToMain
  | SessionsToMain
  | LimitsToMain
  | NodeToMain;

// --- life of a worker ---

/** The first message: the shared memory and the settings to serve with. Answered by `ready`. */
export interface StartMessage {
  readonly type: 'start';
  readonly start: WorkerStart;
}

/** An accepted socket of which no byte has been read. */
export interface ConnectionMessage {
  readonly type: 'connection';
  readonly listener: number;
  readonly socket: Socket;
  /** There is no room for it: the protocol says so. */
  readonly isSurplus?: boolean;
}

/** New certificates, revocation lists or ticket keys of a listener; hand-shakes use them from now on. */
export interface TlsMessage {
  readonly type: 'tls-material';
  readonly listener: number;
  readonly material: TlsMaterial;
}

/** Listen on a Unix socket, of which connections cannot be moved between threads. Answered by `unix-listening`. */
export interface UnixListenMessage {
  readonly type: 'unix-listen';
  readonly listener: number;
  readonly file: UnixSocketFile;
  readonly backlog: number;
}

export interface UnixListeningMessage {
  readonly type: 'unix-listening';
  readonly listener: number;
  /** Null: it listens. */
  readonly problem: { readonly code: ErrorCode; readonly message: string } | null;
}

/** The way of a listener's WebSockets to this worker, where the HTTP library accepts them itself. */
export interface WebSocketsMessage {
  readonly type: 'web-sockets';
  readonly listener: number;
  readonly transport: WebSocketTransport;
}

/** Say goodbye to every client and flush, for at most `limitMs`. Answered by `drained`. */
export interface DrainMessage {
  readonly type: 'drain';
  readonly limitMs: number;
}

/** Let everything go and end the thread. Answered by its exit. */
export interface StopMessage {
  readonly type: 'stop';
}

/** The worker serves. */
export interface ReadyMessage {
  readonly type: 'ready';
}

/** The stored retained values are read; there may be none. */
export interface RetainedLoadedMessage {
  readonly type: 'retained-loaded';
}

/** No connection is left, or the limit has passed and `cutConnections` were cut. */
export interface DrainedMessage {
  readonly type: 'drained';
  readonly cutConnections: number;
}

/** Another worker died, or began to serve. */
export interface PeerMessage {
  readonly type: 'worker-gone' | 'worker-ready';
  readonly worker: number;
}

/** The way to the journal worker; another one after that was replaced. */
export interface StorageLinkMessage {
  readonly type: 'storage-link';
  readonly link: StorageLink;
}

// --- control plane ---

export interface BroadcastRequest {
  readonly type: 'broadcast';
  /** Chosen by the sender, unique within its life. */
  readonly id: number;
  readonly channel: string;
  readonly payload: unknown;
}

export interface BroadcastDelivery {
  readonly type: 'broadcast-delivery';
  /** Chosen by the hub, unique within the life of the process. */
  readonly delivery: number;
  readonly from: number;
  readonly channel: string;
  readonly payload: unknown;
}

export interface BroadcastHandled {
  readonly type: 'broadcast-handled';
  readonly delivery: number;
}

export interface BroadcastDone {
  readonly type: 'broadcast-done';
  readonly id: number;
}

// --- session directory; the order of a hand-over is told in main/directory/session-directory-hub.ts ---

export type DirectoryToMain =
  | {
      readonly type: 'claim';
      readonly request: number;
      readonly scope: string;
      readonly name: string;
      readonly discard: boolean;
      /** The session will outlive its connection, and the worker's death. */
      readonly isLasting: boolean;
    }
  /** The same of a session that the worker owns already. */
  | { readonly type: 'lasting'; readonly scope: string; readonly name: string }
  /** Sessions that were found in the storage; `epochs` say which of two copies is the newer one. */
  | {
      readonly type: 'announce';
      readonly scope: string;
      readonly names: readonly string[];
      readonly epochs: readonly number[];
    }
  /** The former owner cannot let go, or the new one cannot take over. */
  | { readonly type: 'transfer-failed'; readonly transfer: number }
  | { readonly type: 'release'; readonly scope: string; readonly name: string }
  | { readonly type: 'yielded'; readonly transfer: number; readonly state: unknown }
  | { readonly type: 'discarded'; readonly transfer: number }
  | { readonly type: 'installed'; readonly transfer: number; readonly epoch: number }
  | { readonly type: 'fenced'; readonly transfer: number }
  | { readonly type: 'released'; readonly transfer: number; readonly state: unknown }
  /** All that a worker has, when the node is not alone any more. */
  | {
      readonly type: 'owned';
      readonly scope: string;
      readonly lasting: readonly string[];
      readonly live: readonly string[];
      readonly isLast: boolean;
    }
  /** Answers `depart`. Without a state nothing of it is left here. */
  | { readonly type: 'departing'; readonly transfer: number; readonly hasState: boolean }
  /** Answers `depart-part`; null behind the last part. */
  | { readonly type: 'departure-part'; readonly transfer: number; readonly part: Uint8Array | null }
  /** Answers `arrive`, `arrival-part` and `arrival-end`; null: it is durable. */
  | { readonly type: 'arrival-taken'; readonly request: number; readonly problem: string | null };

/** Names beside sessions that one owner holds on all nodes together. */
export type NamesToMain =
  | { readonly type: 'hold-name'; readonly request: number; readonly name: string; readonly owner: string }
  | { readonly type: 'let-name'; readonly name: string; readonly owner: string };

export type DirectoryToWorker =
  | { readonly type: 'yield'; readonly transfer: number; readonly scope: string; readonly name: string }
  | { readonly type: 'discard'; readonly transfer: number; readonly scope: string; readonly name: string }
  | { readonly type: 'install'; readonly transfer: number; readonly request: number; readonly state: unknown }
  | { readonly type: 'fence'; readonly transfer: number }
  | {
      readonly type: 'release-session';
      readonly transfer: number;
      readonly scope: string;
      readonly name: string;
      readonly epoch: number;
    }
  | { readonly type: 'keep-session'; readonly scope: string; readonly name: string }
  /** Another worker has the newer copy. */
  | { readonly type: 'drop-copy'; readonly scope: string; readonly name: string }
  /** The session could not be taken over: it stays where it was. */
  | { readonly type: 'refused'; readonly request: number }
  | { readonly type: 'granted'; readonly request: number; readonly state: unknown }
  // With other nodes; see main/directory/node-sessions.ts.
  /** Whether there are other nodes. The answers to yes are `owned`. */
  | { readonly type: 'nodes-changed'; readonly isAlone: boolean }
  /** Answers `hold-name`. */
  | { readonly type: 'name-held'; readonly request: number; readonly isGranted: boolean }
  /** Another node wants the session. */
  | { readonly type: 'depart'; readonly transfer: number; readonly scope: string; readonly name: string }
  | { readonly type: 'depart-part'; readonly transfer: number }
  | {
      readonly type: 'depart-end';
      readonly transfer: number;
      readonly scope: string;
      readonly name: string;
      /** It stays here. */
      readonly isKept: boolean;
    }
  /** The session of a claim that waits comes from another node, part by part. */
  | { readonly type: 'arrive'; readonly request: number }
  | { readonly type: 'arrival-part'; readonly request: number; readonly part: Uint8Array }
  | { readonly type: 'arrival-end'; readonly request: number; readonly epoch: number }
  | { readonly type: 'arrival-abort'; readonly request: number }
  | { readonly type: 'settle-arrival'; readonly scope: string; readonly name: string; readonly epoch: number | null };
