/**
 * Every message between the Raft worker and the other threads, in one place: the main thread's about its life, and those
 * of the clients' ports. Plain data; errors travel as code and message.
 */
import type { MessagePort } from 'node:worker_threads';
import type {
  Command,
  CommandResult,
  GroupStatus,
  LeaseId,
  PlacementErrorCode,
  Query,
  QueryResult,
  RequestId,
  WatchBatch,
  Watcher,
  WatchRequest,
} from '../core/ports/placement.ts';
import type { LogFormat, LogLevel } from '../observability/log.ts';

// --- main thread and Raft worker ---

export type MainToRaft = RaftStartMessage | RaftConnectMessage | RaftStopMessage | NodeCallMessage | NodeAnswerMessage;

export type RaftToMain =
  | RaftReadyMessage
  | RaftFailedMessage
  | RaftStatusMessage
  | RaftFaultMessage
  | RaftStoppedMessage
  | NodeCallMessage
  | NodeAnswerMessage;

/** The first message. Answered by `ready` or `failed`. */
export interface RaftStartMessage {
  readonly type: 'start';
  readonly start: RaftStart;
}

export interface RaftStart {
  /** Folder of the placement centre in the node's data folder. */
  readonly folder: string;
  readonly cluster: ClusterSettings;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  readonly version: string;
  /** One line of heartbeats, beaten by this thread. */
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
}

export interface ClusterSettings {
  /** Null: nothing is listened on. */
  readonly address: { readonly host: string; readonly port: number } | null;
  /** `host:port`; null: the address that is bound. */
  readonly advertise: string | null;
  /** Addresses of nodes to ask for membership. */
  readonly join: readonly string[];
  /** Whether the node asks for a vote, or waits until an operator gives it one. */
  readonly joinAs: 'voter' | 'learner';
  readonly name: string;
  /** Name of a member → its address as seen from here. */
  readonly peers: ReadonlyMap<string, string>;
  readonly tickMs: number;
  readonly diskReserveBytes: number;
  readonly insecure: boolean;
  readonly tls: { readonly ca: string; readonly certificate: string; readonly key: string } | null;
  readonly joinToken: string | null;
}

/** A thread wants to use the placement centre through `port`, which is in the transfer list. */
export interface RaftConnectMessage {
  readonly type: 'connect';
  readonly port: MessagePort;
}

/** Hand leadership over, close log and store, end the thread. Answered by `stopped` and its exit. */
export interface RaftStopMessage {
  readonly type: 'stop';
  readonly limitMs: number;
}

export interface RaftReadyMessage {
  readonly type: 'ready';
  /** Of the node in the cluster. */
  readonly name: string;
  /** Where the node is reached; null without a listener. */
  readonly address: { readonly host: string; readonly port: number } | null;
}

/** It cannot start. The thread ends after it. */
export interface RaftFailedMessage {
  readonly type: 'failed';
  readonly reason: 'corrupted' | 'address' | 'other';
  readonly message: string;
}

/** Something of the status is another than before, or some time has passed. */
export interface RaftStatusMessage {
  readonly type: 'status';
  readonly status: GroupStatus;
}

/** The replica has stopped voting and serving: the node cannot hold metadata any more. */
export interface RaftFaultMessage {
  readonly type: 'fault';
  readonly message: string;
}

export interface RaftStoppedMessage {
  readonly type: 'stopped';
}

// --- calls between the brokers of the cluster; each side numbers those that it asks for ---

/** A call of another node to this one, or of this one to another. Answered by `node-answer`. */
export interface NodeCallMessage {
  readonly type: 'node-call';
  readonly id: number;
  /** Name of the other node. */
  readonly node: string;
  readonly subject: string;
  readonly body: Uint8Array;
  /** Of a call to another node. */
  readonly timeoutMs: number;
}

export interface NodeAnswerMessage {
  readonly type: 'node-answer';
  readonly id: number;
  /** Null: there is no answer, for the reason in `problem`. */
  readonly body: Uint8Array | null;
  readonly problem: string;
}

// --- a client's port: each message is an array of these, in order ---

export type ClientCall =
  | { readonly type: 'execute'; readonly command: Command; readonly requestId: RequestId; readonly timeoutMs: number }
  | { readonly type: 'query'; readonly query: Query; readonly timeoutMs: number }
  | { readonly type: 'keep-alive'; readonly lease: LeaseId; readonly timeoutMs: number }
  | { readonly type: 'heartbeat'; readonly node: string; readonly epoch: number; readonly timeoutMs: number }
  | { readonly type: 'status' }
  | { readonly type: 'add-learner'; readonly replica: string; readonly name: string; readonly address: string }
  | { readonly type: 'promote' | 'remove' | 'transfer'; readonly replica: string };

export type ClientToRaft =
  | { readonly type: 'call'; readonly id: number; readonly call: ClientCall }
  | { readonly type: 'watch'; readonly id: number; readonly request: WatchRequest }
  | { readonly type: 'watch-taken'; readonly id: number }
  | { readonly type: 'watch-cancel'; readonly id: number }
  /** The thread reads the store by itself from now on. */
  | { readonly type: 'store-reader' };

export type CallResult = CommandResult | QueryResult | GroupStatus;

export type RaftToClient =
  | { readonly type: 'result'; readonly id: number; readonly result: CallResult }
  | { readonly type: 'error'; readonly id: number; readonly error: ClientError }
  | { readonly type: 'watch-batch'; readonly id: number; readonly batch: WatchBatch }
  | { readonly type: 'watch-end'; readonly id: number; readonly reason: Parameters<Watcher['onEnd']>[0] }
  | { readonly type: 'status'; readonly status: GroupStatus };

export interface ClientError {
  /** `WRONG_CALL`: the caller's own mistake, such as a number that cannot be carried. */
  readonly code: PlacementErrorCode | 'WRONG_CALL';
  readonly message: string;
  readonly leaderAddress: string | null;
}
