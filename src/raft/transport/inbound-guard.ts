/**
 * What every stream that another node opens goes through: its certificate, its hello, and flow control that fits long
 * round trips. Thread: the Raft worker; used by the peer service.
 */
import type { ServerHttp2Stream } from 'node:http2';
import { status } from '@grpc/grpc-js';
import type { Logger } from '../../observability/log.ts';
import type { Hello } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import { flowControlWindowBytes } from './peer-limits.ts';
import type { PeerIdentity, TransportCounters } from './peer-ports.ts';
import { helloProblem } from './stream-frames.ts';

/** Ends a call; grpc-js takes it as the error of the call. */
export interface CallFailure {
  readonly code: status;
  readonly details: string;
}

/** Calls of all kinds, as far as they are looked at here. */
export interface InboundCall {
  getPeer(): string;
  getAuthContext(): { readonly sslPeerCertificate?: unknown };
}

/** Refusals that were logged and are not logged again. */
const rememberedRefusalsMax = 1_000;

export class InboundGuard {
  private readonly options: {
    identity(): PeerIdentity;
    readonly needsCertificate: boolean;
    readonly counters: TransportCounters;
    readonly logger: Logger;
  };
  private readonly loggedRefusals = new Set<string>();

  constructor(options: InboundGuard['options']) {
    this.options = options;
  }

  /** Why whoever calls is no peer; null when it may be one. The server asks for certificates already; this is the second lock. */
  callProblem(call: InboundCall): CallFailure | null {
    if (!this.options.needsCertificate || call.getAuthContext().sslPeerCertificate !== undefined) return null;
    const details = 'Cannot talk to this node: a certificate of the cluster is needed';
    this.refused(call, details);
    return { code: status.UNAUTHENTICATED, details };
  }

  /** Why the stream is not wanted; null when it is. */
  helloProblem(call: InboundCall, hello: Hello | null): CallFailure | null {
    if (hello === null)
      return { code: status.INVALID_ARGUMENT, details: 'Cannot open the stream: no hello came first' };
    const problem = helloProblem(hello, this.options.identity());
    if (problem === null) return null;
    // A node that joins is called before it knows that it was taken in.
    if (problem.canRetry) return { code: status.UNAVAILABLE, details: problem.text };
    this.refused(call, problem.text);
    return { code: status.FAILED_PRECONDITION, details: problem.text };
  }

  private refused(call: InboundCall, reason: string): void {
    this.options.counters.hellosRefused += 1;
    const host = call.getPeer().replace(/:\d+$/, '');
    this.warnOnce('Stream of another node is refused', { host, reason });
  }

  /** Who is refused comes back again and again: the same fields are logged once. */
  warnOnce(message: string, fields: Readonly<Record<string, string | number>>): void {
    const key = JSON.stringify([message, fields]);
    if (this.loggedRefusals.has(key)) return;
    if (this.loggedRefusals.size >= rememberedRefusalsMax) this.loggedRefusals.clear();
    this.loggedRefusals.add(key);
    this.options.logger.warn(message, fields);
  }
}

const widened = new WeakSet<object>();

/**
 * Lets the peer send more than 64 KiB per round trip. grpc-js has an option for it on the side of the client alone, so this
 * reaches for the HTTP/2 session below; where it is not found, streams over long distances are slower and nothing else.
 */
export function widenFlowControl(call: object): void {
  const session = (call as { call?: { stream?: ServerHttp2Stream } }).call?.stream?.session;
  if (session === undefined || session.destroyed || widened.has(session)) return;
  widened.add(session);
  session.settings({ initialWindowSize: flowControlWindowBytes });
  session.setLocalWindowSize(flowControlWindowBytes);
}
