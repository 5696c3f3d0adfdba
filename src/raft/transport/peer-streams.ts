/**
 * The receiving ends of the message streams, on the port that they share with gRPC. Thread: the Raft worker; made by the
 * peer service, fed with connections by the shared port.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { status } from '@grpc/grpc-js';
import { FrameSocket } from '../../rpc/frame-socket.ts';
import { encodeFrame, FrameError, FrameReader } from '../../rpc/frames.ts';
import type { Hello } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import { endWith } from '../api/shared-port.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { CallFailure, InboundCall, InboundGuard } from './inbound-guard.ts';
import { decodeBatch, MessageCodecError } from './message-codec.ts';
import { streamFrameBytesMax } from './peer-limits.ts';
import type { PeerHandlers, PeerIdentity, TransportCounters } from './peer-ports.ts';
import {
  decodeHello,
  encodeRefusal,
  frameKinds,
  smallFrameBytesMax,
  streamPreface,
  streamProtocol,
} from './stream-frames.ts';

export interface PeerStreamsOptions {
  identity(): PeerIdentity;
  readonly handlers: Pick<PeerHandlers, 'onMessages'>;
  readonly guard: InboundGuard;
  /** A replica of this cluster has opened a stream. */
  onPeerSeen(replica: ReplicaId): void;
  readonly counters: TransportCounters;
}

/** How long a connection may take to say who it is. */
const helloTimeoutMs = 10_000;
/** A sender pings every second or so; one that is silent for so many turns has gone without a trace. */
const silentTurnsMax = 2;
const silenceTurnMs = 15_000;

const noBytes = new Uint8Array(0);
const acceptedFrame = encodeFrame(frameKinds.accepted, noBytes);
const pongFrame = encodeFrame(frameKinds.pong, noBytes);

export class PeerStreams {
  readonly preface = streamPreface;
  readonly protocol = streamProtocol;
  private readonly options: PeerStreamsOptions;
  /** The newest stream of each replica; an older one belongs to a connection that its sender has given up. */
  private readonly newest = new Map<ReplicaId, InboundStream>();
  private readonly open = new Set<InboundStream>();
  private isClosed = false;

  constructor(options: PeerStreamsOptions) {
    this.options = options;
  }

  /** Takes a connection over, from its first byte on; `first` was read of it already. */
  accept(socket: Socket, first: Buffer): void {
    const stream: InboundStream = new InboundStream(socket, this.options, {
      onHello: (from) => {
        this.newest.get(from)?.end({ code: status.ABORTED, details: 'A newer stream took its place' });
        this.newest.set(from, stream);
      },
      onOver: (from) => {
        this.open.delete(stream);
        if (from !== null && this.newest.get(from) === stream) this.newest.delete(from);
      },
    });
    this.open.add(stream);
    if (this.isClosed) stream.end(stopping);
    else stream.begin(first);
  }

  /** Ends all streams; new ones are refused. */
  close(): void {
    this.isClosed = true;
    for (const stream of [...this.open]) stream.end(stopping);
  }
}

const stopping: CallFailure = { code: status.UNAVAILABLE, details: 'The node stops' };

interface StreamEvents {
  /** The sender is a replica of this cluster. */
  onHello(from: ReplicaId): void;
  /** Nothing more comes of it. Called once. */
  onOver(from: ReplicaId | null): void;
}

class InboundStream {
  private readonly socket: Socket;
  private readonly options: PeerStreamsOptions;
  private readonly events: StreamEvents;
  private readonly reader: FrameReader;
  private readonly timer: NodeJS.Timeout;
  private bytes: FrameSocket | null = null;
  private silence: NodeJS.Timeout | null = null;
  /** Turns since it was heard. Not time: after a process slept its bytes are in the socket, and must be read first. */
  private silentTurns = 0;
  private hello: Hello | null = null;
  private isOver = false;

  constructor(socket: Socket, options: PeerStreamsOptions, events: StreamEvents) {
    this.socket = socket;
    this.options = options;
    this.events = events;
    this.reader = new FrameReader(smallFrameBytesMax, (kind, body) => this.take(kind, body), { bytes: streamPreface });
    this.timer = setTimeout(() => this.end(noHello), helloTimeoutMs);
    // The event `close` follows and says enough.
    socket.on('error', () => undefined);
    socket.on('close', () => this.over());
  }

  begin(first: Buffer): void {
    const problem = this.options.guard.callProblem(this.asCall());
    if (problem !== null) {
      this.end(problem);
      return;
    }
    this.bytes = new FrameSocket(this.socket, { onData: (chunk) => this.read(chunk), onWritten: () => undefined });
    this.read(first);
  }

  /** Says why, unless the sender hung up, and lets it go. */
  end(failure: CallFailure): void {
    if (this.isOver) return;
    this.over();
    endWith(this.socket, encodeRefusal(failure));
  }

  private over(): void {
    if (this.isOver) return;
    this.isOver = true;
    clearTimeout(this.timer);
    if (this.silence !== null) clearInterval(this.silence);
    this.events.onOver(this.hello?.fromReplica ?? null);
  }

  private read(chunk: Buffer): void {
    if (this.isOver) return;
    this.silentTurns = 0;
    try {
      this.reader.push(chunk);
    } catch (error) {
      if (!(error instanceof FrameError || error instanceof MessageCodecError)) throw error;
      this.damaged(error.message);
    }
  }

  private take(kind: number, body: Buffer): boolean {
    const { hello } = this;
    if (hello === null) this.takeHello(kind === frameKinds.hello ? decodeHello(body) : null);
    else if (kind === frameKinds.batch) this.takeBatch(hello, body);
    else if (kind === frameKinds.ping) this.answerPing();
    else throw new FrameError(`Cannot read a frame: there is no kind ${kind}`);
    return !this.isOver;
  }

  private takeHello(hello: Hello | null): void {
    const problem = this.options.guard.helloProblem(this.asCall(), hello);
    if (problem !== null || hello === null) {
      this.end(problem ?? noHello);
      return;
    }
    clearTimeout(this.timer);
    this.hello = hello;
    this.reader.bytesMax = streamFrameBytesMax;
    this.silence = setInterval(() => this.checkSilence(), silenceTurnMs);
    this.silence.unref();
    this.events.onHello(hello.fromReplica);
    this.bytes?.write(acceptedFrame);
    this.options.onPeerSeen(hello.fromReplica);
  }

  private takeBatch({ fromReplica, toReplica }: Hello, body: Buffer): void {
    const { counters, handlers } = this.options;
    const messages = decodeBatch(body, fromReplica, toReplica);
    counters.framesReceived += 1;
    counters.messagesReceived += messages.length;
    counters.bytesReceived += body.length;
    handlers.onMessages(messages);
  }

  /** One that does not read its answers is not answered. */
  private answerPing(): void {
    if (this.bytes?.queuedBytes === 0) this.bytes.write(pongFrame);
  }

  private checkSilence(): void {
    this.silentTurns += 1;
    if (this.silentTurns > silentTurnsMax) this.socket.destroy();
  }

  private damaged(reason: string): void {
    const { counters, guard } = this.options;
    counters.framesDamaged += 1;
    guard.warnOnce('Stream of another node cannot be read', {
      peer: this.hello?.fromReplica ?? 0,
      host: this.socket.remoteAddress ?? '',
      reason,
    });
    this.end({ code: status.DATA_LOSS, details: reason });
  }

  private asCall(): InboundCall {
    const { socket } = this;
    return {
      getPeer: () => `${socket.remoteAddress}:${socket.remotePort}`,
      getAuthContext: () => {
        if (!(socket instanceof TLSSocket) || !socket.authorized) return {};
        const certificate = socket.getPeerCertificate();
        return certificate.raw === undefined ? {} : { sslPeerCertificate: certificate };
      },
    };
  }
}

const noHello: CallFailure = {
  code: status.INVALID_ARGUMENT,
  details: 'Cannot open the stream: no hello came first',
};
