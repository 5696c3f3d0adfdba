/** Operating errors: what can go wrong without a defect in RingMQ. Used on every thread and across module copies. */

import type { ErrorCode } from './error-codes.ts';

const brand = Symbol.for('ringmq.BrokerError');

/** An error with a stable code. Structured clone drops the class, so send `code` and `message` between threads. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError';
  /** Stable; all of them are in `error-codes.ts` and `docs/errors.md`. */
  readonly code: ErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly canRetry: boolean;
  readonly [brand] = true;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; canRetry?: boolean } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.canRetry = options.canRetry ?? false;
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && brand in value;
  }
}

/** Whatever was thrown, as an `Error`. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
