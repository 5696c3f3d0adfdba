/**
 * The cold tier of a journal: sends what is full to the object storage, keeps the manifests there, and deletes what nobody needs. Each
 * partition has one piece of work under way at most, whose steps can be cut anywhere:
 *   - the object is complete and verified, the manifest's file is durable, the manifest's object is there; then local copies may go
 *   - what is taken out: the manifest's file, the manifest's object, then the objects
 *   - what a crash leaves, objects that no manifest names, is deleted when the partition is first worked on after it
 * A tier that does not answer stops this work, with pauses that grow and have chance in them; appends do not know of it.
 * Thread: the journal worker; owned by the stream store, which calls `run` every few seconds.
 */

import { crc32c } from '../../core/batch/crc32c.ts';
import { codeOf } from '../../core/files/file-errors.ts';
import type { ObjectStore } from '../../core/ports/object-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { toError } from '../../std/errors.ts';
import { type Limiter, limiter } from '../../std/limiter.ts';
import type { PartitionLog } from '../partition-log.ts';
import type { PartitionTier } from './partition-tier.ts';
import { uploadSegment } from './segment-upload.ts';
import { manifestKey, objectsOf, openManifest, sealManifest, segmentKey, type TierManifest } from './tier-manifest.ts';
import {
  askTier,
  type ColdTierOptions,
  noReport,
  TierAwayError,
  type TierLimits,
  type TierReport,
  tierLimits,
} from './tier-options.ts';
import { TierReader } from './tier-reader.ts';

/** A partition as the tier works on it. */
export interface TieredPartition {
  readonly name: string;
  /** Of one that has a tier. */
  readonly tier: PartitionTier;
  /** Whether further segments go to the tier. */
  readonly isTiered: boolean;
  /** It was removed, or the store is closed. */
  readonly isGone: boolean;
  /** Runs between rounds. Rejects with StorageError, also for the disk's errors. */
  between<T>(task: (log: PartitionLog) => T): Promise<T>;
}

/** A removed partition whose objects are there. */
export interface RemovedTier {
  readonly id: string;
  /** They are gone. */
  done(): void;
}

/** What is known of a partition beside its manifest. */
interface Work {
  /** The manifest in the tier was looked at. */
  isChecked: boolean;
  /** Nothing is there that no manifest names. */
  isSwept: boolean;
  /** Why nothing can be done for it; empty when something can. */
  blocked: string;
}

/** A single failure is not worth a word. */
const failuresToTell = 2;

export class ColdTier {
  readonly reader: TierReader;
  readonly limits: TierLimits;
  readonly #objects: ObjectStore;
  readonly #report: TierReport;
  readonly #lane: Limiter;
  readonly #changed: () => void;
  readonly #work = new WeakMap<PartitionTier, Work>();
  /** Work that is under way or waits for its turn, by id. */
  readonly #busy = new Map<string, Promise<void>>();
  #blocked = new Map<string, string>();
  #backlogBytes = 0;
  /** Removed partitions whose objects were all gone, and since when. */
  readonly #emptySinceMs = new Map<string, number>();
  #failures = 0;
  #reason = '';
  #retry: NodeJS.Timeout | null = null;
  #isClosed = false;
  #latest: {
    readonly partitions: () => readonly TieredPartition[];
    readonly removed: () => readonly RemovedTier[];
  } | null = null;

  /** `changed`: told when `faults` has become another one, perhaps. */
  constructor(options: ColdTierOptions, changed: () => void) {
    this.limits = tierLimits(options);
    this.#objects = options.objects;
    this.#report = options.report ?? noReport;
    this.#lane = limiter(this.limits.uploadsMax);
    this.#changed = changed;
    this.reader = new TierReader(options.objects, this.limits, this.#report);
  }

  /** What an operator should know; empty when all is well. */
  faults(): readonly string[] {
    const faults: string[] = [];
    if (this.#failures >= failuresToTell) faults.push(`the cold tier does not answer: ${this.#reason}`);
    const { backlogBytesMax } = this.limits;
    if (this.#backlogBytes > backlogBytesMax) {
      faults.push(`${this.#backlogBytes} bytes wait for the cold tier: more than ${backlogBytesMax}`);
    }
    for (const [name, reason] of [...this.#blocked].slice(0, 10)) faults.push(`"${name}" is not tiered: ${reason}`);
    return faults;
  }

  /** Looks what there is to do, and begins with it. The functions are asked again when the tier answers after a failure. */
  run(partitions: () => readonly TieredPartition[], removed: () => readonly RemovedTier[]): void {
    this.#latest = { partitions, removed };
    if (!this.#isClosed && this.#retry === null) this.#begin();
  }

  /** Tells the bytes that wait, all partitions together. */
  setBacklog(bytes: number): void {
    this.#backlogBytes = bytes;
    this.#report.backlog(bytes);
  }

  /** Resolves when no work is under way. */
  async idle(): Promise<void> {
    while (this.#busy.size > 0) await Promise.allSettled(this.#busy.values());
  }

  /** Ends all work; what was not finished is begun again after the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#objects.close();
    await this.idle();
  }

  #begin(): void {
    const latest = this.#latest;
    if (latest === null) return;
    const partitions = latest.partitions();
    const known = new Set(partitions.map(({ name }) => name));
    this.#blocked = new Map([...this.#blocked].filter(([name]) => known.has(name)));
    for (const partition of partitions) {
      const { id } = partition.tier;
      if (!this.#busy.has(id)) this.#start(id, () => this.#serve(partition));
    }
    for (const removed of latest.removed()) {
      if (!this.#busy.has(removed.id)) this.#start(removed.id, () => this.#purge(removed));
    }
  }

  #start(id: string, task: () => Promise<void>): void {
    const work = this.#lane(async () => {
      if (this.#isClosed || this.#retry !== null) return;
      try {
        await task();
      } catch (error) {
        if (!(error instanceof TierAwayError)) throw error;
        this.#failed(error);
      }
    });
    const done = work.finally(() => this.#busy.delete(id));
    this.#busy.set(id, done);
  }

  // --- one partition ---

  async #serve(partition: TieredPartition): Promise<void> {
    const { name, tier } = partition;
    const work = this.#workOf(tier);
    try {
      if (!work.isChecked) await this.#check(partition, work);
      if (work.blocked !== '' && !work.isChecked) return;
      if (!tier.isCertain) await partition.between(() => tier.settle());
      await this.#publish(partition);
      await this.#deleteDropped(tier, work);
      if (!work.isSwept) await this.#sweep(partition, work);
      while (await this.#uploadNext(partition, work)) {
        await this.#publish(partition);
        await this.#deleteDropped(tier, work);
      }
      this.#unblock(name, work);
    } catch (error) {
      if (error instanceof TierAwayError) throw error;
      if (!(error instanceof StorageError) && codeOf(error) === '') throw error;
      // It was removed or closed meanwhile, or its files cannot be used; the partition says the latter itself.
      if (partition.isGone || this.#isClosed) return;
      this.#block(name, work, toError(error).message);
    }
  }

  /** Compares the manifest here with the one in the tier, once. */
  async #check(partition: TieredPartition, work: Work): Promise<void> {
    const { tier, name } = partition;
    const key = manifestKey(tier.id);
    const bytes = await this.#ask(() => this.#objects.get(key));
    const remote = bytes === null ? null : openManifest(bytes);
    if (bytes !== null && remote?.id !== tier.id) {
      this.#block(name, work, `object "${key}" is no manifest of it; nothing is changed there`);
      return;
    }
    if (tier.lost !== null) {
      await partition.between((log) => tier.adopt(remote, log.localStartOffset));
    } else if (remote !== null && remote.sequence > tier.manifest.sequence) {
      // Somebody brought an old copy of the data folder back: what the tier has more may be all that is left.
      const state = `it is at ${tier.manifest.sequence} here and at ${remote.sequence} in the tier`;
      this.#block(name, work, `the folder is older than manifest "${key}" (${state}); nothing is changed there`);
      return;
    } else if (remote !== null && isSame(remote, tier.manifest)) tier.onRemote(remote);
    work.isChecked = true;
    this.#unblock(name, work);
  }

  /** Brings the manifest's object up to the file. */
  async #publish({ tier }: TieredPartition): Promise<void> {
    while (tier.isCertain && !tier.isRemoteCurrent) {
      const { manifest } = tier;
      const bytes = sealManifest(manifest);
      await this.#ask(() => this.#objects.put(manifestKey(tier.id), bytes, crc32c(bytes)));
      tier.onRemote(manifest);
    }
  }

  /** Objects that neither of the manifests names any more. */
  async #deleteDropped(tier: PartitionTier, work: Work): Promise<void> {
    if (!tier.isCertain || !tier.isRemoteCurrent) return;
    const dropped = tier.takeDropped();
    if (dropped.length === 0) return;
    // Should it not come to the end, the sweep does.
    const wasSwept = work.isSwept;
    work.isSwept = false;
    for (const entry of dropped) await this.#ask(() => this.#objects.delete(segmentKey(tier.id, entry)));
    work.isSwept = wasSwept;
  }

  /** Deletes what no manifest names. No upload of this partition is under way, and both manifests are the same. */
  async #sweep({ tier }: TieredPartition, work: Work): Promise<void> {
    if (!tier.isCertain || !tier.isRemoteCurrent) return;
    const under = objectsOf(tier.id);
    await this.#ask(() => this.#objects.abortUploads(under));
    const keep = new Set(tier.entries.map((entry) => segmentKey(tier.id, entry)));
    keep.add(manifestKey(tier.id));
    for (let after = ''; ; ) {
      const found = await this.#ask(() => this.#objects.list(under, after));
      for (const { key } of found) if (!keep.has(key)) await this.#ask(() => this.#objects.delete(key));
      const last = found.at(-1);
      if (last === undefined) break;
      after = last.key;
    }
    work.isSwept = true;
  }

  /** Whether there was one. */
  async #uploadNext(partition: TieredPartition, work: Work): Promise<boolean> {
    const { tier } = partition;
    if (!partition.isTiered || partition.isGone) return false;
    const next = await partition.between((log) => log.nextToTier());
    if (next === null) return false;
    // Until the manifest names it, it is nobody's.
    work.isSwept = false;
    const entry = await uploadSegment(next, {
      objects: this.#objects,
      partBytes: this.limits.partBytes,
      id: tier.id,
      name: partition.name,
      assertWanted: () => {
        if (partition.isGone || this.#isClosed) {
          throw new StorageError('STORAGE_CLOSED', 'Cannot send a segment: it is not wanted any more');
        }
      },
    });
    const isTaken = await partition.between((log) => {
      // It may have been deleted or cut off meanwhile.
      if (log.nextToTier()?.segment !== next.segment || !log.has(next.segment, next.nextOffset)) return false;
      tier.append(entry, log.logStartOffset);
      return true;
    });
    if (isTaken) {
      work.isSwept = true;
      this.#report.uploaded(entry.objectBytes);
    } else await this.#sweep(partition, work);
    this.#succeeded();
    return true;
  }

  // --- partitions that were removed ---

  async #purge({ id, done }: RemovedTier): Promise<void> {
    const under = objectsOf(id);
    await this.#ask(() => this.#objects.abortUploads(under));
    for (;;) {
      const found = await this.#ask(() => this.#objects.list(under));
      if (found.length === 0) break;
      for (const { key } of found) await this.#ask(() => this.#objects.delete(key));
    }
    // A request that was lost may still arrive: it is looked once more after a time.
    const sinceMs = this.#emptySinceMs.get(id) ?? performance.now();
    this.#emptySinceMs.set(id, sinceMs);
    if (this.#isClosed || performance.now() - sinceMs < this.limits.purgeAgainMs) return;
    this.#emptySinceMs.delete(id);
    done();
  }

  // --- whether the tier answers ---

  async #ask<T>(request: () => Promise<T>): Promise<T> {
    const answer = await askTier(request);
    this.#succeeded();
    return answer;
  }

  #succeeded(): void {
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#reason = '';
    this.#changed();
  }

  #failed({ message }: TierAwayError): void {
    if (this.#isClosed) return;
    this.#failures += 1;
    this.#reason = message;
    this.#report.failed();
    this.#changed();
    const { retryMsMin, retryMsMax } = this.limits;
    const pause = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(this.#failures - 1, 20));
    this.#objects.reset();
    // Many nodes that lost the same service must not come back to it in one moment.
    this.#retry ??= setTimeout(
      () => {
        this.#retry = null;
        this.#begin();
      },
      pause * (0.5 + Math.random() / 2),
    ).unref();
  }

  #workOf(tier: PartitionTier): Work {
    let work = this.#work.get(tier);
    if (work === undefined) {
      work = { isChecked: false, isSwept: false, blocked: '' };
      this.#work.set(tier, work);
    }
    return work;
  }

  #block(name: string, work: Work, reason: string): void {
    work.blocked = reason;
    if (this.#blocked.get(name) === reason) return;
    this.#blocked.set(name, reason);
    this.#changed();
  }

  #unblock(name: string, work: Work): void {
    work.blocked = '';
    if (this.#blocked.delete(name)) this.#changed();
  }
}

function isSame(one: TierManifest, other: TierManifest): boolean {
  return sealManifest(one).equals(sealManifest(other));
}
