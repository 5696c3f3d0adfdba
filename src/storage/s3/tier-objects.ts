/**
 * The port `ObjectStore` over an S3-compatible service: what the cold tier of a journal keeps its segments in. Thread: the one that holds
 * the store; opened by `index.ts`.
 */
import type { ObjectStore as ObjectStorePort, ObjectUpload, StoredObject } from '../../core/ports/object-store.ts';
import type { ObjectStorageSettings } from '../../core/settings/object-storage-settings.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { toError } from '../../std/errors.ts';
import { ObjectStore, type SentPart } from './object-store.ts';

const mebibyte = 1024 * 1024;
/** A page of a list, as the service gives it. */
const pageKeys = 1000;
/** What is large may take longer: a second more for each of so many bytes. */
const bytesPerSecondMin = mebibyte;

export class TierObjects implements ObjectStorePort {
  /** Of the service. */
  readonly partBytesMin = 5 * mebibyte;
  readonly place: string;
  readonly #settings: ObjectStorageSettings;
  readonly #objects: ObjectStore;
  /** The bucket was found, or made. */
  #bucket: Promise<void> | null = null;

  private constructor(settings: ObjectStorageSettings, objects: ObjectStore) {
    const { endpoint, region, bucket, prefix } = settings;
    this.place = `bucket "${bucket}" at ${endpoint === '' ? `AWS ${region}` : endpoint}, prefix "${prefix}"`;
    this.#settings = settings;
    this.#objects = objects;
  }

  /** Asks nothing of the service. @throws when the package or the file with the secret is missing */
  static async open(settings: ObjectStorageSettings): Promise<TierObjects> {
    return new TierObjects(settings, await ObjectStore.open(settings));
  }

  async put(key: string, bytes: Buffer, crc: number): Promise<void> {
    await this.#ask(() => this.#objects.put(key, bytes, { crc }, this.#limitMs(bytes.length)));
  }

  async beginUpload(key: string): Promise<ObjectUpload> {
    const id = await this.#ask(() => this.#objects.beginParts(key));
    const parts: SentPart[] = [];
    let size = 0;
    return {
      part: async (number, bytes, crc) => {
        const limitMs = this.#limitMs(bytes.length);
        const etag = await this.#ask(() => this.#objects.putPart(key, id, number, bytes, crc, limitMs));
        parts.push({ number, etag, crc });
        size += bytes.length;
      },
      complete: async () => {
        parts.sort((one, other) => one.number - other.number);
        await this.#ask(() => this.#objects.completeParts(key, id, parts, this.#limitMs(size)));
      },
      abort: () => this.#ask(() => this.#objects.abortParts(key, id)),
    };
  }

  get(key: string, from?: number, length?: number): Promise<Buffer | null> {
    return this.#ask(async () => (await this.#objects.get(key, from, length))?.bytes ?? null);
  }

  list(under: string, after?: string): Promise<readonly StoredObject[]> {
    return this.#ask(() => this.#objects.list(under, after, pageKeys));
  }

  delete(key: string): Promise<void> {
    return this.#ask(() => this.#objects.delete(key));
  }

  abortUploads(under: string): Promise<number> {
    return this.#ask(async () => {
      const found = await this.#objects.unfinished(under);
      for (const { key, id } of found) await this.#objects.abortParts(key, id);
      return found.length;
    });
  }

  reset(): void {
    this.#objects.reset();
  }

  close(): void {
    this.#objects.close();
  }

  #limitMs(bytes: number): number {
    return this.#settings.requestLimitMs + Math.ceil((1000 * bytes) / bytesPerSecondMin);
  }

  /** Whatever the service did not do can be tried again. */
  async #ask<T>(request: () => Promise<T>): Promise<T> {
    try {
      await this.#findBucket();
      return await request();
    } catch (thrown) {
      const error = toError(thrown);
      const isKnown = error instanceof StorageError && error.code !== 'STORAGE_PARTITION_FAILED';
      throw isKnown ? error : new StorageError('STORAGE_UNAVAILABLE', error.message, { cause: error });
    }
  }

  #findBucket(): Promise<void> {
    if (!this.#settings.createBucket) return Promise.resolve();
    if (this.#bucket === null) {
      const found = this.#makeBucket();
      this.#bucket = found;
      // The next call tries anew.
      found.catch(() => {
        this.#bucket = null;
      });
    }
    return this.#bucket;
  }

  async #makeBucket(): Promise<void> {
    if (!(await this.#objects.hasBucket())) await this.#objects.createBucket();
  }
}
