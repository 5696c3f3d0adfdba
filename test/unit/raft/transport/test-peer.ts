/** One node's traffic, with a real server on a free port: what it receives is written down. Thread of the test. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { createLogger, type RootLogger } from '../../../../src/observability/log.ts';
import type { Message, ReplicaId } from '../../../../src/raft/consensus/types.ts';
import { GrpcTransport, type GrpcTransportOptions } from '../../../../src/raft/transport/grpc-transport.ts';
import {
  newTransportCounters,
  type PeerHandlers,
  type PeerIdentity,
  type PeerTls,
} from '../../../../src/raft/transport/peer-ports.ts';
import { type PeerService, peerService } from '../../../../src/raft/transport/peer-service.ts';

export interface TestPeerOptions {
  readonly replica: ReplicaId;
  readonly clusterId?: string;
  readonly tls?: PeerTls | null;
  readonly joinToken?: string | null;
  readonly limits?: GrpcTransportOptions['limits'];
  readonly openSnapshot?: GrpcTransportOptions['openSnapshot'];
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
  readonly transport: GrpcTransport;
  readonly service: PeerService;
  identity: PeerIdentity;
  port = 0;
  private readonly options: TestPeerOptions;
  private readonly server = new Server({ 'grpc.max_receive_message_length': 16 * 1024 * 1024 });

  private constructor(options: TestPeerOptions) {
    const { replica, clusterId = 'cluster', tls = null } = options;
    this.options = options;
    this.replica = replica;
    this.identity = { clusterId, replica, name: `node-${replica}` };
    const logger = this.logger();
    const { counters } = this;
    this.transport = new GrpcTransport({
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
    await new Promise<void>((resolve, reject) => {
      this.server.tryShutdown((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  private async listen(): Promise<void> {
    const credentials = credentialsOf(this.options.tls ?? null);
    this.port = await new Promise<number>((resolve, reject) => {
      this.server.bindAsync(`127.0.0.1:${this.options.port ?? 0}`, credentials, (error, port) =>
        error === null ? resolve(port) : reject(error),
      );
    });
  }

  private logger(): RootLogger {
    const write = (line: string): void => {
      const { level, message, reason } = JSON.parse(line) as Record<string, string | undefined>;
      this.log.push(`${level} ${message}${reason === undefined ? '' : `: ${reason}`}`);
    };
    return createLogger({ level: 'debug', format: 'json', write });
  }
}

function credentialsOf(tls: PeerTls | null): ServerCredentials {
  if (tls === null) return ServerCredentials.createInsecure();
  return ServerCredentials.createSsl(tls.ca, [{ private_key: tls.key, cert_chain: tls.certificate }], true);
}

export const eventually = { timeout: 8_000, interval: 5 };
