/** Errors of queues, cursors, delayed messages and transactions as answers. Lives on the main thread; used by the resources about them. */
import { DelayedError, type DelayedErrorCode } from '../../core/delayed/delayed-error.ts';
import { QueueError, type QueueErrorCode } from '../../core/queues/queue-error.ts';
import { TransactionError, type TransactionErrorCode } from '../../core/transactions/transaction-error.ts';
import type { HttpResponse } from '../../net/http/port.ts';
import { orInvalid } from './request.ts';
import { json } from './response.ts';
import { toFailure } from './streams-failure.ts';

const statuses: Readonly<Record<DelayedErrorCode | QueueErrorCode | TransactionErrorCode, number>> = {
  DELAYED_CLOSED: 503,
  DELAYED_FULL: 503,
  DELAYED_INVALID: 400,
  DELAYED_TOO_FAR: 400,
  DELAYED_TOO_LARGE: 413,
  QUEUE_BATCH_UNREADABLE: 500,
  QUEUE_CLOSED: 503,
  QUEUE_EXISTS: 409,
  QUEUE_FENCED: 503,
  QUEUE_GENERATION_STALE: 409,
  QUEUE_GROUP_EXISTS: 409,
  QUEUE_GROUP_IN_USE: 409,
  QUEUE_GROUP_UNKNOWN: 404,
  QUEUE_LIMIT: 400,
  QUEUE_SETTING_INVALID: 400,
  QUEUE_STATE_CORRUPTED: 500,
  QUEUE_STORAGE_FAILED: 503,
  QUEUE_UNKNOWN: 404,
  TRANSACTION_CLOSED: 503,
  TRANSACTION_CONCURRENT: 503,
  TRANSACTION_FENCED: 409,
  TRANSACTION_INVALID: 400,
  TRANSACTION_LIMIT: 503,
  TRANSACTION_STATE: 409,
  TRANSACTION_UNKNOWN: 404,
};

/** What `work` answers; errors of the services, of streams, and of the request itself as answers with a stable code. */
export function orServiceFailure(work: () => Promise<HttpResponse>): Promise<HttpResponse> {
  return orInvalid(async () => {
    try {
      return await work();
    } catch (error) {
      const isOurs = error instanceof QueueError || error instanceof DelayedError || error instanceof TransactionError;
      if (isOurs) return json(statuses[error.code], { code: error.code, message: error.message });
      const failure = toFailure(error);
      if (failure === null) throw error;
      return failure;
    }
  });
}
