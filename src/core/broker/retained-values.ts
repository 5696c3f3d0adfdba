/**
 * The retained values as one connection worker has them: its replica, what goes to and comes from the other workers, and the log
 * that keeps them. Owned by the router, which owns the rings; protocols call it. Thread: one connection worker.
 *
 * A value counts as soon as `retain` returns: every subscription that is made afterwards anywhere on the node gets it. It is durable
 * when `done` is told so; without a log that is at once.
 */
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { defaultTenant } from '../ports/access.ts';
import type { StreamStore } from '../ports/stream-store.ts';
import { type RetainedDone, RetainedLog, storedValueBytesMax } from '../retained/retained-log.ts';
import type { RetainedSource } from '../retained/retained-source.ts';
import {
  boundedExpiry,
  bytesOf,
  type RetainedLimits,
  type RetainedRefusal,
  type RetainedValue,
  retainedRefusals,
} from '../retained/retained-value.ts';
import { StorageError } from '../streams/storage-error.ts';
import { fillRun, RetainedReplica, type RetainedSelection, retainedValueOf } from './retained-replica.ts';
import { Run } from './run.ts';

/** Width of the part of a stamp that goes in the word of a record; the rest goes in the word for the epoch. */
const two32 = 2 ** 32;
/** Bytes of values that one worker is sent by another in one turn. */
const handedBytesMax = 4 * 1024 * 1024;
/** Values that are looked at for it. */
const handedStepsMax = 20_000;
/** Between two slices of the removal of what has expired. */
const sweepMsMin = 20;
const sweepMsMax = 60_000;

/** How the router sends records. */
export interface RetainedLink {
  /** To all other workers; false when the ring has no room. `word` and `run.epoch` carry the stamp. */
  sendAll(isRemoval: boolean, topic: Buffer, run: Run, word: number): boolean;
  /** The same to one of them. */
  sendOne(worker: number, isRemoval: boolean, topic: Buffer, run: Run, word: number): boolean;
  /** Longest record that the ring takes, for a topic of so many bytes. */
  bytesMax(topicLength: number): number;
  catchUp(): void;
  /** Calls back once when the ring may have room again. */
  whenRoom(callback: () => void): void;
}

export interface RetainedValuesOptions {
  readonly limits: RetainedLimits;
  /** The counter of `RouterShared.retainStamp`. */
  readonly stamp: SharedArrayBuffer;
  readonly link: RetainedLink;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
}

export interface RetainedStorage {
  readonly store: StreamStore;
  /** One worker of the node: it writes the stream anew when it has grown. */
  readonly isKeeper: boolean;
  /** How long an append may wait for the store, ms. */
  readonly waitMsMax: number;
  /** See `RetainedLogOptions`. */
  readonly rewriteBytesMin?: number;
}

/** What is published to be kept. */
export interface Retention {
  readonly topic: string;
  readonly topicBytes: Buffer;
  /** The topic's value is forgotten instead. */
  readonly isRemoval: boolean;
  /** Unix time in seconds, 0: for ever; the limits may shorten it. */
  readonly expiresAtS: number;
  readonly tenant: string;
}

/** A change for another worker; a removal without a value. */
interface Handed {
  readonly topic: string;
  readonly value: RetainedValue | null;
  readonly stamp: number;
}

export class RetainedValues implements RetainedSource {
  private readonly replica: RetainedReplica;
  private readonly limits: RetainedLimits;
  private readonly link: RetainedLink;
  private readonly metrics: ThreadMetrics;
  private readonly log: Logger;
  private readonly slots: RetainedSlots;
  private storage: RetainedLog | null = null;
  private isLoading = false;
  /** Highest stamp that was read. */
  private loadedStamp = 0;
  private loading: (() => void)[] = [];
  private sweepTimer: NodeJS.Timeout | null = null;
  private sweepAtMs = Number.POSITIVE_INFINITY;
  private isStopped = false;
  /** The latest `retain` answered false because of the log. */
  private isHeldByLog = false;
  /** A frame and the tenant behind it. */
  private scratch = Buffer.alloc(0);

  constructor({ limits, stamp, link, metrics, log }: RetainedValuesOptions) {
    this.replica = new RetainedReplica(limits, stamp);
    this.limits = limits;
    this.link = link;
    this.metrics = metrics;
    this.log = log;
    this.slots = retainedSlots(metrics);
  }

  /**
   * Keeps the values in `storage` from now on, and reads what is there. Resolves when it is read; subscriptions are given their values
   * then, see `whenLoaded`. Called once, before the first publication.
   */
  async keepIn(storage: RetainedStorage): Promise<void> {
    const { store, isKeeper, waitMsMax, rewriteBytesMin } = storage;
    this.replica.allowLateness(waitMsMax);
    const observer = {
      stored: (records: number) => {
        this.metrics.add(this.slots.stored, records);
        this.metrics.set(this.slots.unsaved, this.storage?.unsaved ?? 0);
      },
      failed: () => this.metrics.increment(this.slots.failures),
      rewritten: () => this.metrics.increment(this.slots.rewrites),
    };
    const bytes = rewriteBytesMin === undefined ? {} : { rewriteBytesMin };
    const log = new RetainedLog({ store, source: this, isKeeper, observer, log: this.log, ...bytes });
    this.storage = log;
    this.isLoading = true;
    await log.load();
    this.replica.raiseStamp(this.loadedStamp);
    this.isLoading = false;
    this.count();
    this.sweepLater();
    const waiting = this.loading;
    this.loading = [];
    for (const callback of waiting) callback();
  }

  /** Values outlive the node: what is acknowledged must be durable first. */
  get isDurable(): boolean {
    return this.storage !== null;
  }

  /** The store has refused the latest attempt to keep values; it is tried again. */
  get isFailing(): boolean {
    return this.storage?.isFailing === true;
  }

  /** Changes made here that are not durable yet. */
  get unsaved(): number {
    return this.storage?.unsaved ?? 0;
  }

  get isLoaded(): boolean {
    return !this.isLoading;
  }

  /** Calls back when the stored values are here: at once when they are. */
  whenLoaded(callback: () => void): void {
    if (this.isLoaded) callback();
    else this.loading.push(callback);
  }

  /** Ends timers and the log; what waits to be stored is told so. */
  stop(): void {
    this.isStopped = true;
    if (this.sweepTimer !== null) clearTimeout(this.sweepTimer);
    this.storage?.close();
  }

  // ---- publishing

  /** Which limit would refuse a value with a frame of `frameBytes` bytes; null when none would. Counted by whoever acts on it. */
  refusalOf(topic: string, frameBytes: number, tenant: string): RetainedRefusal | null {
    if (this.isStorageFull) return 'storage';
    if (this.storage !== null && frameBytes > storedValueBytesMax) return 'value-bytes';
    const owner = nameOf(tenant);
    if (owner !== '') {
      // Its name travels with the frame.
      const recordBytes = frameBytes + Buffer.byteLength(owner);
      if (recordBytes > this.link.bytesMax(Buffer.byteLength(topic))) return 'value-bytes';
    }
    return this.replica.refusalOf(topic, frameBytes, owner);
  }

  /** The store fails, and no more changes can wait for it: removals are refused as well. */
  get isStorageFull(): boolean {
    return this.storage?.isFull === true && this.storage.isFailing;
  }

  /** A publisher was told that its value is not kept. */
  countRefused(refusal: RetainedRefusal): void {
    this.metrics.increment(this.slots.refused.get(refusal) as number);
  }

  /**
   * Keeps the one publication in `run` as the value of its topic on all workers, or forgets it. False when there is no room now: in
   * the ring, or for what waits to be stored; nothing changed then, see `whenRoom`. A value that a limit refuses is counted and not
   * kept. `done` is told, not inside of the call, when the change is durable, or why it is not. Overwrites `run.detailD` and `run.epoch`.
   */
  retain(
    { topic, topicBytes, isRemoval, expiresAtS, tenant }: Retention,
    run: Run,
    done: RetainedDone | null,
  ): boolean {
    if (this.storage?.isFull && !this.storage.isFailing) {
      this.isHeldByLog = true;
      return false;
    }
    const owner = nameOf(tenant);
    const refusal = isRemoval ? null : this.refusalOf(topic, run.end - run.start, owner);
    if (refusal !== null || this.isStorageFull) {
      this.countRefused(refusal ?? 'storage');
      this.metrics.increment(this.slots.full);
      if (done !== null) setImmediate(done, this.isStorageFull ? storageFull(topic) : null);
      return true;
    }
    run.detailD = isRemoval ? 0 : boundedExpiry(expiresAtS, Date.now(), this.limits);
    const stamp = this.replica.nextStamp();
    if (!this.send(isRemoval, topicBytes, run, owner, stamp)) return false;
    this.apply(topic, run, isRemoval, stamp, owner);
    if (this.storage !== null) {
      this.storage.save(topic, stamp, done);
      this.metrics.set(this.slots.unsaved, this.storage.unsaved);
    } else if (done !== null) setImmediate(done, null);
    return true;
  }

  /** Calls back once when what answered false last may have room: the log, after a `retain`, or the ring. */
  whenRoom(callback: () => void): void {
    const { storage, isHeldByLog } = this;
    this.isHeldByLog = false;
    if (isHeldByLog && storage !== null) storage.whenRoom(callback);
    else this.link.whenRoom(callback);
  }

  /** The tenant's name goes behind the frame, and its length in the count, which is 1 for a retained publication. */
  private send(isRemoval: boolean, topicBytes: Buffer, run: Run, tenant: string, stamp: number): boolean {
    run.epoch = Math.floor(stamp / two32);
    const word = stamp | 0;
    if (tenant === '' || isRemoval) {
      run.count = 1;
      return this.link.sendAll(isRemoval, topicBytes, run, word);
    }
    const { buffer, start, end } = run;
    this.appendTenant(run, tenant);
    const isSent = this.link.sendAll(isRemoval, topicBytes, run, word);
    run.buffer = buffer;
    run.start = start;
    run.end = end;
    run.count = 1;
    return isSent;
  }

  private appendTenant(run: Run, tenant: string): void {
    const frameBytes = run.end - run.start;
    const tenantBytes = Buffer.byteLength(tenant);
    if (this.scratch.length < frameBytes + tenantBytes)
      this.scratch = Buffer.allocUnsafeSlow(2 * (frameBytes + tenantBytes));
    run.buffer.copy(this.scratch, 0, run.start, run.end);
    this.scratch.write(tenant, frameBytes);
    run.buffer = this.scratch;
    run.start = 0;
    run.end = frameBytes + tenantBytes;
    run.count = 1 + tenantBytes;
  }

  // ---- what comes from other workers

  /** A record of another worker: a value or a removal. */
  receive(topic: string, run: Run, isRemoval: boolean, word: number): void {
    const stamp = (run.epoch >>> 0) * two32 + (word >>> 0);
    const tenantBytes = run.count - 1;
    run.end -= tenantBytes;
    run.count = 1;
    const tenant = tenantBytes === 0 ? '' : run.buffer.toString('utf8', run.end, run.end + tenantBytes);
    this.apply(topic, run, isRemoval, stamp, tenant);
  }

  private apply(topic: string, run: Run, isRemoval: boolean, stamp: number, tenant: string): void {
    if (isRemoval) this.replica.forget(topic, stamp);
    else this.replica.keep(topic, retainedValueOf(run, stamp, tenant));
    this.storage?.grew(bytesOf(topic, isRemoval ? 0 : run.end - run.start, tenant));
    this.count();
    this.sweepLater();
  }

  /**
   * For a worker that has just started: the values, and what was removed lately, since the values that it reads may be older. With a
   * log that works it reads nearly all by itself, and is handed only what was not durable yet when it did.
   */
  handTo(worker: number): void {
    const isWhole = this.storage === null || this.storage.isFailing;
    const sinceMs = isWhole ? 0 : Date.now() - this.replica.forgottenForMs;
    const changes = this.changesSince(sinceMs);
    const run = new Run();
    let due = changes.next();
    const go = (): void => {
      let bytes = 0;
      for (let steps = 0; due.done !== true && !this.isStopped; due = changes.next(), steps++) {
        if (bytes > handedBytesMax || steps > handedStepsMax) {
          setImmediate(go);
          return;
        }
        const change = due.value;
        if (change === null) continue;
        const { topic, value, stamp } = change;
        run.count = 1;
        run.start = run.end;
        if (value !== null) fillRun(run, value);
        if (value !== null && value.tenant !== '') this.appendTenant(run, value.tenant);
        run.epoch = Math.floor(stamp / two32);
        bytes += run.end - run.start;
        if (this.link.sendOne(worker, value === null, Buffer.from(topic), run, stamp | 0)) continue;
        this.link.whenRoom(go);
        return;
      }
    };
    go();
  }

  /** Null for one that is older. */
  private *changesSince(sinceMs: number): Generator<Handed | null> {
    for (const [topic, stamp] of [...this.replica.lately()]) yield { topic, value: null, stamp };
    for (const [topic, value] of this.replica.all()) {
      yield value.storedAtMs < sinceMs ? null : { topic, value, stamp: value.stamp };
    }
  }

  // ---- reading

  /** Visits the values that match and have not expired, after everything that other workers have published is seen. */
  match(filter: string, visit: (topic: string, value: RetainedValue) => void): void {
    this.catchUp();
    this.replica.match(filter, Date.now(), visit);
  }

  /** A walk over them that can pause, for those that may match many. */
  walk(filter: string): RetainedSelection {
    this.catchUp();
    return this.replica.walk(filter);
  }

  /** The value of a topic that has not expired, as far as this worker knows. */
  get(topic: string): RetainedValue | undefined {
    return this.replica.get(topic);
  }

  /** Values that are published from now on have higher stamps. */
  get latestStamp(): number {
    return this.replica.latestStamp;
  }

  // ---- for the log

  stored(topic: string): RetainedValue | undefined {
    return this.replica.get(topic, 0);
  }

  stampOf(topic: string): number {
    return this.replica.stampOf(topic);
  }

  all(): Iterable<[string, RetainedValue]> {
    return this.replica.all();
  }

  lately(): Iterable<[string, number]> {
    return this.replica.lately();
  }

  catchUp(): void {
    this.link.catchUp();
  }

  load(topic: string, value: RetainedValue): void {
    const { expiresAtS, stamp } = value;
    this.loadedStamp = Math.max(this.loadedStamp, stamp);
    const nowMs = Date.now();
    if (expiresAtS !== 0 && expiresAtS * 1000 <= nowMs) this.replica.forget(topic, stamp, nowMs);
    else this.replica.keep(topic, value, nowMs);
  }

  loadRemoval(topic: string, stamp: number, atMs: number): void {
    this.loadedStamp = Math.max(this.loadedStamp, stamp);
    this.replica.forget(topic, stamp, atMs);
  }

  // ---- upkeep

  private count(): void {
    this.metrics.set(this.slots.count, this.replica.count);
    this.metrics.set(this.slots.bytes, this.replica.bytes);
  }

  private sweepLater(): void {
    const { sweepDueMs } = this.replica;
    if (this.isStopped || sweepDueMs >= this.sweepAtMs) return;
    if (this.sweepTimer !== null) clearTimeout(this.sweepTimer);
    const nowMs = Date.now();
    const delayMs = Math.min(sweepMsMax, Math.max(sweepMsMin, sweepDueMs - nowMs));
    this.sweepAtMs = nowMs + delayMs;
    this.sweepTimer = setTimeout(() => this.sweep(), delayMs).unref();
  }

  private sweep(): void {
    this.sweepTimer = null;
    this.sweepAtMs = Number.POSITIVE_INFINITY;
    const count = this.replica.sweep(Date.now());
    this.metrics.add(this.slots.expired, count);
    if (count > 0) this.count();
    this.sweepLater();
  }
}

function storageFull(topic: string): StorageError {
  const message = `Cannot keep the value of ${JSON.stringify(topic)}: the storage fails, and too many wait for it already`;
  return new StorageError('STORAGE_UNAVAILABLE', message);
}

/** '' stands for the default tenant, which nearly all values have. */
function nameOf(tenant: string): string {
  return tenant === defaultTenant ? '' : tenant;
}

interface RetainedSlots {
  readonly count: number;
  readonly bytes: number;
  readonly full: number;
  readonly unsaved: number;
  readonly stored: number;
  readonly failures: number;
  readonly rewrites: number;
  readonly expired: number;
  readonly refused: ReadonlyMap<RetainedRefusal, number>;
}

function retainedSlots(metrics: ThreadMetrics): RetainedSlots {
  return {
    count: metrics.slot('ringmq_retained_messages'),
    bytes: metrics.slot('ringmq_retained_bytes'),
    full: metrics.slot('ringmq_messages_dropped_total', { reason: 'retained-full' }),
    unsaved: metrics.slot('ringmq_retained_unsaved'),
    stored: metrics.slot('ringmq_retained_stored_total'),
    failures: metrics.slot('ringmq_retained_store_failures_total'),
    rewrites: metrics.slot('ringmq_retained_rewrites_total'),
    expired: metrics.slot('ringmq_retained_expired_total'),
    refused: new Map(
      retainedRefusals.map((limit) => [limit, metrics.slot('ringmq_retained_refused_total', { limit })] as const),
    ),
  };
}
