/**
 * Finds out whether a page of a file lies in the page cache: reads one byte of it and looks whether the process had to ask a disk. The
 * kernel counts that for the whole process, so the answer is unknown while other threads read from disks. Linux; elsewhere it is
 * always unknown. Used by the plan reader of a thread.
 */
import { closeSync, openSync, read, readSync } from 'node:fs';

const pageBytes = 4096;

export class PageProbe {
  readonly #byte = Buffer.alloc(1);
  readonly #text = Buffer.alloc(512);
  /** Undefined: not tried. Null: there is no such file, or it does not say it. */
  #descriptor: number | null | undefined;

  /**
   * Bytes that this process has had read from disks; null when the system does not tell. Takes 3 us: the file lies in the kernel's
   * memory.
   */
  diskBytes(): number | null {
    if (this.#descriptor === undefined) this.#descriptor = openOrNull('/proc/self/io');
    if (this.#descriptor === null) return null;
    try {
      const length = readSync(this.#descriptor, this.#text, 0, this.#text.length, 0);
      const found = /^read_bytes: (\d+)$/m.exec(this.#text.toString('latin1', 0, length));
      if (found !== null) return Number(found[1]);
    } catch {
      // Not allowed to, or not counted by this kernel: it will not be another time either.
    }
    this.close();
    return null;
  }

  /**
   * `mark` says null while others read from disks, and changes when they do. Null: unknown. Rejects with Node's errors of the read.
   */
  async isCached(descriptor: number, position: number, mark: () => number | null): Promise<boolean | null> {
    const before = this.diskBytes();
    if (before === null) return null;
    const markBefore = mark();
    await touch(descriptor, this.#byte, position - (position % pageBytes));
    const after = this.diskBytes();
    if (after === null) return null;
    if (after === before) return true;
    return markBefore !== null && markBefore === mark() ? false : null;
  }

  /** From now on everything is unknown. */
  close(): void {
    if (typeof this.#descriptor === 'number') closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}

function openOrNull(path: string): number | null {
  try {
    return openSync(path, 'r');
  } catch {
    // Not Linux, or hidden from this process.
    return null;
  }
}

function touch(descriptor: number, byte: Buffer, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    read(descriptor, byte, 0, 1, position, (error) => (error === null ? resolve() : reject(error)));
  });
}
