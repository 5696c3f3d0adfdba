/**
 * What was written or read last, within a bound of bytes; the one that was not used for the longest time goes first. Pure.
 * Thread: the one that holds the store; owned by the engine beside this file.
 */
import { BoundedCache } from '../../std/bounded-cache.ts';
import type { ObjectHeader } from './object-format.ts';

/** What an entry takes beside its bytes, about. */
const entryOverhead = 200;
const blockOverhead = 64;

export class BlockCache {
  readonly #cache: BoundedCache<Buffer | ObjectHeader>;

  constructor(bytesMax: number) {
    this.#cache = new BoundedCache(bytesMax);
  }

  get bytes(): number {
    return this.#cache.bytes;
  }

  header(key: string): ObjectHeader | null {
    const value = this.#cache.get(key);
    return value === undefined || Buffer.isBuffer(value) ? null : value;
  }

  block(key: string, index: number): Buffer | null {
    const value = this.#cache.get(`${key}@${index}`);
    return Buffer.isBuffer(value) ? value : null;
  }

  addHeader(key: string, header: ObjectHeader): void {
    this.#cache.set(key, header, entryOverhead + header.blocks.length * blockOverhead);
  }

  addBlock(key: string, index: number, bytes: Buffer): void {
    this.#cache.set(`${key}@${index}`, bytes, entryOverhead + bytes.length);
  }

  clear(): void {
    this.#cache.clear();
  }
}
