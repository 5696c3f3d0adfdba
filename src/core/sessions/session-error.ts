/**
 * What durable sessions answer instead of doing what they were asked. Thread: any; used by all of `core/sessions`.
 */

/** Code → what it means. */
export const sessionErrorCodes = {
  SESSION_CLOSED: 'The session service was closed.',
  SESSION_FENCED: 'A newer owner of these sessions has taken over: this one stores nothing any more.',
  SESSION_LIMIT: 'A bound on sessions, subscriptions or sizes is reached.',
  SESSION_MESSAGE_REFUSED: 'The store does not take the message, for the reason in the text. It was not stored.',
  SESSION_STATE_CORRUPTED: 'A stored record of a session is not one.',
  SESSION_MOVING: 'The session is handed over to another owner. Connect there, or try again.',
  SESSION_STORAGE_FAILED: 'The store refuses what sessions have to keep, for the reason in the text.',
  SESSION_TAKEN_OVER: 'Another connection has taken the session over.',
} as const;

export type SessionErrorCode = keyof typeof sessionErrorCodes;

export class SessionError extends Error {
  override readonly name = 'SessionError';
  readonly code: SessionErrorCode;

  constructor(code: SessionErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}
