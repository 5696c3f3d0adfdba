/** Why a call of the client failed. Any thread; thrown by everything in this folder. */
import type { ServiceError } from '@grpc/grpc-js';
import type { CallError } from '../generated/ringmq/placement/v1/common.ts';
import { rpcStatus, trailerKeys } from '../status.ts';

const brand = Symbol.for('ringmq.PlacementCallError');

/** Codes with which nothing has happened, whatever the call was. */
const harmlessCodes = new Set(['OVERLOADED', 'NOT_LEADER', 'NOT_CONNECTED']);
/** Codes after which another try, maybe at another node, can succeed. */
const passingCodes = new Set([...harmlessCodes, 'NO_LEADER', 'STOPPED', 'UNAVAILABLE']);

export class PlacementCallError extends Error {
  override readonly name = 'PlacementCallError';
  /**
   * Stable word: a refusal such as `LEASE_NOT_FOUND`, an error of the moment such as `NO_LEADER` (docs of the API), or the
   * client's own: `TIMED_OUT`, `NOT_CONNECTED` (nothing was sent), `UNAVAILABLE` (the connection broke), `CLOSED`.
   */
  readonly code: string;
  /** Number of the gRPC status. */
  readonly status: number;
  /** The field of the request that is wrong; '' for none. */
  readonly field: string;
  /** `host:port` where the call may succeed; '' when unknown. */
  readonly leaderAddress: string;
  /** Of a watch that ended with `COMPACTED`: history up to here is gone. */
  readonly compactedRevision: number;
  readonly [brand] = true;

  constructor(
    code: string,
    status: number,
    message: string,
    facts: { field?: string; leaderAddress?: string; compactedRevision?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: facts.cause });
    this.code = code;
    this.status = status;
    this.field = facts.field ?? '';
    this.leaderAddress = facts.leaderAddress ?? '';
    this.compactedRevision = facts.compactedRevision ?? 0;
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && brand in value;
  }
}

/** Whether to try again: `isHarmless` says that the call may run twice. */
export function canTryAgain({ code }: PlacementCallError, isHarmless: boolean): boolean {
  return isHarmless ? passingCodes.has(code) : harmlessCodes.has(code);
}

/** `last`: why the last of several tries failed. */
export function timedOut(timeoutMs: number, last: PlacementCallError | null = null): PlacementCallError {
  const reason = last === null ? 'no answer; a write may or may not have happened' : last.message;
  return new PlacementCallError(
    'TIMED_OUT',
    rpcStatus.DEADLINE_EXCEEDED,
    `Cannot finish within ${timeoutMs} ms: ${reason}`,
    {
      cause: last,
    },
  );
}

export function closedError(): PlacementCallError {
  return new PlacementCallError('CLOSED', rpcStatus.CANCELLED, 'Cannot call: the client is closed');
}

export function fromCallError({ status, code, message, field, leaderAddress }: CallError): PlacementCallError {
  return new PlacementCallError(code, status, message, { field, leaderAddress });
}

/** For what carries no code of RingMQ: the library's own failures, and servers that are none of ours. */
function codeOfStatus({ code, details }: ServiceError): string {
  if (code === rpcStatus.DEADLINE_EXCEEDED) return 'TIMED_OUT';
  // The other side cut the stream, as a server does that is shut down by force: this side's own cancellations end here.
  if (code === rpcStatus.CANCELLED || details?.includes('RST_STREAM')) return 'UNAVAILABLE';
  return Object.entries(rpcStatus).find(([, number]) => number === code)?.[0] ?? 'UNKNOWN';
}

/** What the gRPC library reports: the server's status, or its own when the connection failed. */
export function fromServiceError(error: ServiceError): PlacementCallError {
  // The library reports some failures of its own kind, such as a message that does not parse, without these fields.
  const fact = (key: string): string => error.metadata?.get(key)[0]?.toString() ?? '';
  return new PlacementCallError(fact(trailerKeys.code) || codeOfStatus(error), error.code, error.details, {
    field: fact(trailerKeys.field),
    leaderAddress: fact(trailerKeys.leader),
    compactedRevision: Number(fact(trailerKeys.compactedRevision)),
    cause: error,
  });
}
