/**
 * Why a call of the placement API fails, and how that reads in gRPC: one table for refusals of the state machine, one for
 * the errors of the moment. Thread: the Raft worker; used by every service.
 */
import { PlacementError, type PlacementErrorCode, type RefusalCode } from '../../core/ports/placement.ts';
import type { CallError } from '../../rpc/generated/ringmq/placement/v1/common.ts';
import { type RpcStatus, rpcStatus } from '../../rpc/status.ts';

/** Ends a call; the caller sees all of it. */
export class CallFailure extends Error {
  override readonly name = 'CallFailure';
  readonly status: RpcStatus;
  /** Stable word, part of the API. */
  readonly code: string;
  /** Name of the wrong field as the proto file has it; '' for none. */
  readonly field: string;
  readonly leaderAddress: string | null;

  constructor(status: RpcStatus, code: string, message: string, field = '', leaderAddress: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.leaderAddress = leaderAddress;
  }
}

/** A field that is wrong by itself, whatever the state is. */
export function invalidField(field: string, problem: string, code = 'INVALID_ARGUMENT'): CallFailure {
  return new CallFailure(rpcStatus.INVALID_ARGUMENT, code, `Cannot use field "${field}": ${problem}`, field);
}

/** Refusals by the state machine: the status, and the field that they are about in all requests that can meet them. */
export const refusals: Readonly<Record<RefusalCode, { readonly status: RpcStatus; readonly field: string }>> = {
  EMPTY_KEY: { status: rpcStatus.INVALID_ARGUMENT, field: 'key' },
  RESERVED_KEY: { status: rpcStatus.INVALID_ARGUMENT, field: 'key' },
  KEY_TOO_LARGE: { status: rpcStatus.INVALID_ARGUMENT, field: 'key' },
  VALUE_TOO_LARGE: { status: rpcStatus.INVALID_ARGUMENT, field: 'value' },
  TOO_MANY_OPERATIONS: { status: rpcStatus.INVALID_ARGUMENT, field: 'success' },
  DUPLICATE_KEY: { status: rpcStatus.INVALID_ARGUMENT, field: 'key' },
  INVALID_ARGUMENT: { status: rpcStatus.INVALID_ARGUMENT, field: '' },
  LEASE_NOT_FOUND: { status: rpcStatus.NOT_FOUND, field: 'lease' },
  LEASE_EXISTS: { status: rpcStatus.ALREADY_EXISTS, field: 'lease' },
  COMPACTED: { status: rpcStatus.OUT_OF_RANGE, field: 'revision' },
  FUTURE_REVISION: { status: rpcStatus.OUT_OF_RANGE, field: 'revision' },
  NODE_NOT_FOUND: { status: rpcStatus.NOT_FOUND, field: 'node' },
  NODE_FENCED: { status: rpcStatus.FAILED_PRECONDITION, field: 'epoch' },
  TOPIC_EXISTS: { status: rpcStatus.ALREADY_EXISTS, field: 'topic' },
  TOPIC_NOT_FOUND: { status: rpcStatus.NOT_FOUND, field: 'topic' },
  NOT_ENOUGH_NODES: { status: rpcStatus.FAILED_PRECONDITION, field: 'replication_factor' },
  // The caller reads the record again and decides anew: what ABORTED is for.
  EPOCH_MISMATCH: { status: rpcStatus.ABORTED, field: '' },
};

export const momentary: Readonly<Record<PlacementErrorCode, RpcStatus>> = {
  NO_LEADER: rpcStatus.UNAVAILABLE,
  TIMED_OUT: rpcStatus.DEADLINE_EXCEEDED,
  OVERLOADED: rpcStatus.RESOURCE_EXHAUSTED,
  DISK_FULL: rpcStatus.RESOURCE_EXHAUSTED,
  NOT_LEADER: rpcStatus.FAILED_PRECONDITION,
  MEMBERSHIP_REFUSED: rpcStatus.FAILED_PRECONDITION,
  STOPPED: rpcStatus.UNAVAILABLE,
  CORRUPTED: rpcStatus.DATA_LOSS,
};

interface Refused {
  readonly type: 'refused';
  readonly code: RefusalCode;
  readonly message: string;
}

/** The failure that a refused command or query is. */
export function refusedFailure({ code, message }: Refused): CallFailure {
  const { status, field } = refusals[code];
  return new CallFailure(status, code, message, field);
}

/**
 * Narrows a result to the type that the command has by its contract; throws `CallFailure` when it was refused. Another
 * type is a defect of the node.
 */
export function expectResult<R extends { readonly type: string }, T extends R['type']>(
  result: R,
  type: T,
): Extract<R, { readonly type: T }> {
  if (result.type === type) return result as Extract<R, { readonly type: T }>;
  if (result.type === 'refused') throw refusedFailure(result as unknown as Refused);
  throw new Error(`Cannot answer: the result is "${result.type}" instead of "${type}"`);
}

/** For commands whose result says no more than that it was done; throws `CallFailure` when it was refused. */
export function expectAccepted(result: { readonly type: string }): void {
  if (result.type === 'refused') throw refusedFailure(result as unknown as Refused);
}

/**
 * What the caller is told of an error. A defect is reported to `onDefect` and hidden from the caller: its message may hold
 * what is not his.
 */
export function toFailure(error: unknown, onDefect: (error: unknown) => void): CallFailure {
  if (error instanceof CallFailure) return error;
  if (error instanceof PlacementError) {
    return new CallFailure(momentary[error.code], error.code, error.message, '', error.leaderAddress);
  }
  onDefect(error);
  return new CallFailure(rpcStatus.INTERNAL, 'INTERNAL', 'Cannot answer: internal error');
}

/** For answers that carry their error themselves. */
export function toCallError({ status, code, message, field, leaderAddress }: CallFailure): CallError {
  return { status, code, message, field, leaderAddress: leaderAddress ?? '' };
}
