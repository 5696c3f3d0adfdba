/**
 * Reads blocks of objects of one partition, through the cache. Thread: the one that holds the store; owned by the partition's log
 * beside this file.
 */
import { baseOffsetAt, batchHeaderBytes, batchSizeAt } from '../../core/batch/batch-format.ts';
import { crc32c } from '../../core/batch/crc32c.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import type { Logger } from '../../observability/log.ts';
import type { BlockCache } from './block-cache.ts';
import { findPiece, type Piece } from './chain.ts';
import {
  type Block,
  decodeHeader,
  headerBytesExpected,
  headerBytesOf,
  type ObjectHeader,
  type Part,
} from './object-format.ts';
import type { ObjectStore } from './object-store.ts';

export const requestsAtOnce = 16;
const mergeRequestsAtOnce = 4;

interface Wanted {
  readonly piece: Piece;
  readonly key: string;
  readonly header: ObjectHeader;
  /** Blocks [from, to). */
  readonly from: number;
  readonly to: number;
}

export interface ReaderHost {
  readonly objects: ObjectStore;
  readonly cache: BlockCache;
  readonly log: Logger;
}

export class ObjectReader {
  readonly #host: ReaderHost;
  /** Name of the partition, for the log. */
  readonly #name: string;

  constructor(host: ReaderHost, name: string) {
    this.#host = host;
    this.#name = name;
  }

  /** From the batch with `offset` on, as far as it goes without a gap; null when there is nothing. */
  async read(pieces: readonly Piece[], offset: number, bytesMax: number): Promise<readonly Buffer[] | null> {
    const wanted: Wanted[] = [];
    let left = bytesMax;
    for (let at = findPiece(pieces, offset); at < pieces.length; at += 1) {
      if (wanted.length > 0 && (left <= 0 || wanted.length >= requestsAtOnce)) break;
      const piece = pieces[at];
      const some = await this.#wantedOf(piece, Math.max(offset, piece.baseOffset), left);
      if (some === null) {
        if (wanted.length === 0) return null;
        break;
      }
      wanted.push(some);
      left -= bytesOf(some);
      // Of this piece there is more.
      if (some.to < some.header.blocks.length) break;
    }
    if (wanted.length === 0) return null;
    const found = await Promise.all(wanted.map((each) => this.#fetch(each)));
    const missing = found.indexOf(null);
    if (missing === 0) return null;
    const blocks = missing < 0 ? found : found.slice(0, missing);
    return blocks.flatMap((each, index) =>
      each === null ? [] : index === 0 ? each : cutFront(each, wanted[index].piece),
    );
  }

  /**
   * All of neighbours, to be stored as one. A piece that is damaged, or missing, when there is one: it has to stay as it is, so that
   * whoever reads it is told.
   */
  async collect(
    pieces: readonly Piece[],
  ): Promise<{ readonly baseOffset: number; readonly parts: readonly Part[] } | { readonly damaged: Piece }> {
    const parts: Part[] = [];
    let baseOffset = 0;
    for (let at = 0; at < pieces.length; at += mergeRequestsAtOnce) {
      const step = pieces.slice(at, at + mergeRequestsAtOnce);
      const found = await Promise.all(step.map((piece) => this.#all(piece)));
      for (const [index, content] of found.entries()) {
        if (content === null) return { damaged: step[index] };
        const { wanted, blocks } = content;
        if (parts.length === 0) baseOffset = baseOf(wanted);
        const cut = parts.length === 0 ? blocks : cutFront(blocks, step[index]);
        for (const [block, bytes] of cut.entries()) {
          parts.push({ endOffset: wanted.header.blocks[wanted.from + block].endOffset, bytes });
        }
      }
    }
    return { baseOffset, parts };
  }

  /** Null when something of it is damaged or missing. What is read for a merge is not kept: others read something else. */
  async #all(piece: Piece): Promise<{ readonly wanted: Wanted; readonly blocks: readonly Buffer[] } | null> {
    const wanted = await this.#wantedOf(piece, piece.baseOffset, Number.POSITIVE_INFINITY);
    const blocks = wanted === null ? null : await this.#fetch(wanted, false);
    return wanted === null || blocks === null || !areSound(wanted, blocks) ? null : { wanted, blocks };
  }

  /** Null when there is no such object. @throws StorageError STORAGE_CORRUPTED when its header is damaged, and as `get` */
  async header(key: string): Promise<ObjectHeader | null> {
    const { cache, objects } = this.#host;
    const known = cache.header(key);
    if (known !== null) return known;
    const start = await objects.get(key, 0, headerBytesExpected);
    if (start === null) return null;
    const needed = headerBytesOf(start.bytes);
    const all = needed > start.bytes.length ? await objects.get(key, 0, needed) : start;
    if (all === null) return null;
    const header = decodeHeader(all.bytes);
    if (header === null) {
      const details = { file: key, position: 0 };
      throw new StorageError('STORAGE_CORRUPTED', `Cannot read "${key}": its header is damaged`, details);
    }
    cache.addHeader(key, header);
    return header;
  }

  /** Null also when the header is damaged: then the object counts as missing. */
  async soundHeader(key: string): Promise<ObjectHeader | null> {
    try {
      return await this.header(key);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_CORRUPTED') throw error;
      this.#host.log.error('an object is damaged', { partition: this.#name, key });
      return null;
    }
  }

  /** Keeps what was just stored. */
  remember(key: string, header: ObjectHeader, body: Buffer): void {
    const { cache } = this.#host;
    cache.addHeader(key, header);
    for (const [index, { at, size }] of header.blocks.entries())
      cache.addBlock(key, index, body.subarray(at, at + size));
  }

  /** The blocks of a piece from the one with `offset` on; null when the object is not there. */
  async #wantedOf(piece: Piece, offset: number, bytesMax: number): Promise<Wanted | null> {
    if (piece.key === null) return null;
    const header = await this.soundHeader(piece.key);
    if (header === null) return null;
    const from = header.blocks.findIndex((block) => block.endOffset > offset);
    if (from < 0) return null;
    let to = from + 1;
    for (let bytes = header.blocks[from].size; to < header.blocks.length; to += 1) {
      bytes += header.blocks[to].size;
      if (bytes > bytesMax) break;
    }
    return { piece, key: piece.key, header, from, to };
  }

  /** The bytes of blocks; those that are damaged as they are: whoever checks the batches finds out. */
  async #fetch(wanted: Wanted, isKept = true): Promise<Buffer[] | null> {
    const { key, header, from, to } = wanted;
    const { cache, objects } = this.#host;
    const cached: Buffer[] = [];
    for (let index = from; index < to; index += 1) {
      const block = cache.block(key, index);
      if (block === null) break;
      cached.push(block);
    }
    if (cached.length === to - from) return cached;
    const start = header.blocks[from].at;
    const bytes = bytesOf(wanted);
    const found = await objects.get(key, start, bytes);
    if (found === null || found.bytes.length !== bytes) return null;
    const blocks = header.blocks.slice(from, to).map((block) => {
      // A copy, so that a block that stays in the cache does not hold the others.
      return Buffer.from(found.bytes.subarray(block.at - start, block.at - start + block.size));
    });
    for (const [index, block] of blocks.entries()) {
      if (isKept && isSound(header.blocks[from + index], block)) cache.addBlock(key, from + index, block);
    }
    return blocks;
  }
}

/** Where the first block that is used begins: behind the one before it in the object. */
function baseOf({ header, from }: Wanted): number {
  return from === 0 ? header.baseOffset : header.blocks[from - 1].endOffset;
}

/** Without the batches in front of the place from which the piece is used: the piece before it has them. */
function cutFront(blocks: readonly Buffer[], { baseOffset }: Piece): readonly Buffer[] {
  const [first, ...others] = blocks;
  let at = 0;
  while (at + batchHeaderBytes <= first.length && baseOffsetAt(first, at) < baseOffset) {
    const size = batchSizeAt(first, at);
    if (size === 0) break;
    at += size;
  }
  return at === 0 ? blocks : [first.subarray(at), ...others];
}

function bytesOf({ header, from, to }: Wanted): number {
  const last = header.blocks[to - 1];
  return last.at + last.size - header.blocks[from].at;
}

function isSound(block: Block, bytes: Buffer): boolean {
  return crc32c(bytes) === block.crc;
}

function areSound({ header, from }: Wanted, blocks: readonly Buffer[]): boolean {
  return blocks.every((bytes, index) => isSound(header.blocks[from + index], bytes));
}
