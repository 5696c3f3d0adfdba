/** What the transactions answer instead of doing what they were asked: a closed list of codes. Any thread. */

/** Code → what it means. */
export const transactionErrorCodes = {
  TRANSACTION_CLOSED: 'The coordinator was closed.',
  TRANSACTION_CONCURRENT: 'The transaction before is still being ended, or too many calls wait. Ask again soon.',
  TRANSACTION_FENCED:
    'A newer producer of this name has begun, or the transaction was aborted because it took too long.',
  TRANSACTION_INVALID: 'A name, a time-out or a list is none.',
  TRANSACTION_LIMIT: 'There are as many names, or as many partitions in a transaction, as may be.',
  TRANSACTION_STATE: 'What was asked for does not fit the state of the transaction.',
  TRANSACTION_UNKNOWN: 'There is no producer of this name, or it has another id.',
} as const;

export type TransactionErrorCode = keyof typeof transactionErrorCodes;

export class TransactionError extends Error {
  override readonly name = 'TransactionError';
  readonly code: TransactionErrorCode;
  /** The same call can succeed later. */
  readonly canRetry: boolean;

  constructor(code: TransactionErrorCode, message: string) {
    super(message);
    this.code = code;
    this.canRetry = code === 'TRANSACTION_CONCURRENT';
  }
}
