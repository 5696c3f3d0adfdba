/** What can go wrong with the log of a replica, as typed errors. Thread: the Raft worker; read by the replica's driver. */

/**
 * Stored bytes are not what was once made durable. The replica must stop voting and serving; its data comes back from
 * its peers, never by a guess about what the bytes were.
 */
export class CorruptionError extends Error {
  override readonly name = 'CorruptionError';
  readonly code = 'RAFT_LOG_CORRUPTED';
  /** Name of the file in the log's folder. */
  readonly file: string;
  /** Byte offset in the file at which the log stops making sense. */
  readonly offset: number;

  constructor(file: string, offset: number, reason: string) {
    super(`Cannot read log file "${file}" at byte ${offset}: ${reason}`);
    this.file = file;
    this.offset = offset;
  }
}

/** The files are sound and cannot be used by this replica or this version, or the log was closed. */
export class LogUnusableError extends Error {
  override readonly name = 'LogUnusableError';
  readonly code: 'RAFT_LOG_FOREIGN' | 'RAFT_LOG_VERSION' | 'RAFT_LOG_CLOSED';

  constructor(code: LogUnusableError['code'], message: string) {
    super(message);
    this.code = code;
  }
}
