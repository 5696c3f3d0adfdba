/**
 * The port of messages that are written to a partition later. One thread of the node has them; each other thread has an implementation of
 * this port. Calls reject with DelayedError or StorageError; after STORAGE_UNCERTAIN the message may be accepted.
 */
import type { WaitingMessage } from '../delayed/bucket.ts';
import type { CancelOutcome, DelayedHandle, DelayedMessage } from '../delayed/delayed-messages.ts';

export type { CancelOutcome, DelayedHandle, DelayedMessage, WaitingMessage };

export interface Delayed {
  /** Accepts a message for a time, in milliseconds since 1970. Resolves when it is durable: it is written once, not before. */
  acceptAt(dueMs: number, message: DelayedMessage): Promise<DelayedHandle>;
  /** Accepts a message for so many milliseconds from now. */
  acceptAfter(delayMs: number, message: DelayedMessage): Promise<DelayedHandle>;
  cancel(handle: DelayedHandle): Promise<CancelOutcome>;
  /** What waits, about in the order of the due times; `isComplete` false when there is more. */
  list(countMax: number): Promise<{ readonly messages: readonly WaitingMessage[]; readonly isComplete: boolean }>;
}
