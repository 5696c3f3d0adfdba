/** What a host keeps: a simulated disk with the real log on it, a simulated store for the state, and their faults. */

import { codeOf } from '../../src/core/files/file-errors.ts';
import { isRecord, recordBatch, recordSize, recordsStart, sequenceOf } from '../../src/raft/log/record.ts';
import { openSegmentLog } from '../../src/raft/log/segment-log.ts';
import type { FileSystem, RaftLog, StateStore } from '../../src/raft/ports.ts';
import { SimulatedDisk } from '../support/simulated-disk.ts';
import { SimulatedStore } from '../support/simulated-store.ts';
import type { Mutation } from './mutation.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export interface StorageOptions {
  /** Mean time of a sync, us. */
  syncUsMean: number;
  /** Share of power losses in which each unsynced write has its own fate. */
  tornShare: number;
}

/** Runs something in the process that uses the storage, if it still lives. */
export type Inside = (work: () => void) => void;

const segmentBytes = 16 * 1024;
const plentyBytes = 64 * 1024 * 1024;

export class HostStorage {
  /** Free space below which the replica refuses writes. */
  static readonly reserveBytes = 8 * segmentBytes;
  readonly options: StorageOptions = { syncUsMean: 300, tornShare: 0 };
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #mutation: Mutation | null;
  #disk: SimulatedDisk;
  #store: SimulatedStore;
  #inside: Inside = (work) => work();

  constructor(scheduler: Scheduler, random: Random, mutation: Mutation | null) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#mutation = mutation;
    this.#disk = this.#newDisk();
    this.#store = this.#newStore();
  }

  #newDisk(): SimulatedDisk {
    return new SimulatedDisk({
      seed: this.#random.below(0x7fff_ffff),
      schedule: (task) => this.#later(task),
      capacityBytes: plentyBytes,
    });
  }

  #newStore(): SimulatedStore {
    return new SimulatedStore({ schedule: (task) => this.#later(task) });
  }

  #later(task: () => void): void {
    const inside = this.#inside;
    this.#scheduler.after(50 + this.#random.around(this.options.syncUsMean), () => inside(task));
  }

  /** New and empty. */
  replace(): void {
    this.#disk = this.#newDisk();
    this.#store = this.#newStore();
  }

  openLog(replica: number, inside: Inside): RaftLog {
    this.#inside = inside;
    const later = (work: () => void): void => this.#scheduler.after(20, () => inside(work));
    const disk = this.#sometimesQuick(this.#disk);
    const files: FileSystem = this.#mutation?.wrapFileSystem?.(disk, later) ?? disk;
    const log = openSegmentLog(files, {
      replica,
      random: this.#random.below,
      segmentBytes,
      recordBytes: 1024,
      cacheBytes: 2048,
      freeBytesMin: HostStorage.reserveBytes,
    });
    return this.#mutation?.wrapLog?.(log, later) ?? log;
  }

  /** A part of the syncs is done at once, as on a disk for which the thread itself may wait. */
  #sometimesQuick(disk: SimulatedDisk): FileSystem {
    return {
      list: () => disk.list(),
      open: (name, options) => {
        const file = disk.open(name, options);
        file.syncQuickly = () => {
          if (!this.#random.chance(0.3)) return false;
          file.syncNow();
          return true;
        };
        return file;
      },
      rename: (from, to) => disk.rename(from, to),
      remove: (name) => disk.remove(name),
      syncFolder: () => disk.syncFolder(),
      freeBytes: () => disk.freeBytes(),
    };
  }

  openStore(): StateStore {
    return this.#mutation?.wrapStore?.(this.#store) ?? this.#store;
  }

  freeBytes(): number {
    return this.#disk.freeBytes();
  }

  stateBytes(): number {
    return this.#store.sizeBytes();
  }

  // --- crashes ---

  afterKill(): void {
    this.#disk.kill();
    this.#store.crash(this.#random.chance(0.5));
  }

  afterPowerLoss(): void {
    const isTorn = this.#random.chance(this.options.tornShare);
    this.#disk.crash(isTorn ? 'mixed' : this.#random.pick(['drop', 'drop', 'keep']));
    this.#store.crash(this.#random.chance(0.3));
  }

  // --- faults ---

  /** The next sync of a file, or commit of the store, fails. */
  failSync(): void {
    if (this.#random.chance(0.75)) this.#disk.fail('sync', 1);
    else this.#store.failNextCommit(Object.assign(new Error('EIO: commit'), { code: 'EIO' }));
  }

  /** Nearly, or `isHard` wholly. */
  fill(isHard: boolean): void {
    const used = this.#disk.capacityBytes - this.#disk.freeBytes();
    const share = isHard ? 0.3 * this.#random.share() : 0.3 + 0.6 * this.#random.share();
    this.#disk.capacityBytes = used + Math.round(share * HostStorage.reserveBytes);
  }

  empty(): void {
    this.#disk.capacityBytes = plentyBytes;
  }

  /** No faults from now on; what was lost or damaged stays so. */
  calm(): void {
    this.empty();
    this.#disk.fail('sync', 0);
    Object.assign(this.options, { syncUsMean: 300, tornShare: 0 });
  }

  /** Damages one bit of what is durable; false when there was nothing to damage. */
  flipBit(random: Random): boolean {
    if (random.chance(0.3)) return this.#store.flipBit(random.below);
    const places = this.#damageable();
    if (places.length === 0) return false;
    const { name, from, to } = random.pick(places);
    this.#disk.flipBit(name, from * 8 + random.below((to - from) * 8));
    return true;
  }

  /**
   * Ranges of bytes whose damage the log must notice. Not the last durable batch: until the mark behind it is durable too,
   * damage to it cannot be told from a torn write, as `record.ts` says.
   */
  #damageable(): { readonly name: string; readonly from: number; readonly to: number }[] {
    const places: { readonly name: string; readonly from: number; readonly to: number; readonly batch: number }[] = [];
    for (const name of this.#disk.list().filter((each) => sequenceOf(each) > 0)) {
      let bytes: Buffer;
      try {
        bytes = this.#disk.content(name, 'durable');
      } catch {
        continue; // Its creation is not durable yet.
      }
      if (bytes.length < recordsStart) continue;
      const seed = bytes.readUInt32LE(60);
      places.push({ name, from: 0, to: 64, batch: 0 });
      for (let at = recordsStart; isRecord(bytes, at, 0, seed); at += recordSize(bytes, at)) {
        places.push({ name, from: at, to: at + recordSize(bytes, at), batch: recordBatch(bytes, at) });
      }
    }
    const last = Math.max(0, ...places.map(({ batch }) => batch));
    return places.filter(({ batch }) => batch < last);
  }

  /** What a fault of the replica comes from. */
  kindOf(fault: Error): 'corruption' | 'disk' | 'defect' {
    if (fault.name === 'CorruptionError') return 'corruption';
    const code = codeOf(fault);
    return code === 'EIO' || code === 'ENOSPC' ? 'disk' : 'defect';
  }
}
