/** Room on the disk below a path. Blocks for one system call; any thread. Used by the log, the state and who guards them. */
import { statfsSync } from 'node:fs';

/**
 * Bytes that this process may still write to the file system of `path`. Infinite where the file system says nothing of its
 * size, as many that live in user space do: it would look full for ever. Throws Node's errors.
 */
export function freeBytesOf(path: string): number {
  const { blocks, bavail, bsize } = statfsSync(path);
  return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
}
