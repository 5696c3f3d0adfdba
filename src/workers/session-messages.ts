/**
 * Messages between the main thread and connection workers about durable sessions: which slots a worker opens, and up to where the
 * message logs can be cut. Plain data.
 */

export type SessionsToWorker =
  /** The slots with stored sessions that this worker is to open; none: it opens its own when it needs it. Answered by `sessions-opened`. */
  | { readonly type: 'sessions-open'; readonly slots: readonly number[] }
  /** Apply limits, and say what is needed. Answered by `sessions-floors`. */
  | { readonly type: 'sessions-upkeep'; readonly round: number }
  /** Nobody needs what lies below. */
  | { readonly type: 'sessions-trim'; readonly floors: readonly number[] };

export type SessionsToMain =
  /** The first try has ended; `problem` says why it will be tried again. */
  | { readonly type: 'sessions-opened'; readonly problem: string | null }
  /** The worker has begun to store sessions. */
  | { readonly type: 'sessions-begun' }
  /** For each message log the lowest offset that a session of this worker needs; null: it has no sessions at all, and needs nothing. */
  | { readonly type: 'sessions-floors'; readonly round: number; readonly floors: readonly number[] | null };
