/**
 * Files on the real disk. Writes go to the page cache at once (a few microseconds), a sync goes through
 * libuv's threads. Thread: whoever owns the files.
 */

import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { assert } from '../../std/assert.ts';
import type { Done, FileSystem, RandomAccessFile } from '../ports/file-system.ts';
import { freeBytesOf } from './free-bytes.ts';
import { closeBeside, removeFile } from './remove-file.ts';

/** Makes the folder when it is missing. Throws Node's errors. */
export function openNodeFileSystem(folder: string): FileSystem {
  return new NodeFileSystem(resolve(folder));
}

/** A thread waits itself for a disk that answers within this time. */
const blockingSyncMsMax = 0.5;

class NodeFileSystem implements FileSystem {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    const firstMade = mkdirSync(folder, { recursive: true }) ?? folder;
    // The folders that were made must be there after a power cut as well; the last one may be a dead process's work.
    for (let made = folder; made.length >= firstMade.length; made = dirname(made)) syncFolderAt(dirname(made));
  }

  list(): readonly string[] {
    return readdirSync(this.#folder).sort();
  }

  open(name: string, options: { readonly create: boolean }): RandomAccessFile {
    const flags = constants.O_RDWR | (options.create ? constants.O_CREAT | constants.O_EXCL : 0);
    return new NodeFile(openSync(this.#path(name), flags, 0o600));
  }

  rename(from: string, to: string): void {
    renameSync(this.#path(from), this.#path(to));
  }

  remove(name: string): void {
    removeFile(this.#path(name));
  }

  syncFolder(): void {
    syncFolderAt(this.#folder);
  }

  freeBytes(): number {
    return freeBytesOf(this.#folder);
  }

  pathOf(name: string): string {
    return this.#path(name);
  }

  #path(name: string): string {
    assert(name.length > 0 && !/[/\\]/.test(name), 'a file of the log lies in its folder');
    return join(this.#folder, name);
  }
}

function syncFolderAt(folder: string): void {
  const descriptor = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

class NodeFile implements RandomAccessFile {
  readonly #descriptor: number;
  #syncs = 0;
  /** What a sync takes at present; unknown is slow. */
  #syncMs = 1;
  #isClosed = false;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  size(): number {
    return fstatSync(this.#open()).size;
  }

  read(target: Uint8Array, position: number): number {
    const descriptor = this.#open();
    let length = 0;
    while (length < target.length) {
      const count = readSync(descriptor, target, length, target.length - length, position + length);
      if (count === 0) break;
      length += count;
    }
    return length;
  }

  write(source: Uint8Array, position: number): void {
    const descriptor = this.#open();
    let length = 0;
    while (length < source.length) {
      length += writeSync(descriptor, source, length, source.length - length, position + length);
    }
  }

  truncate(size: number): void {
    ftruncateSync(this.#open(), size);
  }

  sync(done: Done, mayBlock = false): void {
    const descriptor = this.#open();
    this.#syncs += 1;
    const isQuick = this.#syncMs < blockingSyncMsMax;
    if (mayBlock && isQuick) {
      // Not at once: what this turn has to send goes out first.
      setImmediate(() => this.#syncOnThread(descriptor, done));
      return;
    }
    const start = performance.now();
    fdatasync(descriptor, (error) => {
      // On the way there and back another thread was in it, which a disk that has become quick again need not pay for.
      this.#note((performance.now() - start) / 2);
      this.#finish(descriptor, error, done);
    });
  }

  #syncOnThread(descriptor: number, done: Done): void {
    let failure: Error | null = null;
    try {
      this.#timedSync(descriptor);
    } catch (error) {
      failure = error as Error;
    }
    this.#finish(descriptor, failure, done);
  }

  syncQuickly(): boolean {
    const descriptor = this.#open();
    if (this.#syncs > 0 || this.#syncMs >= blockingSyncMsMax) return false;
    this.#timedSync(descriptor);
    return true;
  }

  #timedSync(descriptor: number): void {
    const start = performance.now();
    try {
      fdatasyncSync(descriptor);
    } finally {
      this.#note(performance.now() - start);
    }
  }

  /** Slow syncs count at once, quick ones by and by. */
  #note(durationMs: number): void {
    this.#syncMs = durationMs > this.#syncMs ? durationMs : this.#syncMs + (durationMs - this.#syncMs) / 8;
  }

  #finish(descriptor: number, error: Error | null, done: Done): void {
    this.#syncs -= 1;
    if (this.#isClosed && this.#syncs === 0) closeBeside(descriptor);
    done(error);
  }

  syncNow(): void {
    fdatasyncSync(this.#open());
  }

  /** A descriptor that a sync in another thread still uses is closed behind it: its number could be another file's by then. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#syncs === 0) closeBeside(this.#descriptor);
  }

  #open(): number {
    assert(!this.#isClosed, 'a file is not used after it was closed');
    return this.#descriptor;
  }
}
