/**
 * The stream of messages to one peer: connects when there is something to send, sends what a turn of the replica has in
 * one frame, holds back for a slow peer, and connects again with back-off. Thread: the Raft worker; owned by
 * `PeerTransport`. The bytes are described in `stream-frames.ts`.
 *
 * States: `idle` (never needed or closed for good) → `connecting` → `open` → `waiting` (back-off) → `connecting` …
 * Messages wait while connecting, are dropped while waiting, and a peer that opens a stream to us ends the wait.
 */
import type { Socket } from 'node:net';
import { status } from '@grpc/grpc-js';
import type { Logger } from '../../observability/log.ts';
import { connectTo } from '../../rpc/client/server-security.ts';
import { FrameSocket } from '../../rpc/frame-socket.ts';
import { encodeFrame, FrameReader } from '../../rpc/frames.ts';
import { toError } from '../../std/errors.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { BatchMessage } from './message-codec.ts';
import type { PeerLimits } from './peer-limits.ts';
import type { PeerIdentity, PeerTls, TransportCounters } from './peer-ports.ts';
import { SendQueue } from './send-queue.ts';
import {
  decodeRefusal,
  encodeBatchFrame,
  encodeOpening,
  frameKinds,
  helloOf,
  smallFrameBytesMax,
  streamProtocol,
} from './stream-frames.ts';

/** What all links of a node share. */
export interface LinkEnvironment {
  identity(): PeerIdentity;
  /** Null when the replica is no member any more. */
  addressOf(replica: ReplicaId): string | null;
  readonly tls: PeerTls | null;
  readonly limits: PeerLimits;
  readonly counters: TransportCounters;
  readonly logger: Logger;
  /** Messages to the peer got lost. Never called inside of `send`. */
  onUnreachable(replica: ReplicaId): void;
}

type LinkState = 'idle' | 'connecting' | 'open' | 'waiting';

interface Failure {
  /** The peer does not want this node's messages, and will not soon. */
  readonly isRefusal: boolean;
  readonly reason: string;
}

const pingFrame = encodeFrame(frameKinds.ping, new Uint8Array(0));

export class PeerLink {
  readonly replica: ReplicaId;
  readonly address: string;
  private readonly environment: LinkEnvironment;
  private readonly queue: SendQueue;
  private state: LinkState = 'idle';
  private isClosed = false;
  private socket: Socket | null = null;
  private bytes: FrameSocket | null = null;
  private timer: NodeJS.Timeout | null = null;
  private backOffMs: number;
  /** Turns of the keep-alive since the ping that has no answer; 0: none is owed. */
  private pingAge = 0;
  private isFlushScheduled = false;
  private isReportScheduled = false;
  /** Why the last connection failed; the same reason is logged once. */
  private failure = '';

  constructor(replica: ReplicaId, address: string, environment: LinkEnvironment) {
    this.replica = replica;
    this.address = address;
    this.environment = environment;
    this.queue = new SendQueue(environment.limits.queueBytesMax);
    this.backOffMs = environment.limits.backOffMinMs;
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  /** Takes the message; it leaves at the end of this turn of the event loop at the latest, when the peer keeps up. */
  send(message: BatchMessage): void {
    if (this.state === 'waiting') {
      this.environment.counters.droppedUnreachable += 1;
      this.reportUnreachable();
      return;
    }
    const dropped = this.queue.push(message);
    if (dropped > 0) {
      this.environment.counters.droppedOverflow += dropped;
      this.reportUnreachable();
    }
    if (this.state === 'idle') this.connect();
    else if (this.state === 'open') this.scheduleFlush();
  }

  /** What was sent leaves now, in one frame as far as it fits, when the peer keeps up. */
  flush(): void {
    const { limits, counters } = this.environment;
    const { bytes: stream, queue } = this;
    if (stream === null) return;
    while (this.state === 'open' && !queue.isEmpty && stream.queuedBytes < limits.inFlightBytesMax) {
      const { messages, bytes } = queue.take(limits.frameBytesMax);
      const frame = encodeBatchFrame(messages, bytes);
      counters.messagesSent += messages.length;
      counters.framesSent += 1;
      counters.bytesSent += frame.length;
      stream.write(frame);
    }
  }

  /** Connects without having something to send. */
  open(): void {
    if (this.state === 'idle') this.connect();
  }

  /** The peer lives: it has opened a stream to this node. */
  peerSeen(): void {
    if (this.state !== 'waiting') return;
    this.backOffMs = this.environment.limits.backOffMinMs;
    this.connect();
  }

  /** For good. Nothing is reported any more. */
  close(): void {
    this.isClosed = true;
    this.disconnect();
    this.queue.clear();
    this.state = 'idle';
  }

  private connect(): void {
    if (this.isClosed) return;
    const { identity, tls, limits } = this.environment;
    this.disconnect();
    this.state = 'connecting';
    this.timer = setTimeout(
      () => this.fail({ isRefusal: false, reason: 'it does not answer' }),
      limits.connectTimeoutMs,
    );
    try {
      const socket = connectTo(this.address, tls, streamProtocol);
      this.socket = socket;
      this.bytes = this.listen(socket);
      this.bytes.write(encodeOpening(helloOf(identity(), this.replica)));
    } catch (error) {
      // An address or a certificate that nobody can connect with. Not inside of this call, which may come from `send`.
      this.clearTimer();
      this.timer = setTimeout(() => this.fail({ isRefusal: false, reason: toError(error).message }), 0);
    }
  }

  private listen(socket: Socket): FrameSocket {
    const isCurrent = (): boolean => socket === this.socket;
    let reason = 'the peer ended the stream';
    const reader = new FrameReader(smallFrameBytesMax, (kind, body) => {
      this.take(kind, body);
      return isCurrent();
    });
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('close', () => {
      if (isCurrent()) this.fail({ isRefusal: false, reason });
    });
    return new FrameSocket(socket, {
      onData: (chunk) => {
        if (!isCurrent()) return;
        try {
          reader.push(chunk);
        } catch (error) {
          this.fail({ isRefusal: false, reason: toError(error).message });
        }
      },
      onWritten: () => {
        if (isCurrent() && !this.queue.isEmpty) this.flush();
      },
    });
  }

  private take(kind: number, body: Buffer): void {
    if (kind === frameKinds.refused) {
      const { code, details } = decodeRefusal(body);
      this.fail({ isRefusal: code === status.FAILED_PRECONDITION || code === status.UNAUTHENTICATED, reason: details });
    } else if (kind === frameKinds.accepted && this.state === 'connecting') this.onOpen();
    else if (kind === frameKinds.pong) this.pingAge = 0;
    else this.fail({ isRefusal: false, reason: `it sent a frame of kind ${kind}` });
  }

  /** The peer has accepted the hello. */
  private onOpen(): void {
    const { limits, counters, logger } = this.environment;
    this.clearTimer();
    this.state = 'open';
    this.pingAge = 0;
    this.timer = setInterval(() => this.keepAlive(), limits.keepAliveMs);
    this.backOffMs = limits.backOffMinMs;
    counters.connectionsOpened += 1;
    if (this.failure !== '') logger.info('Peer is reached again', this.logFields());
    this.failure = '';
    this.flush();
  }

  /** Counts turns instead of time: a process that slept has the answer in its socket, and must read it first. */
  private keepAlive(): void {
    const { keepAliveMs, keepAliveTimeoutMs } = this.environment.limits;
    if (this.pingAge === 0) this.bytes?.write(pingFrame);
    this.pingAge += 1;
    if (this.pingAge > Math.max(1, keepAliveTimeoutMs / keepAliveMs)) {
      this.fail({ isRefusal: false, reason: 'it does not answer any more' });
    }
  }

  private fail(failure: Failure): void {
    if (this.state !== 'connecting' && this.state !== 'open') return;
    this.disconnect();
    const { limits, counters } = this.environment;
    counters.connectionsFailed += 1;
    counters.droppedUnreachable += this.queue.clear();
    this.logFailure(failure);
    this.reportUnreachable();
    this.state = 'waiting';
    // Between half and all of it, so that peers do not meet again and again.
    this.timer = setTimeout(() => this.reconnect(), this.backOffMs * (0.5 + Math.random() / 2));
    this.backOffMs = Math.min(this.backOffMs * 2, limits.backOffMaxMs);
  }

  /** Unless the peer has gone for good, or elsewhere; then another link is made when there is something to send. */
  private reconnect(): void {
    if (this.environment.addressOf(this.replica) === this.address) this.connect();
    else this.state = 'idle';
  }

  private logFailure({ isRefusal, reason }: Failure): void {
    // How exactly a peer cannot be reached changes from one attempt to the next.
    const failure = isRefusal ? reason : 'unreachable';
    if (failure === this.failure) return;
    this.failure = failure;
    const fields = { ...this.logFields(), reason };
    this.environment.logger.warn(isRefusal ? 'Peer refuses messages' : 'Peer is not reached', fields);
  }

  private logFields(): { peer: ReplicaId; address: string } {
    return { peer: this.replica, address: this.address };
  }

  private scheduleFlush(): void {
    if (this.isFlushScheduled) return;
    this.isFlushScheduled = true;
    process.nextTick(() => {
      this.isFlushScheduled = false;
      this.flush();
    });
  }

  /** At most one report waits, however many messages get lost. */
  private reportUnreachable(): void {
    if (this.isReportScheduled || this.isClosed) return;
    this.isReportScheduled = true;
    setImmediate(() => {
      this.isReportScheduled = false;
      if (!this.isClosed) this.environment.onUnreachable(this.replica);
    });
  }

  private disconnect(): void {
    this.clearTimer();
    const { socket } = this;
    this.socket = null;
    this.bytes = null;
    socket?.destroy();
  }

  private clearTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
