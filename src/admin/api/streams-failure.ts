/** Errors of streams and of the storage as answers. Lives on the main thread; used by the resources about both. */
import { StorageError, type StorageErrorCode } from '../../core/streams/storage-error.ts';
import { StreamError, type StreamErrorCode } from '../../core/streams/stream-catalog.ts';
import type { HttpResponse } from '../../net/http/port.ts';
import { orInvalid } from './request.ts';
import { json } from './response.ts';

const statuses: Readonly<Record<StorageErrorCode | StreamErrorCode, number>> = {
  STORAGE_BATCH_INVALID: 400,
  STORAGE_CLOSED: 503,
  STORAGE_CORRUPTED: 500,
  STORAGE_DISK_FULL: 507,
  STORAGE_LEADER_FENCED: 503,
  STORAGE_NAME_INVALID: 400,
  STORAGE_OFFSET_OUT_OF_RANGE: 400,
  STORAGE_PARTITION_EXISTS: 409,
  STORAGE_PARTITION_FAILED: 503,
  STORAGE_PARTITION_UNKNOWN: 404,
  STORAGE_PRODUCER_FENCED: 409,
  STORAGE_SEQUENCE_OUT_OF_ORDER: 409,
  STORAGE_SETTING_UNSUPPORTED: 400,
  STORAGE_UNAVAILABLE: 503,
  STORAGE_UNCERTAIN: 503,
  STREAM_EXISTS: 409,
  STREAM_INCOMPLETE: 409,
  STREAM_INTERNAL: 403,
  STREAM_NAME_INVALID: 400,
  STREAM_PARTITIONS_INVALID: 400,
  STREAM_PARTITION_UNKNOWN: 404,
  STREAM_UNKNOWN: 404,
};

/** The answer for an error of streams or of the storage, with `details` beside it; null for any other error. */
export function toFailure(error: unknown, details: object = {}): HttpResponse | null {
  if (error instanceof StreamError) {
    return json(statuses[error.code], { code: error.code, message: error.message, ...details });
  }
  if (!(error instanceof StorageError)) return null;
  const { code, message, canRetry } = error;
  return json(statuses[code], { code, message, canRetry, ...details });
}

/** What `work` answers; errors of streams, of the storage and of the request itself as answers with a stable code. */
export function orStreamFailure(work: () => Promise<HttpResponse>): Promise<HttpResponse> {
  return orInvalid(async () => {
    try {
      return await work();
    } catch (error) {
      const failure = toFailure(error);
      if (failure === null) throw error;
      return failure;
    }
  });
}
