/**
 * The files of a partition for who only looks: nothing is ever changed, whatever is called. Thread: the one of the command; used by
 * the offline tools.
 */

import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem, RandomAccessFile } from '../../core/ports/file-system.ts';

export class ReadOnlyFiles implements FileSystem {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  list(): readonly string[] {
    return readdirSync(this.#folder).sort();
  }

  open(name: string): RandomAccessFile {
    const descriptor = openSync(join(this.#folder, name), constants.O_RDONLY);
    return {
      size: () => fstatSync(descriptor).size,
      read: (target, position) => readAll(descriptor, target, position),
      write: refuse,
      truncate: refuse,
      sync: refuse,
      syncNow: refuse,
      close: () => closeSync(descriptor),
    };
  }

  rename(): void {
    refuse();
  }

  remove(): void {
    refuse();
  }

  syncFolder(): void {
    refuse();
  }

  freeBytes(): number {
    return 0;
  }
}

function readAll(descriptor: number, target: Uint8Array, position: number): number {
  let length = 0;
  while (length < target.length) {
    const count = readSync(descriptor, target, length, target.length - length, position + length);
    if (count === 0) break;
    length += count;
  }
  return length;
}

function refuse(): never {
  throw new Error('Cannot change files: they were opened to be looked at');
}
