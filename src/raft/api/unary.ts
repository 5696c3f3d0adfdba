/** Calls with one request and one answer: deadline, failure, trailing metadata. Thread: the Raft worker; used by the services. */
import type { handleUnaryCall, Metadata, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { PlacementError } from '../../core/ports/placement.ts';
import { trailerKeys } from '../../rpc/status.ts';
import type { ApiContext } from './context.ts';
import { type CallFailure, toFailure } from './failure.ts';

/** A status as the gRPC library takes it. */
export interface StatusObject {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

/** Header values are printable ASCII: other characters of names and messages become `?`. */
function toHeaderText(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

export function toStatus({ grpc }: ApiContext, failure: CallFailure): StatusObject {
  const metadata = new grpc.Metadata();
  metadata.set(trailerKeys.code, failure.code);
  if (failure.field !== '') metadata.set(trailerKeys.field, toHeaderText(failure.field));
  if (failure.leaderAddress !== null) metadata.set(trailerKeys.leader, toHeaderText(failure.leaderAddress));
  return { code: failure.status, details: failure.message, metadata };
}

/** What is left until the caller's deadline, at most what the server allows. */
export function timeoutOf(call: { getDeadline(): Date | number }, { limits }: ApiContext): number {
  const leftMs = Number(call.getDeadline()) - Date.now();
  return Math.max(1, Math.min(limits.callTimeoutMsMax, leftMs));
}

/** Wraps `answer`; what it throws becomes the status of the call. */
export function unary<Request, Response>(
  context: ApiContext,
  answer: (request: Request, timeoutMs: number) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call: ServerUnaryCall<Request, Response>, reply: sendUnaryData<Response>) => {
    // `answer` may throw before its first await: both ways lead to the same place.
    const run = async (): Promise<Response> => answer(call.request, timeoutOf(call, context));
    run().then(
      (response) => reply(null, response),
      (error) => reply(toStatus(context, toFailure(error, context.onDefect))),
    );
  };
}

/** Rejects with `TIMED_OUT` when the work takes longer; for calls of the node that have no deadline of their own. */
export async function withDeadline<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new PlacementError('TIMED_OUT', 'Cannot answer in time: it may or may not happen later'));
    }, timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
