/**
 * A log directory as the journal sees it: a folder for each partition, and files of the directory itself. Thread: the journal
 * worker; the port is what tests put a simulated disk behind.
 */

import { closeSync, constants, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openNodeFileSystem } from '../core/files/node-file-system.ts';
import { removeFile } from '../core/files/remove-file.ts';
import type { FileSystem } from '../core/ports/file-system.ts';

/** Errors are Node's, with `code`. */
export interface LogFolders {
  /** Files beside the folders. */
  readonly root: FileSystem;
  /** Names of the folders, sorted. */
  list(): readonly string[];
  /** The files of a folder. `create` makes it, durably; without it, it must be there. */
  open(name: string, options: { readonly create: boolean }): FileSystem;
  /** Durable when it returns. */
  rename(from: string, to: string): void;
  /** With all that is in it; durable when it returns. */
  remove(name: string): void;
}

/** The directory `path` of the real disk; it is made when it is missing. */
export function openLogFolders(path: string): LogFolders {
  return new NodeLogFolders(resolve(path));
}

class NodeLogFolders implements LogFolders {
  readonly root: FileSystem;
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    this.root = openNodeFileSystem(path);
  }

  list(): readonly string[] {
    const entries = readdirSync(this.#path, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
  }

  open(name: string, options: { readonly create: boolean }): FileSystem {
    const path = join(this.#path, name);
    if (options.create) {
      mkdirSync(path);
      this.#sync();
    } else closeSync(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
    return openNodeFileSystem(path);
  }

  rename(from: string, to: string): void {
    renameSync(join(this.#path, from), join(this.#path, to));
    this.#sync();
  }

  remove(name: string): void {
    const folder = join(this.#path, name);
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isFile()) removeFile(join(folder, entry.name));
    }
    rmSync(folder, { recursive: true });
    this.#sync();
  }

  #sync(): void {
    const descriptor = openSync(this.#path, constants.O_RDONLY);
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}
