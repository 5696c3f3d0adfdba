/**
 * One random life of a log: appends, overwrites, compactions and resets on a simulated disk, with the power going at any call
 * to the disk (in recovery too), or the process dying. After each crash the log must be exactly what it was after one of
 * the calls, and not before the last one that was acknowledged. Everything follows from the seed.
 */

import type { Entry } from '../../../../src/raft/consensus/types.ts';
import type { SegmentLog } from '../../../../src/raft/log/segment-log.ts';
import type { FileSystem, RandomAccessFile } from '../../../../src/raft/ports.ts';
import { contentOf, hardStateOf, type LogContent, LogFixture, positionOf, textOf } from './log-fixture.ts';

class PowerCut extends Error {}

/** Passes all calls on until `cutAfter` of them were made; then every call throws. */
export class CutFileSystem implements FileSystem {
  isCut = false;
  #callsLeft: number;
  readonly #inner: FileSystem;
  /** A defect to be found: syncs that do nothing. */
  readonly #skipsSyncs: boolean;

  constructor(inner: FileSystem, callsLeft: number, skipsSyncs: boolean) {
    this.#inner = inner;
    this.#callsLeft = callsLeft;
    this.#skipsSyncs = skipsSyncs;
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

  open(name: string, options: { readonly create: boolean }): RandomAccessFile {
    const file = this.pass(() => this.#inner.open(name, options));
    return {
      size: () => this.pass(() => file.size()),
      read: (target, position) => this.pass(() => file.read(target, position)),
      write: (source, position) => this.pass(() => file.write(source, position)),
      truncate: (size) => this.pass(() => file.truncate(size)),
      sync: (done) => this.pass(() => (this.#skipsSyncs ? file.size() && done(null) : file.sync(done))),
      syncNow: () => this.pass(() => (this.#skipsSyncs ? undefined : file.syncNow())),
      close: () => file.close(),
    };
  }

  rename(from: string, to: string): void {
    this.pass(() => this.#inner.rename(from, to));
  }

  remove(name: string): void {
    this.pass(() => this.#inner.remove(name));
  }

  syncFolder(): void {
    this.pass(() => this.#inner.syncFolder());
  }

  freeBytes(): number {
    return this.#inner.freeBytes();
  }
}

export interface CrashRunOptions {
  readonly seed: number;
  /** Crashes, each followed by a recovery. */
  readonly crashes: number;
  /** The power goes within so many calls to the disk. */
  readonly callsMax: number;
  readonly skipsSyncs?: boolean;
}

/** What happened, so that a test can see that it tried what it should. */
export interface CrashRunCounts {
  tornTails: number;
  cutsInRecovery: number;
  segments: number;
  compactions: number;
  resets: number;
  /** Calls that were made, not acknowledged, and still there after the crash. */
  unacknowledgedKept: number;
}

export function newCounts(): CrashRunCounts {
  return { tornTails: 0, cutsInRecovery: 0, segments: 0, compactions: 0, resets: 0, unacknowledgedKept: 0 };
}

export function crashRun(options: CrashRunOptions, counts: CrashRunCounts): void {
  const run = new CrashRun(options, counts);
  for (let crash = 0; crash < options.crashes; crash += 1) run.live();
}

class CrashRun {
  readonly #options: CrashRunOptions;
  readonly #counts: CrashRunCounts;
  readonly #fixture: LogFixture;
  /** What the log was after each call since it was opened; and the last one that must survive. */
  #states: LogContent[] = [];
  #acknowledged = 0;
  #entries: Entry[] = [];
  #term = 1;

  constructor(options: CrashRunOptions, counts: CrashRunCounts) {
    this.#options = options;
    this.#counts = counts;
    this.#fixture = new LogFixture(options.seed);
  }

  live(): void {
    const { random, disk } = this.#fixture;
    const fileSystem = new CutFileSystem(disk, random.below(this.#options.callsMax), this.#options.skipsSyncs ?? false);
    let log: SegmentLog | null = null;
    try {
      log = this.#fixture.open({}, fileSystem);
      this.#check(log);
      while (!fileSystem.isCut) this.#step(log, fileSystem);
    } catch (error) {
      // A read or a recovery that meets the cut throws it; what was expected of it is checked after the next one.
      if (!fileSystem.isCut) throw error;
      if (log === null) this.#counts.cutsInRecovery += 1;
    }
    // Whoever still waits gets no answer: the process is gone.
    this.#fixture.tasks.length = 0;
    if (random.oneIn(5)) disk.kill();
    else disk.crash();
  }

  #check(log: SegmentLog): void {
    const content = contentOf(log);
    if (log.tornTail !== null) this.#counts.tornTails += 1;
    this.#counts.segments = Math.max(this.#counts.segments, this.#fixture.disk.list().length);
    const states = this.#states;
    if (states.length > 0) {
      const text = JSON.stringify(content);
      const found = states.findLastIndex((state) => JSON.stringify(state) === text);
      if (found < this.#acknowledged) {
        const expected = `call ${this.#acknowledged} of ${states.length - 1} was acknowledged`;
        throw new Error(`the log is as after call ${found}, ${expected}: ${text.slice(0, 500)}`);
      }
      if (found > this.#acknowledged) this.#counts.unacknowledgedKept += 1;
    }
    this.#states = [content];
    this.#acknowledged = 0;
    this.#entries = [...(log.entries(log.firstIndex(), log.lastIndex() + 1, 1e9) ?? [])];
    this.#term = Math.max(this.#term, content.hardState.term);
  }

  #step(log: SegmentLog, fileSystem: CutFileSystem): void {
    const { random, tasks } = this.#fixture;
    const choice = random.below(100);
    if (choice < 45) this.#append(log, fileSystem);
    else if (choice < 48) this.#compact(log, fileSystem);
    else if (choice < 51) this.#reset(log, fileSystem);
    else if (choice < 54) this.#read(log);
    else if (tasks.length > 0) tasks.splice(random.below(tasks.length), 1)[0]();
    if (log.failure !== null && !fileSystem.isCut) throw log.failure;
  }

  #append(log: SegmentLog, fileSystem: CutFileSystem): void {
    const { random } = this.#fixture;
    if (random.oneIn(6)) this.#term += 1;
    const from = log.firstIndex();
    const last = log.lastIndex();
    const first = random.oneIn(5) ? random.between(Math.max(from, last - 20), last + 1) : last + 1;
    const count = random.oneIn(4) ? 0 : random.between(1, random.oneIn(8) ? 40 : 4);
    const entries = Array.from({ length: count }, (_, at): Entry => {
      const data = Buffer.alloc(random.below(random.oneIn(20) ? 3000 : 200), random.below(256));
      return { term: this.#term, index: first + at, kind: random.oneIn(9) ? 1 : 0, data };
    });
    const isUrgent = count > 0 || random.oneIn(2);
    const hardState = random.oneIn(2) ? null : hardStateOf(this.#term, random.between(0, last), random.below(3));
    if (count > 0) this.#entries = [...this.#entries.filter(({ index }) => index < first), ...entries];
    const call = this.#states.length;
    const previous = this.#states[call - 1];
    const isPromise = isUrgent && (count > 0 || hardState !== null);
    const state = { ...previous, hardState: hardState ?? previous.hardState };
    this.#states.push({ ...state, lastIndex: count > 0 ? first + count - 1 : last, entries: this.#texts() });
    log.append({ entries, hardState, mustSync: isUrgent }, (error) => {
      if (error === null && isPromise && !fileSystem.isCut) this.#acknowledged = Math.max(this.#acknowledged, call);
    });
  }

  #compact(log: SegmentLog, fileSystem: CutFileSystem): void {
    if (log.lastIndex() < log.firstIndex()) return;
    const { random } = this.#fixture;
    const back = random.oneIn(2) ? random.below(10) : random.below(200);
    const index = Math.max(log.firstIndex(), log.lastIndex() - back);
    const position = positionOf(index, log.term(index) ?? 0, [random.below(9), 7]);
    this.#entries = this.#entries.filter((item) => item.index > index);
    this.#states.push({ ...this.#states[this.#states.length - 1], position, entries: this.#texts() });
    log.compact(position);
    if (!fileSystem.isCut) this.#counts.compactions += 1;
  }

  #reset(log: SegmentLog, fileSystem: CutFileSystem): void {
    const index = log.lastIndex() + this.#fixture.random.below(50);
    this.#term += 1;
    const position = positionOf(index, this.#term, [1]);
    const hardState = hardStateOf(this.#term, index);
    this.#entries = [];
    const call = this.#states.length;
    this.#states.push({ hardState, position, lastIndex: index, entries: [] });
    log.reset(position, hardState);
    if (fileSystem.isCut) return;
    this.#acknowledged = call;
    this.#counts.resets += 1;
  }

  #read(log: SegmentLog): void {
    const before = this.#states[this.#states.length - 1];
    if (JSON.stringify(contentOf(log)) !== JSON.stringify(before)) throw new Error('the log is not what was appended');
  }

  #texts(): string[] {
    return this.#entries.map(textOf);
  }
}
