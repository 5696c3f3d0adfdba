/**
 * The serving end of node-to-node traffic: streams of messages, and calls on the node's gRPC server. Thread: the Raft worker; made by whoever puts
 * the node together.
 */
import { type ServerUnaryCall, type ServiceDefinition, type sendUnaryData, status } from '@grpc/grpc-js';
import type { Logger } from '../../observability/log.ts';
import {
  type JoinRequest,
  type JoinResponse,
  type PeerServiceServer,
  PeerServiceService,
  type ProbeRequest,
  type ProbeResponse,
} from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { type CallFailure, InboundGuard, widenFlowControl } from './inbound-guard.ts';
import { joinAnswerToWire } from './join-wire.ts';
import { protocolVersion } from './message-codec.ts';
import type { PeerHandlers, PeerIdentity, TransportCounters } from './peer-ports.ts';
import { joinTokenMatches } from './peer-security.ts';
import { PeerStreams } from './peer-streams.ts';
import { type SnapshotCall, SnapshotIntake } from './snapshot-intake.ts';

export interface PeerServiceOptions {
  identity(): PeerIdentity;
  readonly handlers: PeerHandlers;
  /** What an applicant must know; null: nothing. */
  readonly joinToken: string | null;
  /** Mutual TLS is configured: whoever has no certificate is refused. */
  readonly needsCertificate: boolean;
  /** A replica of this cluster has opened a stream; for `PeerTransport.peerSeen`. */
  onPeerSeen(replica: ReplicaId): void;
  readonly counters: TransportCounters;
  readonly logger: Logger;
}

export interface PeerService {
  readonly definition: ServiceDefinition;
  readonly implementation: PeerServiceServer;
  /** Connections that carry messages; for the port that they share with the gRPC server. */
  readonly streams: PeerStreams;
  /** Ends all streams; new ones are refused. */
  close(): void;
}

/** For `server.addService(definition, implementation)`. */
export function peerService(options: PeerServiceOptions): PeerService {
  const server = new PeerServer(options);
  const implementation: PeerServiceServer = {
    installSnapshot: (call) => server.installSnapshot(call),
    join: (call, callback) => server.join(call, callback),
    probe: (call, callback) => server.probe(call, callback),
  };
  return { definition: PeerServiceService, implementation, streams: server.streams, close: () => server.close() };
}

class PeerServer {
  private readonly options: PeerServiceOptions;
  private readonly guard: InboundGuard;
  readonly streams: PeerStreams;
  private intake: SnapshotIntake | null = null;
  private readonly intakes = new Set<SnapshotIntake>();
  private isClosed = false;

  constructor(options: PeerServiceOptions) {
    this.options = options;
    const { needsCertificate, counters, logger, handlers } = options;
    const identity = (): PeerIdentity => options.identity();
    this.guard = new InboundGuard({ identity, needsCertificate, counters, logger });
    const onPeerSeen = (replica: ReplicaId): void => options.onPeerSeen(replica);
    this.streams = new PeerStreams({ identity, handlers, guard: this.guard, onPeerSeen, counters });
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
    const { replica, name, address, clusterId, staysLearner } = call.request;
    this.options.handlers.join({ replica, name, address, clusterId, staysLearner }).then(
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
    this.streams.close();
    for (const intake of [...this.intakes]) intake.fail(failure.code, failure.details);
  }

  private callProblem(call: Parameters<InboundGuard['callProblem']>[0]): CallFailure | null {
    if (this.isClosed) return { code: status.UNAVAILABLE, details: 'The node stops' };
    return this.guard.callProblem(call);
  }

  private joinRefusal({ protocolVersion: version, token, replica, name, address }: JoinRequest): string | null {
    if (version !== protocolVersion) return `It speaks version ${version} and this node ${protocolVersion}`;
    if (!joinTokenMatches(this.options.joinToken, token)) return 'The join token is wrong';
    if (replica < 1) return 'It has no replica id';
    if (!/^.+:\d+$/.test(address)) return `Its address "${address}" is not HOST:PORT`;
    return name === '' ? 'It has no name' : null;
  }
}
