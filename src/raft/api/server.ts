/**
 * The gRPC server of a placement node: all services of the API, and those of other parts on the same port (the peers').
 * Thread: the Raft worker; started and closed by it. The gRPC library is loaded on first use: nodes without a cluster
 * port do not need it.
 */
import type { Socket } from 'node:net';
import type { PlacementNode } from '../../core/ports/placement.ts';
import type { BackupProvider } from './backup-provider.ts';
import { CallStreams } from './call-streams.ts';
import { offerCluster } from './cluster-service.ts';
import { type ApiContext, type ApiLimits, defaultLimits, type ServiceOffer } from './context.ts';
import { offerKv } from './kv-service.ts';
import { offerLeases } from './lease-service.ts';
import { offerMaintenance } from './maintenance-service.ts';
import { offerMembers } from './member-service.ts';
import { PipelineHub } from './pipeline.ts';
import { type ServerTls, SharedPort, type StreamOffer } from './shared-port.ts';
import { offerWatches } from './watch-service.ts';

/** Window of a connection and of each stream: at 1 MiB a stream fills a gigabit at 8 ms. */
const flowControlBytes = 1024 * 1024;
const keepAliveMs = 10_000;
const keepAliveTimeoutMs = 5_000;

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
  /** Other protocols on the same port, beside gRPC and the calls of clients. */
  readonly streams?: readonly StreamOffer[];
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
  const hub = new PipelineHub(context);
  const offers = [
    offerKv(context, hub),
    offerWatches(context),
    offerLeases(context),
    offerCluster(context),
    offerMembers(context),
    offerMaintenance(context),
    ...(options.services ?? []),
  ];
  for (const { definition, handlers } of offers) server.addService(definition, handlers);
  // Connections come decrypted, so gRPC itself knows nothing of TLS but what it asks the socket.
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  const { host, port, tls, streams = [] } = options;
  const toHttp2 = (socket: Socket): void => injector.injectConnection(socket);
  const callStreams = new CallStreams(hub, limits);
  const shared = await SharedPort.open({ host, port, tls, toHttp2, streams: [callStreams, ...streams] });
  return {
    host,
    port: shared.port,
    close: async (graceMs = 1000) => {
      for (const offer of offers) offer.leave?.();
      callStreams.close();
      hub.leave();
      // The library says that it is done too early when connections were given to it: the port knows when they have ended.
      server.tryShutdown(() => undefined);
      await shared.close(graceMs, () => server.forceShutdown());
    },
  };
}
