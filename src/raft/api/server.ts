/**
 * The gRPC server of a placement node: all services of the API, and those of other parts on the same port (the peers').
 * Thread: the Raft worker; started and closed by it. The gRPC library is loaded on first use: nodes without a cluster
 * port do not need it.
 */
import type * as Grpc from '@grpc/grpc-js';
import type { PlacementNode } from '../../core/ports/placement.ts';
import type { BackupProvider } from './backup-provider.ts';
import { offerCluster } from './cluster-service.ts';
import { type ApiContext, type ApiLimits, defaultLimits, type ServiceOffer } from './context.ts';
import { offerKv } from './kv-service.ts';
import { offerLeases } from './lease-service.ts';
import { offerMaintenance } from './maintenance-service.ts';
import { offerMembers } from './member-service.ts';
import { offerWatches } from './watch-service.ts';

/** Window of a connection and of each stream: at 1 MiB a stream fills a gigabit at 8 ms. */
const flowControlBytes = 1024 * 1024;
const keepAliveMs = 10_000;
const keepAliveTimeoutMs = 5_000;

export interface ServerTls {
  /** PEM; whose certificates of clients are believed. Null: those of the system. */
  readonly ca: Buffer | null;
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** Connections without a certificate that `ca` vouches for are refused. */
  readonly requireClientCertificate: boolean;
}

export interface PlacementServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** Null: plain text. */
  readonly tls: ServerTls | null;
  /** Of the software, told to whoever asks for the status. */
  readonly version: string;
  readonly backup: BackupProvider | null;
  readonly limits?: Partial<ApiLimits>;
  /** Services of other parts, on the same port. */
  readonly services?: readonly ServiceOffer[];
  /** Told of errors that no caller caused; they are defects. */
  readonly onDefect: (error: unknown) => void;
}

export interface PlacementServer {
  readonly host: string;
  readonly port: number;
  /**
   * Takes no new calls, says goodbye to streams, lets calls in progress finish for `graceMs`, cuts the rest. Resolves when
   * nothing is left.
   */
  close(graceMs?: number): Promise<void>;
}

/** Serves `node` and resolves when the port is open. Rejects with the system's error when it cannot be. */
export async function createPlacementServer(
  node: PlacementNode,
  options: PlacementServerOptions,
): Promise<PlacementServer> {
  const grpc = await import('@grpc/grpc-js');
  const limits = { ...defaultLimits, ...options.limits };
  const { backup, version, onDefect } = options;
  const context: ApiContext = { node, limits, backup, version, grpc, onDefect };
  const server = new grpc.Server({
    'grpc.max_receive_message_length': limits.receiveBytesMax,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': limits.streamsMax,
    'grpc.keepalive_time_ms': keepAliveMs,
    'grpc.keepalive_timeout_ms': keepAliveTimeoutMs,
    'grpc-node.flow_control_window': flowControlBytes,
  });
  const offers = [
    offerKv(context),
    offerWatches(context),
    offerLeases(context),
    offerCluster(context),
    offerMembers(context),
    offerMaintenance(context),
    ...(options.services ?? []),
  ];
  for (const { definition, handlers } of offers) server.addService(definition, handlers);
  const port = await bind(server, options, toCredentials(grpc, options.tls));
  return {
    host: options.host,
    port,
    close: async (graceMs = 1000) => {
      for (const offer of offers) offer.leave?.();
      await shutDown(server, graceMs);
    },
  };
}

function toCredentials(grpc: typeof Grpc, tls: ServerTls | null): Grpc.ServerCredentials {
  if (tls === null) return grpc.ServerCredentials.createInsecure();
  const pair = { private_key: tls.key, cert_chain: tls.certificate };
  return grpc.ServerCredentials.createSsl(tls.ca, [pair], tls.requireClientCertificate);
}

function bind(
  server: Grpc.Server,
  { host, port }: PlacementServerOptions,
  credentials: Grpc.ServerCredentials,
): Promise<number> {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
}

function shutDown(server: Grpc.Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.forceShutdown(), graceMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
