/**
 * Keeps leases alive: one stream for all of a client's leases, renewed at a third of their time. Any thread; used by the
 * client.
 */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import {
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
  LeaseServiceService,
} from '../generated/ringmq/placement/v1/lease.ts';
import { rpcStatus } from '../status.ts';
import { backOffMs } from './back-off.ts';
import type { Caller } from './caller.ts';
import { closedError, fromCallError, fromServiceError, PlacementCallError } from './errors.ts';

export interface KeptLease {
  readonly lease: number;
  /** Stops renewing; the lease ends by itself. */
  stop(): void;
  /**
   * Resolves when the lease is lost: the server says so, or its time has passed here without an answer. Also resolves, with
   * null, after `stop` and when the client is closed.
   */
  readonly lost: Promise<PlacementCallError | null>;
}

export type KeepAliveStream = ClientDuplexStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>;

/** So long ago that a renewal is due. */
const never = Number.NEGATIVE_INFINITY;

interface Kept {
  readonly lease: number;
  readonly ttlMs: number;
  /** On this side's clock, counted from when the last successful renewal was sent, so never later than the server's. */
  expiresMs: number;
  sentMs: number;
  /** When the oldest renewal without an answer was sent; 0 for none. */
  unansweredMs: number;
  onRenewed: (remainingMs: number) => void;
  end: (reason: PlacementCallError | null) => void;
}

export class LeaseKeeper {
  private readonly caller: Caller;
  private readonly kept = new Map<number, Kept>();
  private stream: KeepAliveStream | null = null;
  private timer: NodeJS.Timeout | null = null;
  private failures = 0;
  private retryMs = 0;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /** Renews now and at each third of `ttlMs`, which is what the lease was granted. */
  keep(lease: number, ttlMs: number, onRenewed: (remainingMs: number) => void = () => undefined): KeptLease {
    if (this.caller.isClosed) throw closedError();
    const { promise: lost, resolve } = Promise.withResolvers<PlacementCallError | null>();
    const end = (reason: PlacementCallError | null): void => {
      if (this.kept.get(lease)?.end === end) this.kept.delete(lease);
      resolve(reason);
      this.rest();
    };
    this.kept.get(lease)?.end(null);
    this.kept.set(lease, {
      lease,
      ttlMs,
      expiresMs: performance.now() + ttlMs,
      sentMs: never,
      unansweredMs: 0,
      onRenewed,
      end,
    });
    this.timer ??= setInterval(() => this.renew(), 50);
    this.renew();
    return { lease, lost, stop: () => end(null) };
  }

  close(): void {
    for (const each of [...this.kept.values()]) each.end(null);
    this.rest();
  }

  private renew(): void {
    const nowMs = performance.now();
    for (const each of [...this.kept.values()]) {
      if (each.expiresMs <= nowMs) {
        const message = `Cannot keep lease "${each.lease}": nothing was heard for all of its time`;
        each.end(new PlacementCallError('TIMED_OUT', rpcStatus.DEADLINE_EXCEEDED, message));
      } else if (nowMs - each.sentMs >= each.ttlMs / 3 && nowMs >= this.retryMs) {
        each.sentMs = nowMs;
        if (each.unansweredMs === 0) each.unansweredMs = nowMs;
        this.open().write({ lease: each.lease });
      }
    }
  }

  private open(): KeepAliveStream {
    if (this.stream !== null) return this.stream;
    const { address, stream } = this.connect();
    const lose = (error: PlacementCallError): void => {
      if (this.stream !== stream) return;
      this.stream = null;
      this.caller.leave(address, error);
      this.tryAgainLater();
    };
    stream.on('data', (answer: LeaseKeepAliveResponse) => {
      if (this.stream === stream) this.take(address, answer);
    });
    stream.on('error', (error) => lose(fromServiceError(error as Parameters<typeof fromServiceError>[0])));
    stream.on('end', () => lose(new PlacementCallError('STOPPED', rpcStatus.UNAVAILABLE, 'Cannot go on: it ended')));
    this.stream = stream;
    return stream;
  }

  private connect(): { address: string; stream: KeepAliveStream } {
    const address = this.caller.endpoints.current();
    return { address, stream: this.caller.pool.get(address).duplex(LeaseServiceService.keepAlive) };
  }

  private take(address: string, { lease, remainingMs, error }: LeaseKeepAliveResponse): void {
    const each = this.kept.get(lease);
    if (each === undefined) return;
    if (error === undefined) {
      this.failures = 0;
      each.expiresMs = each.unansweredMs + remainingMs;
      each.unansweredMs = 0;
      each.onRenewed(remainingMs);
    } else if (error.code === 'LEASE_NOT_FOUND') {
      each.end(fromCallError(error));
    } else {
      const { stream } = this;
      this.stream = null;
      stream?.end();
      this.caller.leave(address, fromCallError(error));
      this.tryAgainLater();
    }
  }

  /** Everything that waits for an answer is sent again, elsewhere, after a pause. */
  private tryAgainLater(): void {
    this.failures++;
    this.retryMs = performance.now() + backOffMs(this.failures);
    for (const each of this.kept.values()) {
      each.sentMs = never;
      each.unansweredMs = 0;
    }
  }

  private rest(): void {
    if (this.kept.size > 0) return;
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    const { stream } = this;
    this.stream = null;
    stream?.cancel();
  }
}
