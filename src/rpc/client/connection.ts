/**
 * One HTTP/2 connection to one server, shared by all calls to it, and the pool of them. Any thread; used by the parts of
 * the client. The connection is made on the first call and again after a loss, by the gRPC library.
 */
import type * as Grpc from '@grpc/grpc-js';
import { rpcStatus } from '../status.ts';
import { fromServiceError, PlacementCallError } from './errors.ts';
import { type ClientTls, serverCheck } from './server-security.ts';

/** Description of a method as the generated services have it. */
export interface Method<Request, Response> {
  readonly path: string;
  requestSerialize(value: Request): Buffer;
  responseDeserialize(bytes: Buffer): Response;
}

/** A server that does not answer a ping within this time is gone; pings go out while calls are open. */
const pingEveryMs = 1000;
const pingTimeoutMs = 2000;
const flowControlBytes = 1024 * 1024;
/** Answers are bounded by the server; this is against servers that are none. */
const receiveBytesMax = 64 * 1024 * 1024;

export class Connection {
  readonly address: string;
  private readonly client: Grpc.Client;
  private readonly grpc: typeof Grpc;

  constructor(
    grpc: typeof Grpc,
    address: string,
    credentials: Grpc.ChannelCredentials,
    serverName: string | undefined,
  ) {
    this.grpc = grpc;
    this.address = address;
    this.client = new grpc.Client(address, credentials, {
      'grpc.max_receive_message_length': receiveBytesMax,
      'grpc.max_send_message_length': -1,
      'grpc.keepalive_time_ms': pingEveryMs,
      'grpc.keepalive_timeout_ms': pingTimeoutMs,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 1000,
      // The client knows better than the library which calls may be repeated.
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_http_proxy': 0,
      'grpc-node.flow_control_window': flowControlBytes,
      ...(serverName === undefined
        ? {}
        : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
    });
  }

  /** Resolves when there is a connection; rejects with `NOT_CONNECTED` when there is none within `timeoutMs`. */
  async ready(timeoutMs: number): Promise<void> {
    const channel = this.client.getChannel();
    if (channel.getConnectivityState(true) === this.grpc.connectivityState.READY) return;
    await new Promise<void>((resolve, reject) => {
      const deadline = Date.now() + timeoutMs;
      // Until the first failure: another server may be up while this one is waited for.
      const check = (error?: Error): void => {
        const state = channel.getConnectivityState(false);
        if (state === this.grpc.connectivityState.READY) resolve();
        else if (error !== undefined || state > this.grpc.connectivityState.READY) reject(this.notConnected());
        else channel.watchConnectivityState(state, deadline, check);
      };
      check();
    });
  }

  async unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const deadline = Date.now() + timeoutMs;
    await this.ready(timeoutMs);
    return new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const done = (error: Grpc.ServiceError | null, response?: Response): void => {
        if (error === null) resolve(response as Response);
        else reject(fromServiceError(error));
      };
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, done);
    });
  }

  serverStream<Request, Response>(method: Method<Request, Response>, request: Request) {
    return this.client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
    );
  }

  duplex<Request, Response>(method: Method<Request, Response>) {
    return this.client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
  }

  close(): void {
    this.client.close();
  }

  private notConnected(): PlacementCallError {
    const message = `Cannot connect to "${this.address}": nobody answers there`;
    return new PlacementCallError('NOT_CONNECTED', rpcStatus.UNAVAILABLE, message);
  }
}

export class ConnectionPool {
  /** How servers are connected to; null: plain text. */
  readonly tls: ClientTls | null;
  private readonly grpc: typeof Grpc;
  private readonly connections = new Map<string, Connection>();

  private constructor(grpc: typeof Grpc, tls: ClientTls | null) {
    this.grpc = grpc;
    this.tls = tls;
  }

  /** Loads the gRPC library, which takes a moment the first time. */
  static async create(tls: ClientTls | null): Promise<ConnectionPool> {
    return new ConnectionPool(await import('@grpc/grpc-js'), tls);
  }

  get(address: string): Connection {
    let connection = this.connections.get(address);
    if (connection === undefined) {
      const { credentials, serverName } = securityOf(this.grpc, address, this.tls);
      connection = new Connection(this.grpc, address, credentials, serverName);
      this.connections.set(address, connection);
    }
    return connection;
  }

  close(): void {
    for (const connection of this.connections.values()) connection.close();
    this.connections.clear();
  }
}

function securityOf(
  grpc: typeof Grpc,
  address: string,
  tls: ClientTls | null,
): { readonly credentials: Grpc.ChannelCredentials; readonly serverName: string | undefined } {
  if (tls === null) return { credentials: grpc.credentials.createInsecure(), serverName: undefined };
  const { ca, key, certificate } = tls;
  const { askedName, checkServerIdentity } = serverCheck(address, tls);
  const credentials = grpc.credentials.createSsl(ca, key ?? undefined, certificate ?? undefined, {
    checkServerIdentity,
  });
  // grpc-js always asks for something.
  return { credentials, serverName: askedName };
}
