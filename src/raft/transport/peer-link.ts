/**
 * The stream of messages to one peer: connects when there is something to send, sends what a turn of the replica has in
 * one frame, holds back for a slow peer, and connects again with back-off. Thread: the Raft worker; owned by
 * `GrpcTransport`.
 *
 * States: `idle` (never needed or closed for good) → `connecting` → `open` → `waiting` (back-off) → `connecting` …
 * Messages wait while connecting, are dropped while waiting, and a peer that opens a stream to us ends the wait.
 */
import { type Client, type ClientWritableStream, type ServiceError, status } from '@grpc/grpc-js';
import type { Logger } from '../../observability/log.ts';
import { PeerServiceService, StreamMessagesResponse } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { BatchMessage } from './message-codec.ts';
import { failureText, type PeerLimits } from './peer-limits.ts';
import type { PeerIdentity, PeerTls, TransportCounters } from './peer-ports.ts';
import { peerClient } from './peer-security.ts';
import { SendQueue } from './send-queue.ts';
import { encodeBatchFrame, encodeHelloFrame, helloOf } from './stream-frames.ts';

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
type Call = ClientWritableStream<Buffer>;

export class PeerLink {
  readonly replica: ReplicaId;
  readonly address: string;
  private readonly environment: LinkEnvironment;
  private readonly queue: SendQueue;
  private state: LinkState = 'idle';
  private isClosed = false;
  private client: Client | null = null;
  private call: Call | null = null;
  private timer: NodeJS.Timeout | null = null;
  private backOffMs: number;
  private inFlightBytes = 0;
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
    const client = peerClient(this.address, tls, limits);
    const call: Call = client.makeClientStreamRequest(
      PeerServiceService.streamMessages.path,
      (frame: Buffer) => frame,
      StreamMessagesResponse.decode,
      (error: ServiceError | null) => this.onEnd(call, error),
    );
    this.client = client;
    this.call = call;
    call.on('metadata', () => this.onOpen(call));
    // The callback above says why a call ended; without a listener this event would end the process.
    call.on('error', () => undefined);
    call.write(encodeHelloFrame(helloOf(identity(), this.replica)));
    // Cancelling ends the call, and `onEnd` does the rest.
    this.timer = setTimeout(() => call.cancel(), limits.connectTimeoutMs);
  }

  /** The peer has accepted the hello. */
  private onOpen(call: Call): void {
    if (call !== this.call) return;
    this.clearTimer();
    this.state = 'open';
    this.backOffMs = this.environment.limits.backOffMinMs;
    this.environment.counters.connectionsOpened += 1;
    if (this.failure !== '') this.environment.logger.info('Peer is reached again', this.logFields());
    this.failure = '';
    this.flush();
  }

  private onEnd(call: Call, error: ServiceError | null): void {
    if (call !== this.call) return;
    this.disconnect();
    const { limits, counters } = this.environment;
    counters.connectionsFailed += 1;
    counters.droppedUnreachable += this.queue.clear();
    this.logFailure(error);
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

  private logFailure(error: ServiceError | null): void {
    const isRefusal = error?.code === status.FAILED_PRECONDITION || error?.code === status.UNAUTHENTICATED;
    // How exactly a peer cannot be reached changes from one attempt to the next.
    const failure = isRefusal ? failureText(error) : 'unreachable';
    if (failure === this.failure) return;
    this.failure = failure;
    const fields = { ...this.logFields(), reason: error === null ? 'the peer ended the stream' : failureText(error) };
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

  private flush(): void {
    const { limits, counters } = this.environment;
    while (this.state === 'open' && !this.queue.isEmpty && this.inFlightBytes < limits.inFlightBytesMax) {
      const { messages, bytes } = this.queue.take(limits.frameBytesMax);
      const frame = encodeBatchFrame(messages, bytes);
      counters.messagesSent += messages.length;
      counters.framesSent += 1;
      counters.bytesSent += frame.length;
      this.write(frame);
    }
  }

  private write(frame: Buffer): void {
    const { call } = this;
    if (call === null) return;
    this.inFlightBytes += frame.length;
    call.write(frame, () => {
      if (call !== this.call) return;
      this.inFlightBytes -= frame.length;
      if (!this.queue.isEmpty) this.flush();
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
    const { call, client } = this;
    this.call = null;
    this.client = null;
    this.inFlightBytes = 0;
    call?.cancel();
    client?.close();
  }

  private clearTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
