/**
 * What was written or read last, within a bound of bytes; the one that was not used for the longest time goes first. Pure.
 * Thread: the one that holds the store; owned by the engine beside this file.
 */
import type { ObjectHeader } from './object-format.ts';

/** What an entry takes beside its bytes, about. */
const entryOverhead = 200;
const blockOverhead = 64;

export class BlockCache {
  readonly #bytesMax: number;
  #bytes = 0;
  /** Oldest use first. */
  readonly #entries = new Map<string, { readonly value: Buffer | ObjectHeader; readonly bytes: number }>();

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  header(key: string): ObjectHeader | null {
    const value = this.#use(key);
    return value === null || Buffer.isBuffer(value) ? null : value;
  }

  block(key: string, index: number): Buffer | null {
    const value = this.#use(`${key}@${index}`);
    return Buffer.isBuffer(value) ? value : null;
  }

  addHeader(key: string, header: ObjectHeader): void {
    this.#add(key, header, header.blocks.length * blockOverhead);
  }

  addBlock(key: string, index: number, bytes: Buffer): void {
    this.#add(`${key}@${index}`, bytes, bytes.length);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #use(key: string): Buffer | ObjectHeader | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  #add(key: string, value: Buffer | ObjectHeader, size: number): void {
    const bytes = size + entryOverhead;
    if (bytes > this.#bytesMax) return;
    this.#drop(key);
    this.#entries.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#bytesMax) return;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}
