/**
 * Removes a file and leaves the work of it to another thread. Any thread; used by whoever removes large files between other work.
 */
import { close, constants, openSync, unlinkSync } from 'node:fs';

/** Files that still have to be let go; more at once would take the process's descriptors. */
const pendingMax = 128;
let pending = 0;
let idle: (() => void)[] = [];

/**
 * The name is gone when it returns. The file itself goes when its last descriptor is closed, and that is done beside the thread: for
 * 256 MiB in the page cache it takes 100 ms. Throws Node's errors.
 */
export function removeFile(path: string): void {
  const descriptor = pending < pendingMax ? tryOpen(path) : -1;
  unlinkSync(path);
  if (descriptor >= 0) closeBeside(descriptor);
}

/** Closes a descriptor beside the thread, which may have to let go of a file that was removed or replaced. */
export function closeBeside(descriptor: number): void {
  pending += 1;
  close(descriptor, () => {
    pending -= 1;
    if (pending > 0) return;
    for (const tell of idle) tell();
    idle = [];
  });
}

/** Resolves when everything is closed. A thread that ends itself before leaves descriptors open in the process. */
export function whenClosed(): Promise<void> {
  if (pending === 0) return Promise.resolve();
  return new Promise((resolve) => idle.push(resolve));
}

function tryOpen(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch {
    // It can be removed all the same, and then its name says what is wrong with it.
    return -1;
  }
}
