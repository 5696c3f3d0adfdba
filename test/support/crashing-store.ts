/**
 * The journal's stream store on simulated disks that lose power, for tests of the services over it: after a crash nothing of the store
 * before it can touch the disks any more.
 */

import type { FileSystem, RandomAccessFile } from '../../src/core/ports/file-system.ts';
import type { StreamStore } from '../../src/core/ports/stream-store.ts';
import type { LogFolders } from '../../src/journal/log-folders.ts';
import { type JournalStore, openJournalStore } from '../../src/journal/stream-store.ts';
import { SimulatedFolders } from '../unit/journal/journal-fixture.ts';
import type { CrashFate } from './simulated-disk.ts';

class Gate {
  isShut = false;

  pass(): void {
    if (this.isShut) throw Object.assign(new Error('EBADF: the process is gone'), { code: 'EBADF' });
  }
}

class GatedFileSystem implements FileSystem {
  readonly #files: FileSystem;
  readonly #gate: Gate;

  constructor(files: FileSystem, gate: Gate) {
    this.#files = files;
    this.#gate = gate;
  }

  list(): readonly string[] {
    this.#gate.pass();
    return this.#files.list();
  }

  open(name: string, options: { readonly create: boolean }): RandomAccessFile {
    this.#gate.pass();
    return this.#files.open(name, options);
  }

  rename(from: string, to: string): void {
    this.#gate.pass();
    this.#files.rename(from, to);
  }

  remove(name: string): void {
    this.#gate.pass();
    this.#files.remove(name);
  }

  syncFolder(): void {
    this.#gate.pass();
    this.#files.syncFolder();
  }

  freeBytes(): number {
    return this.#files.freeBytes();
  }
}

class GatedFolders implements LogFolders {
  readonly root: FileSystem;
  readonly #folders: LogFolders;
  readonly #gate: Gate;

  constructor(folders: LogFolders, gate: Gate) {
    this.#folders = folders;
    this.#gate = gate;
    this.root = new GatedFileSystem(folders.root, gate);
  }

  list(): readonly string[] {
    this.#gate.pass();
    return this.#folders.list();
  }

  open(name: string, options: { readonly create: boolean }): FileSystem {
    this.#gate.pass();
    return new GatedFileSystem(this.#folders.open(name, options), this.#gate);
  }

  rename(from: string, to: string): void {
    this.#gate.pass();
    this.#folders.rename(from, to);
  }

  remove(name: string): void {
    this.#gate.pass();
    this.#folders.remove(name);
  }
}

export class CrashingStore {
  readonly #folders: SimulatedFolders;
  readonly #now: () => number;
  #gate = new Gate();
  #store: JournalStore;

  constructor(seed: number, now: () => number) {
    this.#folders = new SimulatedFolders(seed, (task) => setImmediate(task));
    this.#now = now;
    this.#store = this.#open();
  }

  get store(): StreamStore {
    return this.#store;
  }

  /** The power goes, and what is left is opened; `kill`: only the process goes. */
  crash(fate: CrashFate | 'kill' = 'mixed'): StreamStore {
    this.#gate.isShut = true;
    if (fate === 'kill') this.#folders.kill();
    else this.#folders.crash(fate);
    // Ends its timer; there is nothing that it could still write to.
    void this.#store.close().catch(() => undefined);
    this.#gate = new Gate();
    this.#store = this.#open();
    return this.#store;
  }

  async reopen(): Promise<StreamStore> {
    await this.#store.close();
    this.#store = this.#open();
    return this.#store;
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #open(): JournalStore {
    const gate = this.#gate;
    return openJournalStore({
      directories: [{ path: 'disk', open: () => new GatedFolders(this.#folders, gate) }],
      now: this.#now,
      freeBytesMin: 0,
      defaults: { segmentBytes: 256 * 1024, indexIntervalBytes: 512 },
    });
  }
}
