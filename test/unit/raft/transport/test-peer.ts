/** One node's traffic, with a real server on a free port: what it receives is written down. Thread of the test. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { createLogger, type RootLogger } from '../../../../src/observability/log.ts';
import { SharedPort } from '../../../../src/raft/api/shared-port.ts';
import type { Message, ReplicaId } from '../../../../src/raft/consensus/types.ts';
import {
  newTransportCounters,
  type PeerHandlers,
  type PeerIdentity,
  type PeerTls,
} from '../../../../src/raft/transport/peer-ports.ts';
import { type PeerService, peerService } from '../../../../src/raft/transport/peer-service.ts';
import { PeerTransport, type PeerTransportOptions } from '../../../../src/raft/transport/peer-transport.ts';

export interface TestPeerOptions {
  readonly replica: ReplicaId;
  readonly clusterId?: string;
  readonly tls?: PeerTls | null;
  readonly joinToken?: string | null;
  readonly limits?: PeerTransportOptions['limits'];
  readonly openSnapshot?: PeerTransportOptions['openSnapshot'];
  readonly beginInstall?: PeerHandlers['beginInstall'];
  readonly join?: PeerHandlers['join'];
  readonly port?: number;
}

const quick = { connectTimeoutMs: 1_000, backOffMinMs: 10, backOffMaxMs: 50, snapshotStallMs: 5_000 };

function unused(name: string): () => never {
  return () => {
    throw new Error(`${name} is not expected`);
  };
}

export class TestPeer {
  readonly replica: ReplicaId;
  readonly received: Message[] = [];
  /** Numbers of messages of each frame. */
  readonly frames: number[] = [];
  readonly unreachable: ReplicaId[] = [];
  readonly sourceErrors: Error[] = [];
  readonly seen: ReplicaId[] = [];
  /** `level message reason`, one per line. */
  readonly log: string[] = [];
  readonly counters = newTransportCounters();
  readonly addresses = new Map<ReplicaId, string>();
  readonly transport: PeerTransport;
  readonly service: PeerService;
  identity: PeerIdentity;
  port = 0;
  private shared: SharedPort | null = null;
  private readonly options: TestPeerOptions;
  private readonly server = new Server({ 'grpc.max_receive_message_length': 16 * 1024 * 1024 });

  private constructor(options: TestPeerOptions) {
    const { replica, clusterId = 'cluster', tls = null } = options;
    this.options = options;
    this.replica = replica;
    this.identity = { clusterId, replica, name: `node-${replica}` };
    const logger = this.logger();
    const { counters } = this;
    this.transport = new PeerTransport({
      identity: () => this.identity,
      addressOf: (each) => this.addresses.get(each) ?? null,
      openSnapshot: options.openSnapshot ?? unused('openSnapshot'),
      onUnreachable: (each) => this.unreachable.push(each),
      onSourceError: (error) => this.sourceErrors.push(error),
      tls,
      counters,
      logger,
      limits: { ...quick, ...options.limits },
    });
    this.service = peerService({
      identity: () => this.identity,
      handlers: {
        onMessages: (messages) => {
          this.frames.push(messages.length);
          this.received.push(...messages);
        },
        beginInstall: options.beginInstall ?? unused('beginInstall'),
        join: options.join ?? unused('join'),
      },
      joinToken: options.joinToken ?? null,
      needsCertificate: tls !== null,
      onPeerSeen: (each) => {
        this.seen.push(each);
        this.transport.peerSeen(each);
      },
      counters,
      logger,
    });
  }

  static async start(options: TestPeerOptions): Promise<TestPeer> {
    const peer = new TestPeer(options);
    peer.server.addService(peer.service.definition, peer.service.implementation);
    await peer.listen();
    return peer;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  knows(...peers: readonly { readonly replica: ReplicaId; readonly address: string }[]): void {
    for (const { replica, address } of peers) this.addresses.set(replica, address);
  }

  async stop(): Promise<void> {
    this.transport.close();
    this.service.close();
    this.server.tryShutdown(() => undefined);
    await this.shared?.close(1_000, () => this.server.forceShutdown());
  }

  private async listen(): Promise<void> {
    const injector = this.server.createConnectionInjector(ServerCredentials.createInsecure());
    const { tls = null, port = 0 } = this.options;
    this.shared = await SharedPort.open({
      host: '127.0.0.1',
      port,
      tls: tls === null ? null : { ...tls, requireClientCertificate: true },
      toHttp2: (socket) => injector.injectConnection(socket),
      streams: [this.service.streams],
    });
    this.port = this.shared.port;
  }

  private logger(): RootLogger {
    const write = (line: string): void => {
      const { level, message, reason } = JSON.parse(line) as Record<string, string | undefined>;
      this.log.push(`${level} ${message}${reason === undefined ? '' : `: ${reason}`}`);
    };
    return createLogger({ level: 'debug', format: 'json', write });
  }
}

export const eventually = { timeout: 8_000, interval: 5 };
