/**
 * A watch that outlives its connection: it goes on where it stopped, on another server if need be, and reports each event
 * once. Any thread; used by `PlacementClient`.
 */
import type { ClientReadableStream } from '@grpc/grpc-js';
import {
  type WatchEvent,
  type WatchRequest,
  type WatchResponse,
  WatchServiceService,
} from '../generated/ringmq/placement/v1/watch.ts';
import { rpcStatus } from '../status.ts';
import { backOffMs } from './back-off.ts';
import type { Caller } from './caller.ts';
import { closedError, fromServiceError, PlacementCallError } from './errors.ts';

/** Events of whole revisions; without events it says how far the watch has come. */
export interface WatchProgress {
  /** Everything up to here was reported. */
  readonly revision: number;
  readonly events: readonly WatchEvent[];
}

const resumableCodes = new Set([
  'UNAVAILABLE',
  'STOPPED',
  'SLOW_WATCHER',
  'NOT_CONNECTED',
  'NO_LEADER',
  'FUTURE_REVISION',
]);

/** Messages of one stream that wait for the reader; then the stream is held back. */
const waitingMax = 16;

/**
 * Reports from `request.fromRevision` on, which is not 0, until the reader stops or `signal` is aborted. Throws
 * `PlacementCallError`; `COMPACTED` means: read the state again and watch from its revision.
 */
export async function* watchFrom(
  caller: Caller,
  request: WatchRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchProgress, void> {
  let nextRevision = request.fromRevision;
  /** Events of `nextRevision` and later that were reported already, because they came in parts. */
  let reportedCount = 0;
  for (let failures = 0; ; failures++) {
    const connection = caller.pool.get(caller.endpoints.current());
    const stream = connection.serverStream(WatchServiceService.watch, { ...request, fromRevision: nextRevision });
    let toSkip = reportedCount;
    try {
      for await (const response of readStream(caller, stream, signal)) {
        failures = 0;
        const skipped = Math.min(toSkip, response.events.length);
        const events = skipped === 0 ? response.events : response.events.slice(skipped);
        toSkip -= skipped;
        if (response.isPartial) {
          const isNext = ({ item }: WatchEvent): boolean => (item?.modRevision ?? 0) > response.revision;
          // Only the last revision of a part is incomplete; earlier ones count as reported.
          if (response.revision >= nextRevision) reportedCount = 0;
          reportedCount += events.filter(isNext).length;
          nextRevision = Math.max(nextRevision, response.revision + 1);
        } else {
          nextRevision = Math.max(nextRevision, response.revision + 1);
          reportedCount = 0;
        }
        if (events.length > 0 || response.events.length === 0) yield { revision: nextRevision - 1, events };
      }
      if (signal?.aborted === true) return;
      throw new PlacementCallError('STOPPED', rpcStatus.UNAVAILABLE, 'Cannot watch: the server ended the stream');
    } catch (error) {
      if (signal?.aborted === true) return;
      if (!(error instanceof PlacementCallError) || !resumableCodes.has(error.code)) throw error;
      caller.leave(connection.address, error);
      await caller.pause(backOffMs(failures + 1));
    }
  }
}

/** The messages of a stream, until it ends, fails, or the signal or the client says so. */
async function* readStream(
  caller: Caller,
  stream: ClientReadableStream<WatchResponse>,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchResponse, void> {
  const waiting: WatchResponse[] = [];
  let error: PlacementCallError | null = null;
  let isOver = false;
  let wake: (() => void) | null = null;
  const rouse = (): void => {
    wake?.();
    wake = null;
  };
  const finish = (reason: PlacementCallError | null): void => {
    if (isOver) return;
    isOver = true;
    error = reason;
    rouse();
  };
  stream.on('data', (response: WatchResponse) => {
    waiting.push(response);
    if (waiting.length === waitingMax) stream.pause();
    rouse();
  });
  stream.on('end', () => finish(null));
  stream.on('error', (reason) => finish(fromServiceError(reason as Parameters<typeof fromServiceError>[0])));
  const onAbort = (): void => finish(null);
  signal?.addEventListener('abort', onAbort);
  const removeOnClose = caller.onClose(() => finish(closedError()));
  if (signal?.aborted === true) finish(null);
  if (caller.isClosed) finish(closedError());
  try {
    for (;;) {
      const response = waiting.shift();
      if (response !== undefined && signal?.aborted !== true) {
        if (waiting.length === waitingMax - 1) stream.resume();
        yield response;
      } else if (isOver) {
        if (error !== null) throw error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    removeOnClose();
    stream.cancel();
  }
}
