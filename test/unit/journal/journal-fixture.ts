/** What the tests of the journal share: log directories on simulated disks, batches, and rounds that a test drives by hand. */

import { BatchBuilder, type BatchBuilderOptions } from '../../../src/core/batch/batch-builder.ts';
import { readBatchHeader } from '../../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../../src/core/batch/record-cursor.ts';
import type { FileSystem } from '../../../src/core/ports/file-system.ts';
import type { AppendAnswer, ReadAnswer } from '../../../src/core/ports/stream-store.ts';
import { GroupCommit } from '../../../src/journal/group-commit.ts';
import type { LogFolders } from '../../../src/journal/log-folders.ts';
import { PartitionLog } from '../../../src/journal/partition-log.ts';
import type { PartitionEvent, PartitionOptions } from '../../../src/journal/partition-options.ts';
import { TailCache } from '../../../src/journal/tail-cache.ts';
import { Random } from '../../fuzz/random.ts';
import { type CrashFate, SimulatedDisk } from '../../support/simulated-disk.ts';

/** A log directory in which each folder is a disk of its own; all lose power together. */
export class SimulatedFolders implements LogFolders {
  readonly root: SimulatedDisk;
  readonly disks = new Map<string, SimulatedDisk>();
  readonly #seed: number;
  readonly #schedule: (task: () => void) => void;
  #next = 1;

  constructor(seed: number, schedule: (task: () => void) => void) {
    this.#seed = seed;
    this.#schedule = schedule;
    this.root = new SimulatedDisk({ seed, schedule });
  }

  list(): readonly string[] {
    return [...this.disks.keys()].sort();
  }

  open(name: string, options: { readonly create: boolean }): FileSystem {
    const known = this.disks.get(name);
    if (known !== undefined && !options.create) return known;
    const disk = new SimulatedDisk({ seed: this.#seed + this.#next, schedule: this.#schedule });
    this.#next += 1;
    this.disks.set(name, disk);
    return disk;
  }

  rename(from: string, to: string): void {
    const disk = this.disks.get(from);
    this.disks.delete(from);
    if (disk !== undefined) this.disks.set(to, disk);
  }

  remove(name: string): void {
    this.disks.delete(name);
  }

  crash(fate: CrashFate = 'mixed'): void {
    for (const disk of [this.root, ...this.disks.values()]) disk.crash(fate);
  }

  kill(): void {
    for (const disk of [this.root, ...this.disks.values()]) disk.kill();
  }
}

/** A batch of records with these values, key `k<n>` each. */
export function batchOf(
  values: readonly string[],
  options: BatchBuilderOptions & { readonly keys?: readonly (string | null)[]; readonly timestampMs?: number } = {},
): Buffer {
  const builder = new BatchBuilder(options);
  for (const [number, value] of values.entries()) {
    const key = options.keys?.[number] ?? null;
    builder.add({
      timestampMs: options.timestampMs ?? 1000,
      key: key === null ? null : Buffer.from(key),
      value: value === '' ? null : Buffer.from(value),
    });
  }
  return builder.build();
}

const cursor = new RecordCursor();

/** `offset:value` of all records in what was read. */
export function recordsOf(slices: readonly Buffer[]): string[] {
  const records: string[] = [];
  for (const slice of slices) {
    for (let at = 0; at < slice.length; at += readBatchHeader(slice, at).size) {
      cursor.reset(slice, at);
      while (cursor.next()) records.push(`${cursor.offset}:${cursor.value?.toString() ?? ''}`);
    }
  }
  return records;
}

/** One partition on a simulated disk, driven by hand. */
export class LogFixture {
  readonly tasks: (() => void)[] = [];
  readonly random: Random;
  readonly disk: SimulatedDisk;
  readonly events: PartitionEvent[] = [];
  tail = new TailCache(1024 * 1024);
  nowMs = 1000;
  commit: GroupCommit;

  constructor(seed = 1) {
    this.random = new Random(seed);
    this.disk = new SimulatedDisk({ seed, schedule: (task) => this.tasks.push(task) });
    this.commit = this.newCommit();
  }

  newCommit(): GroupCommit {
    return new GroupCommit({ now: () => this.nowMs, hasRoom: () => true });
  }

  open(options: Partial<PartitionOptions> = {}, isClean = false, fileSystem: FileSystem = this.disk): PartitionLog {
    this.commit = this.newCommit();
    const given = { segmentBytes: 64 * 1024, indexIntervalBytes: 512, batchBytesMax: 64 * 1024, ...options };
    const onEvent = (event: PartitionEvent): void => void this.events.push(event);
    return new PartitionLog(fileSystem, { ...given, name: 'p', tail: this.tail, onEvent }, this.nowMs, isClean);
  }

  /** Runs syncs until nothing is under way. */
  settle(): void {
    for (let task = this.tasks.shift(); task !== undefined; task = this.tasks.shift()) task();
  }

  /** Appends in one round and waits for it. */
  append(log: PartitionLog, ...batches: Buffer[]): AppendAnswer[] {
    return this.appendAs(log, 1, ...batches);
  }

  appendAs(log: PartitionLog, leaderEpoch: number | 'replica', ...batches: Buffer[]): AppendAnswer[] {
    const results: AppendAnswer[] = [];
    for (const bytes of batches) this.commit.submit(log, bytes, { leaderEpoch }, (result) => results.push(result));
    this.commit.flush();
    this.settle();
    return results;
  }

  /** All committed records. */
  all(log: PartitionLog): string[] {
    const records: string[] = [];
    for (let offset = log.logStartOffset; offset < log.highWatermark; ) {
      const found: ReadAnswer = log.read({ offset, bytesMax: 4096 });
      records.push(...recordsOf(found.slices));
      offset = found.nextOffset;
    }
    return records;
  }
}
