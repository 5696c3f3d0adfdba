/** Reads a backup from a server and checks that it came whole. Any thread; part of `PlacementClient`. */
import { createHash } from 'node:crypto';
import type { ClientReadableStream } from '@grpc/grpc-js';
import {
  type BackupEnd,
  type BackupHeader,
  type BackupResponse,
  MaintenanceServiceService,
} from '../generated/ringmq/placement/v1/maintenance.ts';
import { rpcStatus } from '../status.ts';
import type { Caller } from './caller.ts';
import { closedError, fromServiceError, PlacementCallError, timedOut } from './errors.ts';

export type BackupPart =
  | { readonly type: 'header'; readonly header: BackupHeader }
  | { readonly type: 'chunk'; readonly chunk: Uint8Array }
  | { readonly type: 'end'; readonly end: BackupEnd };

/**
 * Header, chunks, end, in this order. `silenceMsMax`: between two parts. Throws `PlacementCallError`: what was read until
 * then is no backup.
 */
export async function* readBackup(caller: Caller, silenceMsMax: number): AsyncGenerator<BackupPart, void> {
  const connection = caller.pool.get(caller.endpoints.current());
  await connection.ready(silenceMsMax);
  const digest = createHash('sha256');
  let chunkCount = 0;
  let end: BackupEnd | null = null;
  for await (const { part } of readParts(
    caller,
    connection.serverStream(MaintenanceServiceService.backup, {}),
    silenceMsMax,
  )) {
    if (part?.$case === 'header') yield { type: 'header', header: part.value };
    if (part?.$case === 'chunk') {
      digest.update(part.value);
      chunkCount++;
      yield { type: 'chunk', chunk: part.value };
    }
    if (part?.$case === 'end') end = part.value;
  }
  const isWhole = end !== null && end.chunkCount === chunkCount && digest.digest().equals(end.sha256);
  if (end === null || !isWhole) {
    const problem = end === null ? 'it was cut off' : 'its digest does not match';
    throw new PlacementCallError('DATA_LOSS', rpcStatus.DATA_LOSS, `Cannot use backup: ${problem}`);
  }
  yield { type: 'end', end };
}

async function* readParts(
  caller: Caller,
  stream: ClientReadableStream<BackupResponse>,
  silenceMsMax: number,
): AsyncGenerator<BackupResponse, void> {
  let isLate = false;
  // The loop below reports errors until it ends; what the cancellation after it causes is no news.
  stream.on('error', () => undefined);
  const timer = setTimeout(() => {
    isLate = true;
    stream.cancel();
  }, silenceMsMax);
  const removeOnClose = caller.onClose(() => stream.cancel());
  try {
    for await (const response of stream) {
      timer.refresh();
      yield response as BackupResponse;
      timer.refresh();
    }
  } catch (error) {
    if (isLate) throw timedOut(silenceMsMax);
    if (caller.isClosed) throw closedError();
    throw fromServiceError(error as Parameters<typeof fromServiceError>[0]);
  } finally {
    clearTimeout(timer);
    removeOnClose();
    stream.cancel();
  }
}
