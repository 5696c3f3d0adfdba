/** What can be wrong with stored or received bytes. Thrown on the Raft worker and by readers on other threads. */

/**
 * What is stored is not what was written: the replica must stop voting and serving. Never the fault of a client; nothing
 * that was read with it may be used.
 */
export class CorruptionError extends Error {
  override readonly name = 'CorruptionError';
  readonly code = 'CORRUPTED';
}

/** Bytes that break their format, or have a version that this program does not know. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError';
}

/** A snapshot stream or backup file is damaged, incomplete, or made by another version. Nothing of it was installed. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
}

/** A typed record breaks its schema; the message names the field. */
export class RecordInvalidError extends Error {
  override readonly name = 'RecordInvalidError';
}
