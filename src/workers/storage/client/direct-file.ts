/**
 * Reads of a file past the page cache (O_DIRECT). A cold read that goes through the page cache makes the kernel read ahead, by as much as
 * the disk is set to (128 KiB, but also 8 MiB), in front of which a sync has to wait; and what is read pushes out what consumers near
 * the end will want. Past it the disk is asked for what is wanted and nothing else. Used by the plan reader of a thread.
 */
import { close, constants, fstat, open, read } from 'node:fs';

/** What offset, length and memory are multiples of: no file system asks for more. */
const alignment = 4096;
/** Memory that is kept for the next read. */
const keptBytesMax = 512 * 1024;

/** Null when the system or the file system has no such way. */
function reopenDirect(descriptor: number): Promise<number | null> {
  const { O_DIRECT, O_RDONLY } = constants;
  if (O_DIRECT === undefined) return Promise.resolve(null);
  return new Promise((resolve) => {
    // Not by its path, under which another file may lie by now.
    open(`/proc/self/fd/${descriptor}`, O_RDONLY | O_DIRECT, (error, opened) =>
      resolve(error === null ? opened : null),
    );
  });
}

export function sizeOf(descriptor: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fstat(descriptor, (error, stats) => (error === null ? resolve(stats.size) : reject(error)));
  });
}

/** Page-aligned, which only memory is that could grow. */
function alignedMemory(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes, { maxByteLength: bytes }));
}

export class DirectFile {
  readonly #descriptor: number;
  #kept: Buffer | null = null;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** The file that is open as `descriptor`; null where this does not go. */
  static async of(descriptor: number): Promise<DirectFile | null> {
    const direct = await reopenDirect(descriptor);
    return direct === null ? null : new DirectFile(direct);
  }

  /** Less than `length` only at the end of the file. Rejects with Node's errors: EINVAL where the file system has other rules. */
  async read(length: number, position: number): Promise<Buffer> {
    const start = position - (position % alignment);
    const wanted = Math.ceil((position + length - start) / alignment) * alignment;
    let memory = this.#kept;
    this.#kept = null;
    if (memory === null || memory.length < wanted) memory = alignedMemory(wanted);
    const count = await readInto(this.#descriptor, memory, wanted, start);
    const end = Math.min(count, position + length - start);
    // Into plain memory: callers keep it, and code that works on memory that can grow is slow.
    const bytes = Buffer.allocUnsafeSlow(Math.max(0, end - (position - start)));
    memory.copy(bytes, 0, position - start, end);
    if (memory.length <= keptBytesMax) this.#kept = memory;
    return bytes;
  }

  /** Nothing is being read. */
  close(): void {
    close(this.#descriptor, () => undefined);
  }
}

function readInto(descriptor: number, memory: Buffer, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(descriptor, memory, 0, length, position, (error, count) => (error === null ? resolve(count) : reject(error)));
  });
}
