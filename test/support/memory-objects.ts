/**
 * Object storage in memory for tests, with what can go wrong: a request that is refused, one that is done and not answered, a service that
 * is away, and bytes that change. What a service promises it keeps: what was answered is there, whole. One thread.
 */

import { crc32c } from '../../src/core/batch/crc32c.ts';
import type { ObjectStore, ObjectUpload, StoredObject } from '../../src/core/ports/object-store.ts';
import { StorageError } from '../../src/core/streams/storage-error.ts';

export type ObjectRequest =
  | 'put'
  | 'begin'
  | 'part'
  | 'complete'
  | 'abort'
  | 'get'
  | 'list'
  | 'delete'
  | 'abort-uploads';

/** `lost`: it is done, and nobody is told. */
export type ObjectFate = 'answered' | 'refused' | 'lost';

/** What all clients of the service see; it outlives them. */
export class ObjectService {
  readonly objects = new Map<string, Buffer>();
  readonly uploads = new Map<number, { readonly key: string; readonly parts: Map<number, Buffer> }>();
  /** Each request, as `<request> <key>`, in order. */
  readonly requests: string[] = [];
  isAway = false;
  /** Decides about each request. */
  fate: (request: ObjectRequest, key: string) => ObjectFate = () => 'answered';
  /** Runs before each request; for what happens meanwhile. */
  before: (request: ObjectRequest, key: string) => void | Promise<void> = () => undefined;
  nextUpload = 1;

  keys(): string[] {
    return [...this.objects.keys()].sort();
  }

  /** Those of segments. */
  segments(): string[] {
    return this.keys().filter((key) => !key.endsWith('/manifest'));
  }
}

export class MemoryObjects implements ObjectStore {
  readonly place = 'memory';
  readonly partBytesMin: number;
  readonly #service: ObjectService;
  #isClosed = false;
  #isDead = false;

  constructor(service: ObjectService, partBytesMin = 16 * 1024) {
    this.#service = service;
    this.partBytesMin = partBytesMin;
  }

  put(key: string, bytes: Buffer, crc: number): Promise<void> {
    return this.#ask('put', key, () => {
      checkSum(bytes, crc);
      this.#service.objects.set(key, Buffer.from(bytes));
    });
  }

  async beginUpload(key: string): Promise<ObjectUpload> {
    const { uploads, objects } = this.#service;
    const id = await this.#ask('begin', key, () => {
      const number = this.#service.nextUpload;
      this.#service.nextUpload += 1;
      uploads.set(number, { key, parts: new Map() });
      return number;
    });
    return {
      part: (number, bytes, crc) =>
        this.#ask('part', key, () => {
          checkSum(bytes, crc);
          uploads.get(id)?.parts.set(number, Buffer.from(bytes));
        }),
      complete: () =>
        this.#ask('complete', key, () => {
          const parts = [...(uploads.get(id)?.parts ?? [])].sort(([one], [other]) => one - other);
          // A completion that is sent again.
          if (parts.length === 0 && objects.has(key)) return;
          const isWhole = parts.every(([number], at) => number === at + 1);
          const isLong = parts.slice(0, -1).every(([, bytes]) => bytes.length >= this.partBytesMin);
          if (!isWhole || !isLong || parts.length === 0) throw new Error('A part is missing or too short');
          objects.set(key, Buffer.concat(parts.map(([, bytes]) => bytes)));
          uploads.delete(id);
        }),
      abort: () => this.#ask('abort', key, () => void uploads.delete(id)),
    };
  }

  get(key: string, from = 0, length = Number.POSITIVE_INFINITY): Promise<Buffer | null> {
    return this.#ask('get', key, () => {
      const bytes = this.#service.objects.get(key);
      if (bytes === undefined || (from > 0 && from >= bytes.length)) return null;
      return Buffer.from(bytes.subarray(from, Math.min(bytes.length, from + length)));
    });
  }

  list(under: string, after = ''): Promise<readonly StoredObject[]> {
    return this.#ask('list', under, () => {
      const keys = this.#service.keys().filter((key) => key.startsWith(under) && key > after);
      // Small pages, so that whoever lists has to go on.
      return keys.slice(0, 3).map((key) => ({ key, size: this.#service.objects.get(key)?.length ?? 0 }));
    });
  }

  delete(key: string): Promise<void> {
    return this.#ask('delete', key, () => void this.#service.objects.delete(key));
  }

  abortUploads(under: string): Promise<number> {
    return this.#ask('abort-uploads', under, () => {
      const found = [...this.#service.uploads].filter(([, { key }]) => key.startsWith(under));
      for (const [id] of found) this.#service.uploads.delete(id);
      return found.length;
    });
  }

  reset(): void {
    // There are no connections.
  }

  close(): void {
    this.#isClosed = true;
  }

  /** The process of this client is gone: no request of it reaches the service any more, and none is answered. */
  die(): void {
    this.#isDead = true;
  }

  async #ask<T>(request: ObjectRequest, key: string, work: () => T): Promise<T> {
    await new Promise(setImmediate);
    if (!this.#isDead) await this.#service.before(request, key);
    if (this.#isDead) await new Promise<never>(() => undefined);
    this.#service.requests.push(`${request} ${key}`);
    if (this.#isClosed) throw away('the client is closed');
    if (this.#service.isAway) throw away('it is away');
    const fate = this.#service.fate(request, key);
    if (fate === 'refused') throw away('it refuses');
    const answer = work();
    if (fate === 'lost') throw away('no answer');
    return answer;
  }
}

function away(reason: string): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `The object storage fails: ${reason}`);
}

function checkSum(bytes: Buffer, crc: number): void {
  if (crc32c(bytes) !== crc) throw away('the checksum is wrong');
}
