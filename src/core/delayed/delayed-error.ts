/** What the delayed messages answer instead of doing what they were asked: a closed list of codes. Any thread. */

/** Code → what it means. */
export const delayedErrorCodes = {
  DELAYED_CLOSED: 'The service was closed.',
  DELAYED_FULL: 'As many messages wait as may.',
  DELAYED_INVALID: 'The due time or the record is none.',
  DELAYED_TOO_FAR: 'The due time lies further ahead than is allowed.',
  DELAYED_TOO_LARGE: 'The record is larger than is allowed.',
} as const;

export type DelayedErrorCode = keyof typeof delayedErrorCodes;

export class DelayedError extends Error {
  override readonly name = 'DelayedError';
  readonly code: DelayedErrorCode;
  /** The same call can succeed later. */
  readonly canRetry: boolean;

  constructor(code: DelayedErrorCode, message: string) {
    super(message);
    this.code = code;
    this.canRetry = code === 'DELAYED_FULL';
  }
}
