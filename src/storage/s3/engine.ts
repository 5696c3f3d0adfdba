/**
 * The storage engine on S3-compatible object storage: each run of batches is an object, and runs are merged into larger ones
 * in the background. Thread: the one that holds the store; made by `index.ts`, called by the front of the store.
 *
 * An append is answered when its upload was. The service must be strongly consistent, and must refuse a PUT with
 * `If-None-Match: *` when the key is taken; the latter is tried when the store is opened. Nothing is ever found out from
 * a request that was not answered: the front asks for the end of the log, and that is looked for.
 */
import { randomUUID } from 'node:crypto';
import type { StreamSettings } from '../../core/ports/stream-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import {
  type EngineClaim,
  type EngineHandle,
  EngineLostError,
  type EngineOutcome,
  type EnginePeek,
  type EnginePiece,
  type EnginePlaces,
  type EngineRun,
  type StoreEngine,
} from '../../core/streams/store-engine.ts';
import type { Logger } from '../../observability/log.ts';
import { toError } from '../../std/errors.ts';
import { limiter } from '../../std/limiter.ts';
import { BlockCache } from './block-cache.ts';
import { findPiece } from './chain.ts';
import { Janitor } from './janitor.ts';
import { allGenerations, newestGenerations } from './names.ts';
import { countKey, emptyBody, writerKey } from './object-format.ts';
import { type ListedObject, ObjectStore } from './object-store.ts';
import { defaultDeleteAfterMs, type LogHost, PartitionLog } from './partition-log.ts';
import type { S3Settings } from './settings.ts';

const triesMax = 10;
const smallMergesAtOnce = 8;
/** So often what removed partitions left is looked for. */
const purgeMs = 60 * 60 * 1000;
/** A removed partition leaves its name for so long, in case that a lost request for it still arrives. */
const removedNameMs = 24 * 60 * 60 * 1000;

/** What is stored of a name. */
interface Entry {
  readonly id: string;
  readonly settings: StreamSettings;
}

interface FoundEntry extends Entry {
  readonly key: string;
  readonly etag: string;
}

export class S3Engine implements StoreEngine {
  readonly adapter = 's3';
  readonly runBytesMax: number;
  /** One PUT, kept in memory twice. */
  readonly appendBytesMax = 256 * 1024 * 1024;
  /** A write waits for its slowest upload; those of other partitions need not. */
  readonly writesMax = 64;
  readonly #settings: S3Settings;
  readonly #log: Logger;
  readonly #deleteAfterMs: number;
  readonly #logs = new Map<string, PartitionLog>();
  #opening: Promise<LogHost> | null = null;
  #isChecked = false;
  #purgeTimer: NodeJS.Timeout | undefined;

  /** `deleteAfterMs`: how long objects stay that nobody needs; shorter than its default only where nobody else writes. */
  constructor(settings: S3Settings, log: Logger, deleteAfterMs = defaultDeleteAfterMs) {
    this.#settings = settings;
    this.#log = log;
    this.#deleteAfterMs = deleteAfterMs;
    this.runBytesMax = settings.uploadBytes;
  }

  async open(): Promise<void> {
    const host = await this.#host();
    if (this.#isChecked) return;
    await this.#findBucket(host.objects);
    await this.#checkConditions(host.objects);
    this.#isChecked = true;
    const purge = (): void => {
      this.#purge(host).catch((error: unknown) => {
        // The next time it is done again.
        this.#log.warn('removed partitions could not be deleted', { reason: toError(error).message });
      });
    };
    purge();
    this.#purgeTimer = setInterval(purge, purgeMs).unref();
  }

  reset(): void {
    this.#opening?.then(
      ({ objects }) => objects.reset(),
      () => undefined,
    );
  }

  async close(): Promise<void> {
    const opening = this.#opening;
    this.#opening = null;
    clearInterval(this.#purgeTimer);
    for (const log of this.#logs.values()) log.retire();
    this.#logs.clear();
    const host = await opening?.catch(() => null);
    await host?.janitor.close();
    host?.objects.close();
  }

  async names(): Promise<readonly string[]> {
    const { objects } = await this.#host();
    const newest = newestGenerations(await objects.list('names/'));
    return [...newest].filter(([, { isRemoved }]) => !isRemoved).map(([name]) => name);
  }

  async create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    const { objects } = await this.#host();
    for (let count = 0; count < triesMax; count += 1) {
      const known = newestGenerations(await objects.list(`names/${name}/`)).get(name);
      if (known !== undefined && !known.isRemoved) {
        const entry = await this.#entry(name);
        if (entry === null) continue;
        return entry.id === id ? 'created' : 'exists';
      }
      const key = `names/${name}/${countKey((known?.generation ?? 0) + 1)}`;
      if ((await objects.put(key, JSON.stringify({ id, settings }), { absent: true })) === 'refused') continue;
      // A request that arrived late may have stored an old generation: the newest counts.
      if ((await this.#entry(name))?.id === id) return 'created';
    }
    throw new EngineLostError(`Others create and remove "${name}" all the time`);
  }

  async remove(name: string, id: string): Promise<void> {
    const { objects, janitor } = await this.#host();
    const entry = await this.#entry(name);
    if (entry?.id !== id) return;
    await objects.put(`${entry.key}-removed`, JSON.stringify({ id }));
    this.#logs.get(id)?.retire();
    this.#logs.delete(id);
    janitor.deleteLater(
      (await objects.list(`data/${id}/`)).map(({ key }) => key),
      0,
    );
  }

  async claim(name: string): Promise<EngineClaim | null> {
    const host = await this.#host();
    const entry = await this.#entry(name);
    if (entry === null) return null;
    const { id, settings } = entry;
    const checkedAt = host.now();
    const handle = { name, id, writer: await this.#nextWriter(host.objects, id) };
    this.#logs.get(id)?.retire();
    const { log, producers } = await PartitionLog.open(host, handle, checkedAt);
    this.#logs.set(id, log);
    log.limitSegments(settings.segmentBytes);
    void log.merge();
    return { handle, settings, ...log.places, producers };
  }

  async peek(name: string): Promise<EnginePeek | null> {
    const host = await this.#host();
    const entry = await this.#entry(name);
    if (entry === null) return null;
    const { id, settings } = entry;
    const handle = { name, id, writer: writerOf((await host.objects.list(`data/${id}/writer/`)).at(-1)?.key) };
    const { log } = await PartitionLog.open(host, handle, Number.NEGATIVE_INFINITY);
    log.retire();
    const [oldest = null] = log.pieces.slice(findPiece(log.pieces, log.places.startOffset));
    return { id, writer: handle.writer, settings, ...log.places, oldest };
  }

  async places(handle: EngineHandle): Promise<EnginePlaces | null> {
    if (!(await this.#isThere(handle))) return null;
    const log = await this.#logOf(handle);
    await log.refresh();
    return log.places;
  }

  async change(handle: EngineHandle, settings: StreamSettings): Promise<void> {
    const { objects } = await this.#host();
    for (let count = 0; count < triesMax; count += 1) {
      const entry = await this.#entry(handle.name);
      if (entry?.id !== handle.id) break;
      const body = JSON.stringify({ id: handle.id, settings });
      if ((await objects.put(entry.key, body, { etag: entry.etag })) === 'refused') continue;
      this.#logs.get(handle.id)?.limitSegments(settings.segmentBytes);
      return;
    }
    throw new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot change partition "${handle.name}": it is gone`);
  }

  append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    return Promise.all(runs.map(async (run) => (await this.#logOf(run.handle)).append(run)));
  }

  async read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    return (await this.#logOf(handle)).read(offset, bytesMax);
  }

  async pieces(handle: EngineHandle, from: number, limit: number): Promise<readonly EnginePiece[]> {
    const { pieces } = await this.#logOf(handle);
    const first = findPiece(pieces, from);
    return pieces.slice(first, first + limit);
  }

  async findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    const { pieces } = await this.#logOf(handle);
    for (let at = findPiece(pieces, from); at < pieces.length; at += 1) {
      if (pieces[at].maxTimestamp >= timestamp) return pieces[at].baseOffset;
    }
    return null;
  }

  async deleteBefore(handle: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    if (!(await this.#isThere(handle))) return 'fenced';
    return (await this.#logOf(handle)).deleteBefore(offset);
  }

  async saveProducers(handle: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    await (await this.#logOf(handle)).saveProducers(offset, snapshot);
  }

  #host(): Promise<LogHost> {
    if (this.#opening === null) {
      const opening = this.#makeHost();
      this.#opening = opening;
      // The next call tries anew.
      opening.catch(() => {
        if (this.#opening === opening) this.#opening = null;
      });
    }
    return this.#opening;
  }

  async #makeHost(): Promise<LogHost> {
    const objects = await ObjectStore.open(this.#settings);
    const now = steadyClock();
    return {
      settings: this.#settings,
      objects,
      cache: new BlockCache(this.#settings.cacheBytes),
      janitor: new Janitor(objects, now),
      deleteAfterMs: this.#deleteAfterMs,
      log: this.#log,
      smallMerges: limiter(smallMergesAtOnce),
      largeMerges: limiter(1),
      now,
    };
  }

  async #findBucket(objects: ObjectStore): Promise<void> {
    if (await objects.hasBucket()) return;
    const { bucket, createBucket } = this.#settings;
    if (!createBucket) throw new StorageError('STORAGE_UNAVAILABLE', `Cannot use bucket "${bucket}": there is none`);
    await objects.createBucket();
  }

  /** A service that does not know conditions ignores them, and two writers would overwrite each other's records. */
  async #checkConditions(objects: ObjectStore): Promise<void> {
    const key = `probe/${randomUUID()}`;
    await objects.put(key, 'one', { absent: true });
    const second = await objects.put(key, 'two', { absent: true });
    await objects.delete(key);
    if (second === 'refused') return;
    const what = 'it stores an object under a taken key in spite of "If-None-Match: *"';
    throw new StorageError('STORAGE_SETTING_UNSUPPORTED', `Cannot use the object storage: ${what}`);
  }

  /** Deletes what removed partitions left, and in the end their names. */
  async #purge({ objects, janitor }: LogHost): Promise<void> {
    for (const { isRemoved, isNewest, hasEntry, key, modified } of allGenerations(await objects.list('names/'))) {
      if (isNewest && !isRemoved) continue;
      const marker = isRemoved ? await objects.get(`${key}-removed`) : null;
      let rest: readonly ListedObject[] = [];
      if (marker !== null) {
        const { id } = JSON.parse(marker.bytes.toString()) as Pick<Entry, 'id'>;
        rest = await objects.list(`data/${id}/`);
      }
      const keys = rest.map((each) => each.key);
      janitor.deleteLater(keys, 0);
      if (keys.length > 0 || modified >= Date.now() - removedNameMs) continue;
      // The other one the next time: without it the partition would be there again.
      janitor.deleteLater([hasEntry ? key : `${key}-removed`], 0);
    }
  }

  /** What the newest generation of a name says; null when there is none, or it is removed. */
  async #entry(name: string): Promise<FoundEntry | null> {
    const { objects } = await this.#host();
    const newest = newestGenerations(await objects.list(`names/${name}/`)).get(name);
    if (newest === undefined || newest.isRemoved) return null;
    const found = await objects.get(newest.key);
    if (found === null) return null;
    return { ...(JSON.parse(found.bytes.toString()) as Entry), key: newest.key, etag: found.etag };
  }

  async #isThere(handle: EngineHandle): Promise<boolean> {
    return (await this.#entry(handle.name))?.id === handle.id;
  }

  async #nextWriter(objects: ObjectStore, id: string): Promise<number> {
    for (let count = 0; count < triesMax; count += 1) {
      const writer = writerOf((await objects.list(`data/${id}/writer/`)).at(-1)?.key) + 1;
      if ((await objects.put(writerKey(id, writer), emptyBody, { absent: true })) === 'stored') return writer;
    }
    throw new EngineLostError('Others open the same partition all the time');
  }

  async #logOf(handle: EngineHandle): Promise<PartitionLog> {
    const known = this.#logs.get(handle.id);
    if (known?.handle.writer === handle.writer) return known;
    const { log } = await PartitionLog.open(await this.#host(), handle, Number.NEGATIVE_INFINITY);
    if (known === undefined) this.#logs.set(handle.id, log);
    return log;
  }
}

/** 0: there was none. */
function writerOf(key = '0'): number {
  return Number(key.slice(key.lastIndexOf('/') + 1));
}

/** Goes on while the machine sleeps, as the clock on the wall does, and never back, as that one may. */
function steadyClock(): () => number {
  let wall = Date.now();
  let mono = performance.now();
  let now = 0;
  return () => {
    const wallNow = Date.now();
    const monoNow = performance.now();
    now += Math.max(wallNow - wall, monoNow - mono);
    wall = wallNow;
    mono = monoNow;
    return now;
  };
}
