/**
 * Statuses of gRPC, and where the facts about a failed call stand in the trailing metadata of RingMQ's services. Plain
 * numbers and names, so that nobody loads the gRPC library for them. Any thread; used by servers and clients.
 */

/** The statuses that RingMQ uses, by their names in the gRPC specification. */
export const rpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type RpcStatus = (typeof rpcStatus)[keyof typeof rpcStatus];

/** Keys of the trailing metadata. */
export const trailerKeys = {
  /** A stable word such as `NO_LEADER`; finer than the status. */
  code: 'ringmq-code',
  /** The field of the request that is wrong. */
  field: 'ringmq-field',
  /** `host:port` where the call may succeed. */
  leader: 'ringmq-leader',
  /** Of a watch that ended with `COMPACTED`: history up to this revision is gone. */
  compactedRevision: 'ringmq-compacted-revision',
} as const;
