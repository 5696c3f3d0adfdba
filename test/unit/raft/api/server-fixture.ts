/** A placement server over the node in memory, and a plain gRPC client for it. Thread of the test. */
import * as grpc from '@grpc/grpc-js';
import type { ApiLimits } from '../../../../src/raft/api/context.ts';
import {
  createPlacementServer,
  type PlacementServer,
  type PlacementServerOptions,
} from '../../../../src/raft/api/server.ts';
import type { Method } from '../../../../src/rpc/client/connection.ts';
import { FakeNode } from './fake-node.ts';

export interface Outcome<T> {
  readonly response: T | undefined;
  readonly status: number;
  readonly message: string;
  readonly code: string;
  readonly field: string;
  readonly leader: string;
}

export class ServerFixture {
  readonly node: FakeNode;
  readonly server: PlacementServer;
  readonly client: grpc.Client;
  readonly defects: unknown[];

  private constructor(node: FakeNode, server: PlacementServer, defects: unknown[]) {
    this.node = node;
    this.server = server;
    this.defects = defects;
    this.client = new grpc.Client(this.address, grpc.credentials.createInsecure());
  }

  static async start(
    limits: Partial<ApiLimits> = {},
    more: Partial<PlacementServerOptions> = {},
    node = new FakeNode(),
  ): Promise<ServerFixture> {
    const defects: unknown[] = [];
    const server = await createPlacementServer(node, {
      host: '127.0.0.1',
      port: 0,
      tls: null,
      version: '1.2.3',
      backup: null,
      limits,
      onDefect: (error) => void defects.push(error),
      ...more,
    });
    return new ServerFixture(node, server, defects);
  }

  get address(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    deadlineMs = 5000,
  ): Promise<Outcome<Response>> {
    const { path, requestSerialize, responseDeserialize } = method;
    return new Promise((resolve) => {
      const options = { deadline: Date.now() + deadlineMs };
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, response) => {
        resolve(error === null ? outcomeOf(null, response) : outcomeOf<Response>(error, undefined));
      });
    });
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.server.close(100);
  }
}

export function outcomeOf<T>(error: grpc.ServiceError | null, response: T | undefined): Outcome<T> {
  const fact = (key: string): string => error?.metadata.get(key)[0]?.toString() ?? '';
  return {
    response,
    status: error?.code ?? 0,
    message: error?.details ?? '',
    code: fact('ringmq-code'),
    field: fact('ringmq-field'),
    leader: fact('ringmq-leader'),
  };
}

/** How a stream ended; ask before it does. */
export async function endOf(stream: NodeJS.EventEmitter): Promise<Outcome<undefined>> {
  stream.on('error', () => undefined);
  const status = await new Promise<grpc.StatusObject>((resolve) => stream.once('status', resolve));
  return outcomeOf<undefined>(status.code === 0 ? null : (status as grpc.ServiceError), undefined);
}
