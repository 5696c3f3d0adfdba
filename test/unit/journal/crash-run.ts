/**
 * One random life of a log directory with two partitions: appends of known and unknown producers, transactions, repetitions,
 * rolls, truncations, deletions, compaction, failing syncs, clean restarts, with the power going at any call to the disk (when it
 * is opened too), or the process dying. After each crash
 *   - what was answered is there, at the offset that was answered; what was refused is not; nothing else is there
 *   - offsets are dense; what survived of the rest is a prefix of what was submitted, in whole batches
 *   - producers, transactions and the last stable offset are what the surviving batches say
 *   - nobody speaks of damage
 * Everything follows from the seed.
 */

import { readBatchHeader } from '../../../src/core/batch/batch-format.ts';
import { buildControlBatch } from '../../../src/core/batch/control-batch.ts';
import { LogDirectory } from '../../../src/journal/log-directory.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import type { PartitionEvent } from '../../../src/journal/partition-options.ts';
import { TailCache } from '../../../src/journal/tail-cache.ts';
import { Random } from '../../fuzz/random.ts';
import { CutFolders, type Defect } from './cut-folders.ts';
import { batchOf, SimulatedFolders } from './journal-fixture.ts';
import { PartitionModel, type Submission } from './partition-model.ts';

export interface CrashRunOptions {
  readonly seed: number;
  readonly crashes: number;
  /** The power goes within so many calls to the disks. */
  readonly callsMax: number;
  readonly defect?: Defect;
}

/** What happened, so that a test can see that it tried what it should. */
export interface CrashRunCounts {
  crashes: number;
  cutsInRecovery: number;
  tornTails: number;
  answered: number;
  unansweredKept: number;
  repetitions: number;
  aborts: number;
  truncations: number;
  deletions: number;
  compactions: number;
  dropped: number;
  failures: number;
  cleanRestarts: number;
  segments: number;
}

export function newCounts(): CrashRunCounts {
  return {
    crashes: 0,
    cutsInRecovery: 0,
    tornTails: 0,
    answered: 0,
    unansweredKept: 0,
    repetitions: 0,
    aborts: 0,
    truncations: 0,
    deletions: 0,
    compactions: 0,
    dropped: 0,
    failures: 0,
    cleanRestarts: 0,
    segments: 0,
  };
}

/** Throws what is wrong. */
export function crashRun(options: CrashRunOptions, counts: CrashRunCounts): void {
  const run = new CrashRun(options, counts);
  for (let crash = 0; crash < options.crashes; crash += 1) run.live();
}

const names = ['a', 'b'] as const;

class CrashRun {
  readonly #options: CrashRunOptions;
  readonly #counts: CrashRunCounts;
  readonly #random: Random;
  readonly #folders: SimulatedFolders;
  readonly #models = new Map(names.map((name) => [name as string, new PartitionModel(name)]));
  #tasks: (() => void)[] = [];
  #events: PartitionEvent[] = [];
  #cut: CutFolders;
  #directory: LogDirectory | null = null;
  #number = 0;
  #nowMs = 1_000_000;

  constructor(options: CrashRunOptions, counts: CrashRunCounts) {
    this.#options = options;
    this.#counts = counts;
    this.#random = new Random(options.seed);
    this.#folders = new SimulatedFolders(options.seed, (task) => this.#tasks.push(task));
    this.#cut = new CutFolders(this.#folders, 0, null);
  }

  live(): void {
    const { callsMax, defect = null } = this.#options;
    this.#cut = new CutFolders(this.#folders, this.#random.below(callsMax), defect);
    let isOpen = false;
    try {
      this.#open();
      isOpen = true;
      while (!this.#cut.isCut) this.#step();
    } catch (error) {
      if (!this.#cut.isCut) throw error;
      if (!isOpen) this.#counts.cutsInRecovery += 1;
    }
    this.#tasks = [];
    this.#directory = null;
    this.#counts.crashes += 1;
    for (const model of this.#models.values()) model.onCrash();
    if (this.#random.oneIn(5)) this.#folders.kill();
    else this.#folders.crash();
  }

  #open(): void {
    this.#events = [];
    for (const disk of this.#folders.disks.values()) disk.fail('sync', 0);
    const directory = new LogDirectory(this.#cut, {
      path: 'disk',
      tail: new TailCache(this.#random.oneIn(2) ? 8 * 1024 : 1024 * 1024),
      now: () => this.#nowMs,
      onEvent: (event) => this.#events.push(event),
      settingsOf: () => ({ ...settings, proofBytes: this.#random.oneIn(3) ? 2000 : 0 }),
      freeBytesMin: 0,
    });
    for (const name of names) if (!directory.has(name)) directory.create(name, settings);
    this.#checkEvents();
    for (const name of names) {
      const log = directory.get(name);
      this.#counts.segments = Math.max(this.#counts.segments, log.segmentCount);
      this.#counts.unansweredKept += this.#model(name).checkRecovered(log);
    }
    this.#directory = directory;
  }

  #checkEvents(): void {
    for (const event of this.#events.splice(0)) {
      if (this.#cut.isCut) return;
      if (event.type === 'torn-tail') this.#counts.tornTails += 1;
      else if (event.type === 'corruption') throw new Error(`damage where there is none: ${JSON.stringify(event)}`);
      else if (!event.reason.startsWith('EIO')) throw new Error(`failed for no reason: ${event.reason}`);
    }
  }

  #step(): void {
    const directory = this.#directory;
    if (directory === null) throw new Error('the directory is open');
    const name = this.#random.pick(names);
    const log = directory.get(name);
    const choice = this.#random.below(1000);
    if (choice < 420) this.#submit(directory, log);
    else if (choice < 600) directory.commit.flush();
    else if (choice < 940) this.#runTask();
    else if (choice < 960) this.#model(name).checkReads(log, this.#random);
    else if (choice < 968) this.#between(directory, log, () => this.#truncate(log));
    else if (choice < 976) this.#between(directory, log, () => this.#delete(log));
    else if (choice < 982) this.#between(directory, log, () => log.roll(this.#nowMs));
    else if (choice < 988) this.#between(directory, log, () => this.#compact(log));
    else if (choice < 992) this.#folders.disks.get(name)?.fail('sync', 1);
    else this.#restart(directory);
    this.#nowMs += this.#random.below(50);
    for (const each of names) this.#revive(directory, directory.get(each));
    this.#checkEvents();
  }

  #runTask(): void {
    const { length } = this.#tasks;
    if (length > 0) this.#tasks.splice(this.#random.below(length), 1)[0]();
  }

  /** Upkeep that may meet a failing disk; the partition is out of service then. */
  #between(directory: LogDirectory, log: PartitionLog, task: () => void): void {
    directory.commit.between(() => {
      try {
        if (this.#serves(log)) task();
      } catch (error) {
        if (this.#serves(log)) throw error;
      }
    });
  }

  #serves(log: PartitionLog): boolean {
    return log.failure === null;
  }

  #revive(directory: LogDirectory, log: PartitionLog): void {
    const { isUnderWay, waiting } = directory.commit;
    if (log.failure === null || this.#cut.isCut || isUnderWay || waiting > 0) return;
    this.#counts.failures += 1;
    const model = this.#model(log.name);
    this.#folders.disks.get(log.name)?.fail('sync', 0);
    this.#events = [];
    model.onCrash();
    directory.reopen(log.name);
    model.checkRecovered(log);
  }

  #submit(directory: LogDirectory, log: PartitionLog): void {
    const model = this.#model(log.name);
    const submission = this.#newSubmission(model);
    model.submitted(submission);
    const cut = this.#cut;
    directory.commit.submit(log, submission.bytes, { leaderEpoch: model.leaderEpoch }, (result) => {
      if (cut.isCut) return;
      if (result.error === null) this.#counts.answered += 1;
      if (result.isDuplicate) this.#counts.repetitions += 1;
      model.answered(submission, result);
    });
  }

  #newSubmission(model: PartitionModel): Submission {
    const random = this.#random;
    this.#number += 1;
    if (random.oneIn(60)) model.leaderEpoch += 1;
    const repeated = random.oneIn(12) ? model.lastOfProducer(random.below(3)) : null;
    if (repeated !== null) return { ...repeated, number: this.#number, state: 'waiting' };
    const values = Array.from({ length: random.between(1, 3) }, (_, at) => `${this.#number}.${at}`);
    const padding = '.'.repeat(random.oneIn(10) ? random.below(3000) : random.below(60));
    const keys = values.map(() => (random.oneIn(4) ? null : `k${random.below(6)}`));
    const producerId = random.below(5) - 2;
    const isTransactional = producerId >= 1;
    if (isTransactional && random.oneIn(3) && model.isInTransaction(producerId)) {
      const type = random.oneIn(2) ? 'abort' : 'commit';
      if (type === 'abort') this.#counts.aborts += 1;
      const marker = { type, producerId, producerEpoch: 0, coordinatorEpoch: 0, timestampMs: this.#nowMs } as const;
      return this.#submission(buildControlBatch(marker), [], type);
    }
    const batch = batchOf(
      values.map((value) => `${value} ${padding}`),
      {
        keys,
        timestampMs: this.#nowMs,
        ...(producerId < 0
          ? {}
          : {
              producerId,
              producerEpoch: 0,
              baseSequence: model.nextSequence(producerId),
              attributes: isTransactional ? 16 : 0,
            }),
      },
    );
    return this.#submission(batch, keys, null);
  }

  #submission(bytes: Buffer, keys: (string | null)[], marker: 'abort' | 'commit' | null): Submission {
    const header = readBatchHeader(bytes);
    return { number: this.#number, bytes, header, keys, marker, state: 'waiting', baseOffset: -1 };
  }

  #truncate(log: PartitionLog): void {
    const model = this.#model(log.name);
    if (!model.isQuiet) return;
    // Only what is not committed is ever truncated, and only what is committed is compacted.
    const from = Math.max(log.logStartOffset, model.compactedTo);
    const offset = Math.max(from, log.logEndOffset - this.#random.below(this.#random.oneIn(3) ? 200 : 12));
    model.truncating(offset);
    log.truncateTo(offset);
    if (this.#cut.isCut) return;
    this.#counts.truncations += 1;
    model.truncated(log.logEndOffset);
  }

  #delete(log: PartitionLog): void {
    const model = this.#model(log.name);
    // What is durable and not answered is unknown to the model.
    if (!model.isQuiet) return;
    const offset = this.#random.between(log.logStartOffset, log.highWatermark);
    if (!this.#random.oneIn(3) && log.segmentCount < 6) return;
    model.deleting(offset);
    log.deleteRecordsBefore(offset);
    if (this.#cut.isCut) return;
    model.deleted(offset);
    this.#counts.deletions += 1;
  }

  #compact(log: PartitionLog): void {
    const model = this.#model(log.name);
    model.compactedTo = log.highWatermark;
    const compaction = log.compact({ nowMs: this.#nowMs, tombstoneMs: 0 });
    while (compaction.step());
    if (this.#cut.isCut) return;
    this.#counts.compactions += 1;
    this.#counts.dropped += compaction.recordsDropped;
  }

  /** Closes in order when nothing is under way, and opens again: by the mark, without reading the last segments. */
  #restart(directory: LogDirectory): void {
    directory.commit.drain(() => {
      if (names.some((name) => !this.#serves(directory.get(name)))) return;
      directory.close();
    });
    while (this.#tasks.length > 0) this.#runTask();
    if (names.some((name) => directory.get(name).failure?.code === 'STORAGE_PARTITION_FAILED')) this.#cut.isCut = true;
    if (this.#cut.isCut) return;
    for (const name of names) this.#model(name).onCrash();
    this.#counts.cleanRestarts += 1;
    this.#open();
  }

  #model(name: string): PartitionModel {
    const model = this.#models.get(name);
    if (model === undefined) throw new Error(`no model of ${name}`);
    return model;
  }
}

const settings = { segmentBytes: 20 * 1024, indexIntervalBytes: 300, batchBytesMax: 64 * 1024, segmentMs: 1e9 };
