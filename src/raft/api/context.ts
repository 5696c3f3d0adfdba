/** What every service of the API works with, and its limits. Thread: the Raft worker; made by `server.ts`. */
import type * as grpc from '@grpc/grpc-js';
import type { PlacementNode } from '../../core/ports/placement.ts';
import type { BackupProvider } from './backup-provider.ts';

export interface ApiLimits {
  /** A call without a deadline, or with a later one, gets this one. */
  readonly callTimeoutMsMax: number;
  /** Requests larger than this are refused before they are read. Holds the largest transaction, with room to spare. */
  readonly receiveBytesMax: number;
  /** Streams and calls open on one connection. */
  readonly streamsMax: number;
  /** Calls without an answer on one pipeline stream; then it is read no further until some are answered. */
  readonly pipelineCallsMax: number;
  /** Connections for calls alone, beside those of gRPC. */
  readonly callStreamsMax: number;
  /** Answers leave in messages of about this size. */
  readonly answerBytesMax: number;
  /** Watches open on this node. */
  readonly watchesMax: number;
  /** Keep-alives without an answer on one stream. */
  readonly keepAlivesMax: number;
}

export const defaultLimits: ApiLimits = {
  callTimeoutMsMax: 30_000,
  receiveBytesMax: 8 * 1024 * 1024,
  streamsMax: 1000,
  pipelineCallsMax: 10_000,
  callStreamsMax: 10_000,
  answerBytesMax: 1024 * 1024,
  watchesMax: 10_000,
  keepAlivesMax: 1000,
};

export interface ApiContext {
  readonly node: PlacementNode;
  readonly limits: ApiLimits;
  readonly backup: BackupProvider | null;
  /** Of the software. */
  readonly version: string;
  /** The library, loaded by whoever starts the server. */
  readonly grpc: typeof grpc;
  /** Told of errors that no caller caused. */
  readonly onDefect: (error: unknown) => void;
}

/** Handlers of one service, by the names of its methods. */
export interface ServiceOffer {
  readonly definition: grpc.ServiceDefinition;
  readonly handlers: grpc.UntypedServiceImplementation;
  /** The server stops taking calls: long-lived streams say goodbye. Called once. */
  leave?(): void;
}
