/**
 * A disk for the simulator and for tests of what a crash leaves. Files have two planes: the live one, which the process
 * sees, and the durable one, which a crash goes back to. What was written and not synced may be dropped, kept or torn, at
 * any byte or sector by sector, independently of the order in which it was written; folder entries need `syncFolder`. All
 * chance comes from the seed. Any thread.
 *
 * Nothing happens by itself: a sync takes effect when the scheduler runs its task, so the owner decides when, in which
 * order, and whether a crash comes first.
 */

import type { Done, FileSystem, RandomAccessFile } from '../../src/raft/ports.ts';
import { Random } from '../fuzz/random.ts';

export interface SimulatedDiskOptions {
  readonly seed: number;
  /** Takes the completion of a sync, to be run later; never inside of the call. */
  schedule(task: () => void): void;
  /** What a torn write is torn into, beside single bytes. Default 512. */
  readonly sectorBytes?: number;
  /** All that fits; `ENOSPC` beyond. */
  readonly capacityBytes?: number;
}

export interface DiskCounts {
  readonly writes: number;
  readonly bytesWritten: number;
  readonly syncs: number;
  readonly folderSyncs: number;
}

/** What a crash does to unsynced work; `mixed` draws for each piece of it. */
export type CrashFate = 'drop' | 'keep' | 'mixed';

type FolderChange =
  | { readonly type: 'create'; readonly name: string; readonly inode: Inode }
  | { readonly type: 'rename'; readonly from: string; readonly to: string }
  | { readonly type: 'remove'; readonly name: string };

interface FileChange {
  /** Order on the disk; tells what a sync covers. */
  readonly number: number;
  readonly position: number;
  /** null: the file is cut or grown to `position`. */
  readonly bytes: Buffer | null;
}

function diskError(code: string, call: string, name: string): Error {
  return Object.assign(new Error(`${code}: ${call} "${name}"`), { code, syscall: call });
}

class Content {
  #buffer = Buffer.alloc(0);
  size = 0;

  write(source: Uint8Array, position: number): void {
    this.resize(Math.max(this.size, position + source.length));
    this.#buffer.set(source, position);
  }

  resize(size: number): void {
    if (size > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(size, 2 * this.#buffer.length));
      this.#buffer.copy(larger, 0, 0, this.size);
      this.#buffer = larger;
    }
    if (size < this.size) this.#buffer.fill(0, size, this.size);
    this.size = size;
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.size);
  }

  clone(): Content {
    const copy = new Content();
    copy.write(this.bytes(), 0);
    return copy;
  }
}

class Inode {
  live = new Content();
  durable = new Content();
  unsynced: FileChange[] = [];

  apply(change: FileChange, plane: Content): void {
    if (change.bytes === null) plane.resize(change.position);
    else plane.write(change.bytes, change.position);
  }

  /** Everything up to change `number` is durable. */
  promote(number: number): void {
    for (const change of this.unsynced) if (change.number <= number) this.apply(change, this.durable);
    this.forget(number);
  }

  /** What a failed sync does: the system believes that the pages are clean, the disk does not have them. */
  forget(number: number): void {
    this.unsynced = this.unsynced.filter((change) => change.number > number);
  }

  clone(): Inode {
    const copy = new Inode();
    copy.live = this.live.clone();
    copy.durable = this.durable.clone();
    copy.unsynced = [...this.unsynced];
    return copy;
  }
}

export class SimulatedDisk implements FileSystem {
  /** May be changed at any time. */
  capacityBytes: number;
  readonly #options: SimulatedDiskOptions;
  readonly #sectorBytes: number;
  readonly #random: Random;
  #live = new Map<string, Inode>();
  #durable = new Map<string, Inode>();
  #folderChanges: FolderChange[] = [];
  #changeNumber = 0;
  /** Grows with every crash; files and syncs of an earlier life are dead. */
  #life = 0;
  #failures = { write: 0, sync: 0, read: 0, folder: 0 };
  #failureCode = 'EIO';
  #counts = { writes: 0, bytesWritten: 0, syncs: 0, folderSyncs: 0 };

  constructor(options: SimulatedDiskOptions) {
    this.#options = options;
    this.#sectorBytes = options.sectorBytes ?? 512;
    this.#random = new Random(options.seed);
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
  }

  get counts(): DiskCounts {
    return { ...this.#counts };
  }

  // --- the port ---

  list(): readonly string[] {
    return [...this.#live.keys()].sort();
  }

  open(name: string, options: { readonly create: boolean }): RandomAccessFile {
    let inode = this.#live.get(name);
    if (options.create) {
      if (inode !== undefined) throw diskError('EEXIST', 'open', name);
      inode = new Inode();
      this.#live.set(name, inode);
      this.#folderChanges.push({ type: 'create', name, inode });
    }
    if (inode === undefined) throw diskError('ENOENT', 'open', name);
    return new SimulatedFile(this, inode, name, this.#life);
  }

  rename(from: string, to: string): void {
    if (!this.#live.has(from)) throw diskError('ENOENT', 'rename', from);
    const change: FolderChange = { type: 'rename', from, to };
    applyToFolder(change, this.#live);
    this.#folderChanges.push(change);
  }

  remove(name: string): void {
    if (!this.#live.has(name)) throw diskError('ENOENT', 'unlink', name);
    const change: FolderChange = { type: 'remove', name };
    applyToFolder(change, this.#live);
    this.#folderChanges.push(change);
  }

  syncFolder(): void {
    this.#failWhenAsked('folder', 'fsync', '.');
    this.#counts.folderSyncs += 1;
    this.#durable = new Map(this.#live);
    this.#folderChanges = [];
  }

  freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.#usedBytes());
  }

  // --- faults ---

  /**
   * The power goes: unsynced work has the fate that is given, open files and syncs under way are dead, and the disk can be
   * used again at once, by whoever starts anew.
   */
  crash(fate: CrashFate = 'mixed'): void {
    this.#life += 1;
    const inodes = new Set([...this.#live.values(), ...this.#durable.values()]);
    for (const change of this.#folderChanges) if (change.type === 'create') inodes.add(change.inode);
    for (const inode of inodes) {
      // Often all of a file's unsynced work goes the same way.
      const ofFile = fate === 'mixed' && this.#random.oneIn(3) ? this.#random.pick(['drop', 'keep'] as const) : fate;
      for (const change of inode.unsynced) this.#crashChange(inode, change, ofFile);
      inode.unsynced = [];
      inode.live = inode.durable.clone();
    }
    this.#crashFolder(fate);
    this.#folderChanges = [];
    this.#live = new Map(this.#durable);
  }

  /** The process dies and the machine lives: files and syncs are dead, the live plane stays as it is. */
  kill(): void {
    this.#life += 1;
  }

  /** The next `count` calls of this kind fail. What a failed sync covered is lost, though reads still show it. */
  fail(kind: 'write' | 'sync' | 'read' | 'folder', count = 1, code = 'EIO'): void {
    this.#failures[kind] = count;
    this.#failureCode = code;
  }

  /** Flips one bit of a file, on both planes. */
  flipBit(name: string, bit: number): void {
    const inode = this.#inode(name);
    for (const plane of [inode.live, inode.durable]) {
      const at = bit >> 3;
      if (at < plane.size) plane.bytes()[at] ^= 1 << (bit & 7);
    }
  }

  /** Overwrites bytes of a file on both planes: a lost sector (zeros), or a misplaced write. */
  overwrite(name: string, bytes: Uint8Array, position: number): void {
    const inode = this.#inode(name);
    inode.live.write(bytes, position);
    inode.durable.write(bytes, position);
  }

  /** A copy of what the process sees, or of what a crash that drops all unsynced work would leave. */
  content(name: string, plane: 'live' | 'durable' = 'live'): Buffer {
    const inode = (plane === 'live' ? this.#live : this.#durable).get(name);
    if (inode === undefined) throw diskError('ENOENT', 'content', name);
    return Buffer.from(inode[plane].bytes());
  }

  /** The same disk once more with its own chance, without open files and syncs, to try several crashes at one point. */
  clone(options: SimulatedDiskOptions): SimulatedDisk {
    const copy = new SimulatedDisk(options);
    const copies = new Map<Inode, Inode>();
    const copyOf = (inode: Inode): Inode => {
      const known = copies.get(inode) ?? inode.clone();
      copies.set(inode, known);
      return known;
    };
    copy.#live = new Map([...this.#live].map(([name, inode]) => [name, copyOf(inode)]));
    copy.#durable = new Map([...this.#durable].map(([name, inode]) => [name, copyOf(inode)]));
    copy.#folderChanges = this.#folderChanges.map((change) =>
      change.type === 'create' ? { ...change, inode: copyOf(change.inode) } : change,
    );
    copy.#changeNumber = this.#changeNumber;
    return copy;
  }

  // --- for its files ---

  /** Throws when the file is of an earlier life. */
  assertAlive(life: number, name: string): void {
    if (life !== this.#life) throw diskError('EBADF', 'use', name);
  }

  readFile(inode: Inode, name: string, target: Uint8Array, position: number): number {
    this.#failWhenAsked('read', 'read', name);
    const bytes = inode.live.bytes().subarray(position, position + target.length);
    target.set(bytes);
    return bytes.length;
  }

  writeFile(inode: Inode, name: string, source: Uint8Array, position: number): void {
    this.#failWhenAsked('write', 'write', name);
    const growth = Math.max(0, position + source.length - inode.live.size);
    const missing = growth === 0 ? 0 : Math.max(0, this.#usedBytes() + growth - this.capacityBytes);
    // A full disk takes what fits before it says so.
    const bytes = Buffer.from(source.subarray(0, Math.max(0, source.length - missing)));
    if (bytes.length > 0) {
      this.#counts.writes += 1;
      this.#counts.bytesWritten += bytes.length;
      this.#change(inode, position, bytes);
    }
    if (missing > 0) throw diskError('ENOSPC', 'write', name);
  }

  truncateFile(inode: Inode, size: number): void {
    this.#change(inode, size, null);
  }

  syncFile(inode: Inode, name: string, life: number, done: Done): void {
    this.#counts.syncs += 1;
    const number = this.#changeNumber;
    this.#options.schedule(() => {
      if (life !== this.#life) return;
      const error = this.#syncResult(inode, name, number);
      done(error);
    });
  }

  syncFileNow(inode: Inode, name: string): void {
    this.#counts.syncs += 1;
    const error = this.#syncResult(inode, name, this.#changeNumber);
    if (error !== null) throw error;
  }

  // --- inside ---

  #syncResult(inode: Inode, name: string, number: number): Error | null {
    if (this.#failures.sync === 0) {
      inode.promote(number);
      return null;
    }
    this.#failures.sync -= 1;
    inode.forget(number);
    return diskError(this.#failureCode, 'fdatasync', name);
  }

  #change(inode: Inode, position: number, bytes: Buffer | null): void {
    this.#changeNumber += 1;
    const change: FileChange = { number: this.#changeNumber, position, bytes };
    inode.apply(change, inode.live);
    inode.unsynced.push(change);
  }

  #crashChange(inode: Inode, change: FileChange, fate: CrashFate): void {
    const drawn = fate === 'mixed' ? this.#random.pick(['drop', 'keep', 'prefix', 'sectors'] as const) : fate;
    if (drawn === 'drop') return;
    if (drawn === 'keep' || change.bytes === null) {
      inode.apply(change, inode.durable);
      return;
    }
    if (drawn === 'prefix') {
      const length = this.#random.below(change.bytes.length);
      inode.durable.write(change.bytes.subarray(0, length), change.position);
      return;
    }
    const end = change.position + change.bytes.length;
    for (let at = change.position; at < end; ) {
      const next = Math.min(end, (Math.floor(at / this.#sectorBytes) + 1) * this.#sectorBytes);
      if (this.#random.oneIn(2)) {
        inode.durable.write(change.bytes.subarray(at - change.position, next - change.position), at);
      }
      at = next;
    }
  }

  /** A journal keeps the order of folder changes, other file systems do not. */
  #crashFolder(fate: CrashFate): void {
    const changes = this.#folderChanges;
    const isOrdered = this.#random.oneIn(2);
    const kept = isOrdered ? this.#random.below(changes.length + 1) : changes.length;
    for (const [at, change] of changes.entries()) {
      const isKept = fate === 'mixed' ? at < kept && (isOrdered || this.#random.oneIn(2)) : fate === 'keep';
      if (isKept) applyToFolder(change, this.#durable);
    }
  }

  #inode(name: string): Inode {
    const inode = this.#live.get(name);
    if (inode === undefined) throw diskError('ENOENT', 'find', name);
    return inode;
  }

  #usedBytes(): number {
    let sum = 0;
    for (const inode of this.#live.values()) sum += inode.live.size;
    return sum;
  }

  #failWhenAsked(kind: 'write' | 'read' | 'folder', call: string, name: string): void {
    if (this.#failures[kind] === 0) return;
    this.#failures[kind] -= 1;
    throw diskError(this.#failureCode, call, name);
  }
}

function applyToFolder(change: FolderChange, folder: Map<string, Inode>): void {
  if (change.type === 'create') {
    folder.set(change.name, change.inode);
    return;
  }
  if (change.type === 'remove') {
    folder.delete(change.name);
    return;
  }
  const inode = folder.get(change.from);
  // What it renames was itself not durable.
  if (inode === undefined) return;
  folder.delete(change.from);
  folder.set(change.to, inode);
}

class SimulatedFile implements RandomAccessFile {
  readonly #disk: SimulatedDisk;
  readonly #inode: Inode;
  readonly #name: string;
  readonly #life: number;
  #isClosed = false;

  constructor(disk: SimulatedDisk, inode: Inode, name: string, life: number) {
    this.#disk = disk;
    this.#inode = inode;
    this.#name = name;
    this.#life = life;
  }

  size(): number {
    return this.#alive().live.size;
  }

  read(target: Uint8Array, position: number): number {
    return this.#disk.readFile(this.#alive(), this.#name, target, position);
  }

  write(source: Uint8Array, position: number): void {
    this.#disk.writeFile(this.#alive(), this.#name, source, position);
  }

  truncate(size: number): void {
    this.#disk.truncateFile(this.#alive(), size);
  }

  sync(done: Done): void {
    this.#disk.syncFile(this.#alive(), this.#name, this.#life, done);
  }

  syncNow(): void {
    this.#disk.syncFileNow(this.#alive(), this.#name);
  }

  close(): void {
    this.#isClosed = true;
  }

  #alive(): Inode {
    if (this.#isClosed) throw diskError('EBADF', 'use', this.#name);
    this.#disk.assertAlive(this.#life, this.#name);
    return this.#inode;
  }
}
