/**
 * The port of node-to-node traffic and of the API, and the transport over it. Thread: the Raft worker; loaded only by
 * nodes that have a cluster address, since the gRPC library costs a tenth of a second.
 */

import type { PlacementNode } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';
import type { BackupProvider } from '../api/backup-provider.ts';
import { createPlacementServer, type PlacementServer } from '../api/server.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { ClusterSettings } from '../messages.ts';
import { InboundGuard } from '../transport/inbound-guard.ts';
import { PeerCallError, requestJoin } from '../transport/join-client.ts';
import { type AnswerCall, NodeCaller, nodeCallService } from '../transport/node-calls.ts';
import type {
  JoinAnswer,
  JoinApplication,
  PeerHandlers,
  PeerIdentity,
  PeerTls,
  TransportCounters,
} from '../transport/peer-ports.ts';
import { clusterAddressProblem, loadPeerTls } from '../transport/peer-security.ts';
import { type PeerService, peerService } from '../transport/peer-service.ts';
import { PeerTransport, type PeerTransportOptions } from '../transport/peer-transport.ts';
import { LeaderForwarder } from './leader-forwarder.ts';

/** How long a node may think about a request to join; the leader answers when the change is committed. */
const JOIN_TIMEOUT_MS = 10_000;
/** The largest entry, in a frame. */
const RECEIVE_BYTES_MAX = 16 * 1024 * 1024;

export interface ClusterPortOptions {
  readonly settings: ClusterSettings & { readonly address: NonNullable<ClusterSettings['address']> };
  /** Taken when any free port is asked for; 0 for none. */
  readonly lastPort: number;
  readonly version: string;
  readonly node: PlacementNode;
  readonly backup: BackupProvider;
  readonly handlers: PeerHandlers;
  readonly transport: Pick<PeerTransportOptions, 'addressOf' | 'openSnapshot' | 'onUnreachable' | 'onSourceError'>;
  identity(): PeerIdentity;
  /** Whether a node of that name is in the cluster. */
  isMember(name: string): boolean;
  /** Calls of other brokers. */
  readonly answerCall: AnswerCall;
  readonly counters: TransportCounters;
  readonly log: Logger;
}

/** The address cannot be used. */
export class ClusterAddressError extends Error {
  override readonly name = 'ClusterAddressError';
}

export class ClusterPort {
  readonly host: string;
  readonly port: number;
  readonly transport: PeerTransport;
  private readonly server: PlacementServer;
  private readonly service: PeerService;
  private readonly tls: PeerTls | null;
  private readonly token: string;
  private readonly caller: NodeCaller;
  private forwarder: LeaderForwarder | null = null;

  private constructor(parts: {
    readonly server: PlacementServer;
    readonly transport: PeerTransport;
    readonly service: PeerService;
    readonly tls: PeerTls | null;
    readonly token: string;
  }) {
    this.server = parts.server;
    this.host = parts.server.host;
    this.port = parts.server.port;
    this.transport = parts.transport;
    this.service = parts.service;
    this.tls = parts.tls;
    this.token = parts.token;
    this.caller = new NodeCaller(parts.tls);
  }

  /** Resolves when the port is open. Rejects with `ClusterAddressError`, or Node's errors for TLS files. */
  static async open(options: ClusterPortOptions): Promise<ClusterPort> {
    const { settings, counters, log, identity } = options;
    const tls = settings.tls === null ? null : loadPeerTls(settings.tls);
    const { host, port } = settings.address;
    const problem = clusterAddressProblem(`${host}:${port}`, {
      hasTls: tls !== null,
      isInsecureAllowed: settings.insecure,
    });
    if (problem !== null) throw new ClusterAddressError(problem);
    const transport = new PeerTransport({ ...options.transport, identity, tls, counters, logger: log });
    const service = peerService({
      identity,
      handlers: options.handlers,
      joinToken: settings.joinToken,
      needsCertificate: tls !== null,
      onPeerSeen: (replica) => transport.peerSeen(replica),
      counters,
      logger: log,
    });
    const server = await listen(options, tls, service);
    return new ClusterPort({ server, transport, service, tls, token: settings.joinToken ?? '' });
  }

  /** Asks another node for membership, once. */
  async ask(
    address: string,
    application: JoinApplication,
  ): Promise<JoinAnswer | { readonly type: 'failed'; readonly reason: string }> {
    try {
      return await requestJoin(address, application, this.token, { tls: this.tls, timeoutMs: JOIN_TIMEOUT_MS });
    } catch (error) {
      if (!(error instanceof PeerCallError)) throw error;
      return { type: 'failed', reason: error.message };
    }
  }

  /** `node`, with what only the leader can do passed on to it. */
  forwarding(node: PlacementNode): PlacementNode {
    this.forwarder ??= new LeaderForwarder(node, this.tls);
    return this.forwarder;
  }

  /** Calls the broker at `address`. Rejects with an error that says why there is no answer. */
  call(address: string, request: Parameters<NodeCaller['call']>[1], timeoutMs: number): Promise<Uint8Array> {
    return this.caller.call(address, request, timeoutMs);
  }

  /** Connects to members before there is something to send. */
  connect(members: Iterable<ReplicaId>): void {
    this.transport.open(members);
  }

  async close(graceMs: number): Promise<void> {
    this.forwarder?.close();
    this.caller.close();
    this.service.close();
    this.transport.close();
    await this.server.close(graceMs);
  }
}

async function listen(
  options: ClusterPortOptions,
  tls: PeerTls | null,
  service: PeerService,
): Promise<PlacementServer> {
  const { settings, lastPort, version, backup, log, identity, counters } = options;
  const { host, port } = settings.address;
  const calls = nodeCallService({
    guard: new InboundGuard({ identity, needsCertificate: tls !== null, counters, logger: log }),
    identity,
    isMember: (name) => options.isMember(name),
    answer: options.answerCall,
  });
  const serve = (wanted: number): Promise<PlacementServer> =>
    createPlacementServer(options.node, {
      host,
      port: wanted,
      tls: tls === null ? null : { ...tls, requireClientCertificate: true },
      version,
      backup,
      limits: { receiveBytesMax: RECEIVE_BYTES_MAX },
      services: [
        { definition: service.definition, handlers: { ...service.implementation } },
        { definition: calls.definition, handlers: { ...calls.implementation } },
      ],
      streams: [service.streams],
      onDefect: (error) => log.error('Call of the placement API failed', { error }),
    });
  try {
    if (port !== 0 || lastPort === 0) return await serve(port);
    // The other members know this node by the port that it had.
    return await serve(lastPort).catch(() => serve(0));
  } catch (error) {
    const { message } = error as Error;
    throw new ClusterAddressError(`Cannot listen on "${host}:${port}" for the cluster: ${message}`);
  }
}
