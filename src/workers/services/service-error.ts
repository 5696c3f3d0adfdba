/**
 * Errors of the services as they cross threads: structured clone would drop their classes. Used by both ends. What is none of theirs is
 * a defect of the host, and is told as such.
 */
import { DelayedError, delayedErrorCodes } from '../../core/delayed/delayed-error.ts';
import { QueueError, queueErrorCodes } from '../../core/queues/queue-error.ts';
import { StorageError, storageErrorCodes } from '../../core/streams/storage-error.ts';
import { TransactionError, transactionErrorCodes } from '../../core/transactions/transaction-error.ts';

export interface SentServiceError {
  readonly code: string;
  readonly message: string;
}

export type ServiceError = DelayedError | QueueError | StorageError | TransactionError;

/** Null for what is no error of the services. */
export function toSentServiceError(thrown: unknown): SentServiceError | null {
  const isOurs =
    thrown instanceof QueueError ||
    thrown instanceof StorageError ||
    thrown instanceof TransactionError ||
    thrown instanceof DelayedError;
  return isOurs ? { code: thrown.code, message: thrown.message } : null;
}

export function fromSentServiceError({ code, message }: SentServiceError): ServiceError {
  if (isCodeOf(queueErrorCodes, code)) return new QueueError(code, message);
  if (isCodeOf(transactionErrorCodes, code)) return new TransactionError(code, message);
  if (isCodeOf(delayedErrorCodes, code)) return new DelayedError(code, message);
  if (isCodeOf(storageErrorCodes, code)) return new StorageError(code, message);
  return new StorageError('STORAGE_UNCERTAIN', message);
}

function isCodeOf<C extends string>(codes: Readonly<Record<C, string>>, code: string): code is C {
  return Object.hasOwn(codes, code);
}
