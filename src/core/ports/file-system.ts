/**
 * The port of files that are written with care: what a log needs of a disk, so that the same code runs on a real one and on
 * the simulated one of the tests. Thread: whoever owns the files; one thread writes them.
 */

/** Called once, when the work is durable or has failed. */
export type Done = (error: Error | null) => void;

/**
 * Files as the log uses them. Errors are thrown or passed as Node's errors with `code` (`ENOSPC`, `EIO`, `ENOENT`, …).
 * Paths are relative to the folder that the object stands for.
 */
export interface FileSystem {
  /** Names in the folder, sorted. */
  list(): readonly string[];
  /** Opens for reading and writing; `create` makes a new file and fails with `EEXIST` when there is one. */
  open(name: string, options: { readonly create: boolean }): RandomAccessFile;
  /** Atomic; durable after `syncFolder`. */
  rename(from: string, to: string): void;
  remove(name: string): void;
  /** Makes creations, renames and removals durable. */
  syncFolder(): void;
  /** Bytes that can still be written. */
  freeBytes(): number;
  /** Where a file is for other threads that open it by themselves; not there, or null, when it has no path on this machine. */
  pathOf?(name: string): string | null;
}

export interface RandomAccessFile {
  size(): number;
  /** Reads up to `target.length` bytes; answers how many there were. */
  read(target: Uint8Array, position: number): number;
  /** All of it, or throws. In the page cache when it returns. */
  write(source: Uint8Array, position: number): void;
  truncate(size: number): void;
  /**
   * Makes everything that was written before durable (fdatasync), beside the thread. `mayBlock`: nothing else is worth doing
   * meanwhile, so on a disk that answers in a fraction of a millisecond the thread itself may wait, which saves the way to
   * another thread and back. `done` is never called inside of this call.
   */
  sync(done: Done, mayBlock?: boolean): void;
  /**
   * The same, blocking, when the disk answers in a fraction of a millisecond at present and nothing else is under way for the
   * file; false when it was not done. Throws when the disk fails. Absent: never done.
   */
  syncQuickly?(): boolean;
  /** The same, blocking; for start-up and rare paths. */
  syncNow(): void;
  close(): void;
}
