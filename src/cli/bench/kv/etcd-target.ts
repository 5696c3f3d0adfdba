/**
 * etcd as a target: unary calls of its v3 API, on as many HTTP/2 connections per endpoint as asked for, by the gRPC library
 * or by the lean client, which gives etcd more of the machine. Thread of the harness; created by `command.ts`.
 */
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { CliError } from '../../exit-codes.ts';
import { encodePut, encodeRange, hasFound } from './etcd-messages.ts';
import { LeanGrpcConnection } from './lean-grpc.ts';
import type { KvDone, KvTarget } from './target.ts';

const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';
/** A call that takes longer is counted as an error. */
const CALL_LIMIT_MS = 10_000;

/** One connection. */
interface Caller {
  connect(deadlineMs: number): Promise<void>;
  call(path: string, request: Buffer, done: (error: string | null, answer: Buffer | null) => void): void;
  close(): void;
}

export class EtcdTarget implements KvTarget {
  private readonly callers: readonly Caller[];

  constructor(endpoints: readonly string[], channelsPerEndpoint: number, isLean: boolean) {
    const callers: Caller[] = [];
    // Channel by channel over all endpoints: with few clients each has an endpoint of its own first.
    for (let round = 0; round < channelsPerEndpoint; round++) {
      for (const endpoint of endpoints) callers.push(isLean ? openLean(endpoint) : openFull(endpoint));
    }
    this.callers = callers;
  }

  async connect(deadlineMs: number): Promise<void> {
    await Promise.all(this.callers.map((caller) => caller.connect(deadlineMs)));
  }

  set(client: number, key: Uint8Array, value: Uint8Array, done: KvDone): void {
    this.callers[client % this.callers.length].call(PUT, encodePut(key, value), (error) => done(error, false));
  }

  get(client: number, key: Uint8Array, isSerializable: boolean, done: KvDone): void {
    this.callers[client % this.callers.length].call(RANGE, encodeRange(key, isSerializable), (error, answer) =>
      done(error, answer !== null && hasFound(answer)),
    );
  }

  close(): void {
    for (const caller of this.callers) caller.close();
  }
}

function openLean(endpoint: string): Caller {
  const connection = new LeanGrpcConnection(endpoint);
  return {
    connect: async (deadlineMs) => {
      const late = setTimeout(() => connection.close(), deadlineMs);
      try {
        await connection.connect();
      } catch (error) {
        throw new CliError(`Cannot connect to "${endpoint}": ${(error as Error).message}`);
      } finally {
        clearTimeout(late);
      }
    },
    call: (path, request, done) => connection.call(path, request, done),
    close: () => connection.close(),
  };
}

function openFull(endpoint: string): Caller {
  const channel = new Client(endpoint, credentials.createInsecure(), {
    // Without a pool of its own each channel would share one connection with the others.
    'grpc.use_local_subchannel_pool': 1,
    // The proxy of the environment is for the outside world.
    'grpc.enable_http_proxy': 0,
  });
  const metadata = new Metadata();
  return {
    connect: (deadlineMs) =>
      new Promise((resolve, reject) => {
        channel.waitForReady(Date.now() + deadlineMs, (error) => {
          if (error === undefined || error === null) resolve();
          else reject(new CliError(`Cannot connect to "${endpoint}": ${error.message}`));
        });
      }),
    call: (path, request, done) => {
      const options = { deadline: Date.now() + CALL_LIMIT_MS };
      channel.makeUnaryRequest(path, identity, identity, request, metadata, options, (error, answer) => {
        if (error === null) done(null, answer ?? null);
        else done(describe(error), null);
      });
    },
    close: () => channel.close(),
  };
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

function describe(error: ServiceError): string {
  return `${status[error.code] ?? error.code}: ${error.details.slice(0, 100)}`;
}
