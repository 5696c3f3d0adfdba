/**
 * A log directory whose power goes after so many calls, and that can have a defect: what the crash runs are driven with, and
 * how they are shown to find what they should.
 */

import type { FileSystem, RandomAccessFile } from '../../../src/core/ports/file-system.ts';
import type { LogFolders } from '../../../src/journal/log-folders.ts';
import { baseOffsetOf, encodeSlot, newestSlot, slotPositions } from '../../../src/journal/segment/segment-format.ts';
import type { SimulatedFolders } from './journal-fixture.ts';

/** Planted defects; each stands for a line that is missing or wrong in the journal. */
export const defects = [
  'answers before the sync of the file',
  'does not sync a file that is made in one go',
  'does not sync the folder',
  'says that a round is durable before it is',
  'cuts too much when it repairs the end',
  'cuts nothing when it repairs the end',
  'leaves the state of producers that is too new',
  'leaves the mark of a clean shutdown',
  'writes the checkpoint without a sync',
  'removes segments before the checkpoint is durable',
  'renames the clean segment before it is durable',
] as const;

export type Defect = (typeof defects)[number];

export class PowerCut extends Error {}

export class CutFolders implements LogFolders {
  isCut = false;
  readonly root: FileSystem;
  #callsLeft: number;
  readonly #inner: SimulatedFolders;
  readonly #defect: Defect | null;

  constructor(inner: SimulatedFolders, callsLeft: number, defect: Defect | null) {
    this.#inner = inner;
    this.#callsLeft = callsLeft;
    this.#defect = defect;
    this.root = new CutFileSystem(this, inner.root, defect);
  }

  pass<T>(call: () => T): T {
    if (this.#callsLeft <= 0) this.isCut = true;
    if (this.isCut) throw new PowerCut();
    this.#callsLeft -= 1;
    return call();
  }

  list(): readonly string[] {
    return this.pass(() => this.#inner.list());
  }

  open(name: string, options: { readonly create: boolean }): FileSystem {
    return new CutFileSystem(
      this,
      this.pass(() => this.#inner.open(name, options)),
      this.#defect,
    );
  }

  rename(from: string, to: string): void {
    this.pass(() => this.#inner.rename(from, to));
  }

  remove(name: string): void {
    this.pass(() => this.#inner.remove(name));
  }
}

class CutFileSystem implements FileSystem {
  readonly #folders: CutFolders;
  readonly #inner: FileSystem;
  readonly #defect: Defect | null;
  /** A rename that is done behind the sync that should have covered it. */
  #late: () => void = () => undefined;

  constructor(folders: CutFolders, inner: FileSystem, defect: Defect | null) {
    this.#folders = folders;
    this.#inner = inner;
    this.#defect = defect;
  }

  list(): readonly string[] {
    return this.#folders.pass(() => this.#inner.list());
  }

  open(name: string, options: { readonly create: boolean }): RandomAccessFile {
    const file = this.#folders.pass(() => this.#inner.open(name, options));
    const pass = <T>(call: () => T): T => this.#folders.pass(call);
    const defect = this.#defect;
    const isSegment = baseOffsetOf(name) >= 0;
    const skipsSyncNow =
      (defect === 'does not sync a file that is made in one go' && options.create) ||
      (defect === 'writes the checkpoint without a sync' && name.startsWith('checkpoint')) ||
      (defect === 'renames the clean segment before it is durable' && name.endsWith('.log.new'));
    return {
      size: () => pass(() => file.size()),
      read: (target, position) => pass(() => file.read(target, position)),
      write: (source, position) =>
        pass(() => {
          file.write(source, position);
          const isBatch = isSegment && position >= 12288 && source[0] === 0 && source.length > 60 && source[16] === 2;
          if (defect === 'says that a round is durable before it is' && isBatch) {
            proveTooMuch(file, baseOffsetOf(name), position + source.length, Buffer.from(source));
          }
        }),
      truncate: (size) =>
        pass(() => {
          if (defect === 'cuts nothing when it repairs the end' && isSegment) return;
          const isTooMuch = defect === 'cuts too much when it repairs the end' && isSegment && size > 12288 + 70;
          file.truncate(isTooMuch ? size - 70 : size);
        }),
      sync: (done) =>
        pass(() => (defect === 'answers before the sync of the file' ? file.size() && done(null) : file.sync(done))),
      syncNow: () => pass(() => (skipsSyncNow ? undefined : file.syncNow())),
      close: () => file.close(),
    };
  }

  rename(from: string, to: string): void {
    this.#folders.pass(() => {
      if (this.#defect !== 'removes segments before the checkpoint is durable' || to !== 'checkpoint') {
        this.#inner.rename(from, to);
      } else this.#late = () => this.#inner.rename(from, to);
    });
  }

  remove(name: string): void {
    this.#folders.pass(() => {
      if (this.#defect === 'leaves the state of producers that is too new' && name.endsWith('.producers')) return;
      if (this.#defect === 'leaves the mark of a clean shutdown' && name === 'clean') return;
      this.#inner.remove(name);
    });
  }

  syncFolder(): void {
    this.#folders.pass(() => {
      if (this.#defect !== 'does not sync the folder') this.#inner.syncFolder();
      this.#late();
      this.#late = () => undefined;
    });
  }

  freeBytes(): number {
    return this.#inner.freeBytes();
  }
}

/** Overwrites the newest slot with one that covers the batches just written: an index that is ahead of its data. */
function proveTooMuch(file: RandomAccessFile, baseOffset: number, end: number, batches: Buffer): void {
  const front = Buffer.alloc(12288);
  const slot = newestSlot(front.subarray(0, file.read(front, 0)), baseOffset);
  if (slot === null || slot.end + batches.length !== end) return;
  let nextOffset = slot.nextOffset;
  for (let at = 0; at + 61 <= batches.length; at += 12 + batches.readInt32BE(at + 8)) {
    nextOffset += batches.readInt32BE(at + 23) + 1;
  }
  file.write(encodeSlot({ ...slot, end, nextOffset }, baseOffset), slotPositions[slot.place]);
}
