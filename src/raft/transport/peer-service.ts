/**
 * The serving end of node-to-node traffic, added to the node's gRPC server. Thread: the Raft worker; made by whoever puts
 * the node together.
 */
import {
  Metadata,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import type { Logger } from '../../observability/log.ts';
import {
  type Hello,
  type JoinRequest,
  type JoinResponse,
  type PeerServiceServer,
  PeerServiceService,
  type ProbeRequest,
  type ProbeResponse,
  type StreamMessagesRequest,
  type StreamMessagesResponse,
} from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { type CallFailure, InboundGuard, widenFlowControl } from './inbound-guard.ts';
import { joinAnswerToWire } from './join-wire.ts';
import { decodeBatch, protocolVersion } from './message-codec.ts';
import type { PeerHandlers, PeerIdentity, TransportCounters } from './peer-ports.ts';
import { joinTokenMatches } from './peer-security.ts';
import { type SnapshotCall, SnapshotIntake } from './snapshot-intake.ts';

export interface PeerServiceOptions {
  identity(): PeerIdentity;
  readonly handlers: PeerHandlers;
  /** What an applicant must know; null: nothing. */
  readonly joinToken: string | null;
  /** Mutual TLS is configured: whoever has no certificate is refused. */
  readonly needsCertificate: boolean;
  /** A replica of this cluster has opened a stream; for `GrpcTransport.peerSeen`. */
  onPeerSeen(replica: ReplicaId): void;
  readonly counters: TransportCounters;
  readonly logger: Logger;
}

export interface PeerService {
  readonly definition: ServiceDefinition;
  readonly implementation: PeerServiceServer;
  /** Ends all streams; new ones are refused. */
  close(): void;
}

type MessageCall = ServerReadableStream<StreamMessagesRequest, StreamMessagesResponse>;

/** For `server.addService(definition, implementation)`. */
export function peerService(options: PeerServiceOptions): PeerService {
  const server = new PeerServer(options);
  const implementation: PeerServiceServer = {
    streamMessages: (call, callback) => server.streamMessages(call, callback),
    installSnapshot: (call) => server.installSnapshot(call),
    join: (call, callback) => server.join(call, callback),
    probe: (call, callback) => server.probe(call, callback),
  };
  return { definition: PeerServiceService, implementation, close: () => server.close() };
}

/** An accepted stream of messages. */
interface InboundStream {
  end(failure: CallFailure): void;
}

class PeerServer {
  private readonly options: PeerServiceOptions;
  private readonly guard: InboundGuard;
  /** The newest stream of each replica; an older one belongs to a connection that its sender has given up. */
  private readonly streams = new Map<ReplicaId, InboundStream>();
  private intake: SnapshotIntake | null = null;
  private readonly intakes = new Set<SnapshotIntake>();
  private isClosed = false;

  constructor(options: PeerServiceOptions) {
    this.options = options;
    const { needsCertificate, counters, logger } = options;
    this.guard = new InboundGuard({ identity: () => options.identity(), needsCertificate, counters, logger });
  }

  streamMessages(call: MessageCall, callback: sendUnaryData<StreamMessagesResponse>): void {
    let hello: Hello | null = null;
    let isEnded = false;
    const stream: InboundStream = {
      end: (failure) => {
        if (isEnded) return;
        isEnded = true;
        if (hello !== null && this.streams.get(hello.fromReplica) === stream) this.streams.delete(hello.fromReplica);
        call.removeAllListeners('data');
        // What is still on its way is read and thrown away, or the call would never end.
        call.resume();
        callback(failure);
      },
    };
    const problem = this.callProblem(call);
    // The connection says with its own events that it broke; a call has nothing to add.
    call.on('error', () => undefined);
    call.on('end', () => stream.end({ code: status.CANCELLED, details: 'The sender ended the stream' }));
    call.on('cancelled', () => stream.end({ code: status.CANCELLED, details: 'The sender cancelled the stream' }));
    if (problem !== null) {
      stream.end(problem);
      return;
    }
    widenFlowControl(call);
    call.on('data', (request: StreamMessagesRequest) => {
      if (hello !== null) {
        this.onBatch(call, stream, hello, request);
        return;
      }
      hello = this.onHello(call, stream, request);
    });
  }

  installSnapshot(call: SnapshotCall): void {
    const { handlers, counters, logger } = this.options;
    const intake = new SnapshotIntake(call, {
      guard: this.guard,
      handlers,
      counters,
      onAccepted: (accepted) => {
        // The older sender is no leader any more, or has lost the connection without a trace.
        this.intake?.fail(status.ABORTED, 'Cannot install the snapshot: a newer one is coming');
        this.intake = accepted;
      },
      onEnded: (ended, failure) => {
        this.intakes.delete(ended);
        if (this.intake === ended) this.intake = null;
        if (failure === null) counters.snapshotsReceived += 1;
        else counters.snapshotsRefused += 1;
        if (failure !== null) logger.warn('Snapshot is not installed', { reason: failure });
      },
    });
    this.intakes.add(intake);
    const problem = this.callProblem(call);
    if (problem !== null) intake.fail(problem.code, problem.details);
    else widenFlowControl(call);
  }

  join(call: ServerUnaryCall<JoinRequest, JoinResponse>, callback: sendUnaryData<JoinResponse>): void {
    const problem = this.callProblem(call);
    if (problem !== null) {
      callback(problem);
      return;
    }
    const refusal = this.joinRefusal(call.request);
    if (refusal !== null) {
      const { replica, name, address } = call.request;
      this.options.counters.joinsRefused += 1;
      this.guard.warnOnce('Node may not join', { replica, name, address, reason: refusal });
      callback(null, joinAnswerToWire({ type: 'refused', reason: refusal }));
      return;
    }
    const { replica, name, address, clusterId } = call.request;
    this.options.handlers.join({ replica, name, address, clusterId }).then(
      (answer) => callback(null, joinAnswerToWire(answer)),
      (error: unknown) => {
        const details = error instanceof Error ? error.message : String(error);
        callback({ code: status.UNAVAILABLE, details });
      },
    );
  }

  probe(call: ServerUnaryCall<ProbeRequest, ProbeResponse>, callback: sendUnaryData<ProbeResponse>): void {
    const problem = this.callProblem(call);
    const { clusterId, replica, name } = this.options.identity();
    if (problem !== null) callback(problem);
    else callback(null, { clusterId, replica, name, protocolVersion });
  }

  close(): void {
    this.isClosed = true;
    const failure = { code: status.UNAVAILABLE, details: 'The node stops' };
    for (const stream of [...this.streams.values()]) stream.end(failure);
    for (const intake of [...this.intakes]) intake.fail(failure.code, failure.details);
  }

  private callProblem(call: Parameters<InboundGuard['callProblem']>[0]): CallFailure | null {
    if (this.isClosed) return { code: status.UNAVAILABLE, details: 'The node stops' };
    return this.guard.callProblem(call);
  }

  private onHello(call: MessageCall, stream: InboundStream, { body }: StreamMessagesRequest): Hello | null {
    const hello = body?.$case === 'hello' ? body.value : null;
    const problem = this.guard.helloProblem(call, hello);
    if (problem !== null || hello === null) {
      stream.end(problem ?? { code: status.INVALID_ARGUMENT, details: '' });
      return null;
    }
    this.streams.get(hello.fromReplica)?.end({ code: status.ABORTED, details: 'A newer stream took its place' });
    this.streams.set(hello.fromReplica, stream);
    call.sendMetadata(new Metadata());
    this.options.onPeerSeen(hello.fromReplica);
    return hello;
  }

  private onBatch(call: MessageCall, stream: InboundStream, hello: Hello, { body }: StreamMessagesRequest): void {
    const { counters, logger, handlers } = this.options;
    const bytes = body?.$case === 'batch' ? body.value : new Uint8Array(0);
    const messages = readBatch(bytes, hello);
    if (typeof messages === 'string') {
      counters.framesDamaged += 1;
      logger.error('Batch of a peer cannot be read', {
        peer: hello.fromReplica,
        from: call.getPeer(),
        reason: messages,
      });
      stream.end({ code: status.DATA_LOSS, details: messages });
      return;
    }
    counters.framesReceived += 1;
    counters.messagesReceived += messages.length;
    counters.bytesReceived += bytes.length;
    handlers.onMessages(messages);
  }

  private joinRefusal({ protocolVersion: version, token, replica, name, address }: JoinRequest): string | null {
    if (version !== protocolVersion) return `It speaks version ${version} and this node ${protocolVersion}`;
    if (!joinTokenMatches(this.options.joinToken, token)) return 'The join token is wrong';
    if (replica < 1) return 'It has no replica id';
    if (!/^.+:\d+$/.test(address)) return `Its address "${address}" is not HOST:PORT`;
    return name === '' ? 'It has no name' : null;
  }
}

/** The messages, or why there are none. */
function readBatch(bytes: Uint8Array, hello: Hello): ReturnType<typeof decodeBatch> | string {
  try {
    return decodeBatch(bytes, hello.fromReplica, hello.toReplica);
  } catch (error) {
    if (error instanceof Error && error.name === 'MessageCodecError') return error.message;
    throw error;
  }
}
