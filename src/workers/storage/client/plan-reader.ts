/**
 * Reads batches from files by a plan of the storage host, on the thread that wants them: Node's file threads wait for the disk, the
 * page cache is read without the host, and every batch is checked here. Owned by the storage client of a thread.
 *
 * While somebody appends, what is not in the page cache is read at the node's pace of cold reads, in small pieces and past the page cache,
 * so that the syncs of the producers need not wait behind it. Otherwise everything is read as the kernel likes it best.
 */
import { close, open, read } from 'node:fs';
import {
  baseOffsetAt,
  batchHeaderBytes,
  batchSizeAt,
  hasSoundCrc,
  lastOffsetDeltaAt,
  leaderEpochAt,
} from '../../../core/batch/batch-format.ts';
import type { FilePlan } from '../../../core/ports/read-plan.ts';
import type { ReadAnswer, ReadRequest } from '../../../core/ports/stream-store.ts';
import type { ColdGate } from './cold-gate.ts';
import { DirectFile, sizeOf } from './direct-file.ts';
import { PageProbe } from './page-probe.ts';

/** Read at once: less costs as much, and more takes the thread's time for the check sums. */
const readBytesMin = 32 * 1024;
const readBytesMax = 2 * 1024 * 1024;
/** Of a cold read beside producers: a sync waits for one of them, 0.2 ms on a quick disk. */
const coldBytesMax = 256 * 1024;
/** What lies behind a cold page is taken for cold without looking. */
const coldStrideBytes = 1024 * 1024;
/** Behind a cold read that went through the page cache: the kernel has read ahead, and would go on if it were followed. */
const coldReadAheadBytes = 16 * 1024 * 1024;
const openFilesMax = 32;
/** Files that were not used for this long are closed, ms. */
const idleMs = 5_000;

interface OpenFile {
  readonly descriptor: Promise<number>;
  /** Past the page cache; null where that does not go. */
  direct: Promise<DirectFile | null> | null;
  isDirectUseless: boolean;
  readers: number;
  usedMs: number;
  /** Bytes from `coldFrom` to `coldEnd` are not in the page cache, as far as is known. */
  coldFrom: number;
  coldEnd: number;
  /** To be closed when nobody reads. */
  isDropped: boolean;
}

/** Reads `length` bytes, or only as many as the pace lets it; at least `least`, though. Less at the end of the file. Null: closed. */
type PieceReader = (position: number, length: number, least: number) => Promise<Piece | null>;

interface Piece {
  readonly bytes: Buffer;
  readonly wanted: number;
}

export class PlanReader {
  /** Least recently used first. */
  readonly #files = new Map<string, OpenFile>();
  readonly #gate: ColdGate | null;
  readonly #probe = new PageProbe();
  #timer: NodeJS.Timeout | null = null;

  /** Without a gate nothing has a pace. */
  constructor(gate: ColdGate | null = null) {
    this.#gate = gate;
  }

  /** Null when the file is not what the plan says, or this was closed: the host must be asked why. */
  async read(plan: FilePlan, request: ReadRequest): Promise<ReadAnswer | null> {
    const file = this.#open(plan);
    file.readers += 1;
    try {
      const descriptor = await file.descriptor;
      return await collect(this.#pieceReader(file, descriptor, plan), plan, request);
    } catch {
      // It cannot be opened or read; the host's own try will say what is the matter.
      this.#drop(plan);
      return null;
    } finally {
      file.readers -= 1;
      if (file.isDropped) closeFile(file);
    }
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (const file of this.#files.values()) dropFile(file);
    this.#files.clear();
    this.#gate?.close();
    this.#probe.close();
  }

  #pieceReader(file: OpenFile, descriptor: number, plan: FilePlan): PieceReader {
    const gate = this.#gate;
    return async (position, length, least) => {
      if (gate === null || !gate.isInForce)
        return { bytes: await readAt(descriptor, length, position), wanted: length };
      if (await this.#isCached(gate, file, descriptor, position)) {
        const bytes = await this.#readCached(gate, file, descriptor, length, position);
        return { bytes, wanted: length };
      }
      const wanted = Math.min(length, Math.max(coldBytesMax, least));
      const bytes = await gate.pass(wanted, () => readCold(file, descriptor, plan, wanted, position));
      return bytes === null ? null : { bytes, wanted };
    };
  }

  async #isCached(gate: ColdGate, file: OpenFile, descriptor: number, position: number): Promise<boolean> {
    if (file.coldFrom <= position && position < file.coldEnd) return false;
    const isCached = await this.#probe.isCached(descriptor, position, () => gate.quietMark());
    // Unknown counts as cold, but only this once.
    if (isCached === false) noteCold(file, position, coldStrideBytes);
    return isCached === true;
  }

  /** The first page is in the page cache; the others may not be. */
  async #readCached(gate: ColdGate, file: OpenFile, descriptor: number, length: number, at: number): Promise<Buffer> {
    const mark = gate.quietMark();
    const before = this.#probe.diskBytes() ?? 0;
    const bytes = await readAt(descriptor, length, at);
    const read = (this.#probe.diskBytes() ?? 0) - before;
    if (read * 2 >= length && mark !== null && mark === gate.quietMark()) noteCold(file, at, coldReadAheadBytes);
    return bytes;
  }

  #open(plan: FilePlan): OpenFile {
    const key = keyOf(plan);
    let file = this.#files.get(key);
    file ??= {
      ...{ descriptor: openFile(plan.path), direct: null, isDirectUseless: false },
      ...{ readers: 0, usedMs: 0, coldFrom: 0, coldEnd: 0, isDropped: false },
    };
    file.usedMs = performance.now();
    this.#files.delete(key);
    this.#files.set(key, file);
    if (this.#files.size > openFilesMax) this.#dropOldest();
    this.#timer ??= setTimeout(() => this.#dropIdle(), idleMs).unref();
    return file;
  }

  #drop(plan: FilePlan): void {
    const file = this.#files.get(keyOf(plan));
    if (file === undefined) return;
    this.#files.delete(keyOf(plan));
    dropFile(file);
  }

  #dropOldest(): void {
    for (const [key, file] of this.#files) {
      this.#files.delete(key);
      dropFile(file);
      return;
    }
  }

  #dropIdle(): void {
    this.#timer = null;
    const limitMs = performance.now() - idleMs;
    for (const [key, file] of this.#files) {
      if (file.usedMs > limitMs) continue;
      this.#files.delete(key);
      dropFile(file);
    }
    if (this.#files.size > 0) this.#timer = setTimeout(() => this.#dropIdle(), idleMs).unref();
  }
}

function keyOf({ path, identity }: FilePlan): string {
  return `${identity} ${path}`;
}

function openFile(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, 'r', (error, descriptor) => (error === null ? resolve(descriptor) : reject(error)));
  });
}

function dropFile(file: OpenFile): void {
  file.isDropped = true;
  closeFile(file);
}

function closeFile(file: OpenFile): void {
  if (file.readers > 0) return;
  // What was never opened need not be closed; what was only read cannot fail to be.
  file.descriptor.then(
    (descriptor) => close(descriptor, () => undefined),
    () => undefined,
  );
  void file.direct?.then((direct) => direct?.close());
}

function noteCold(file: OpenFile, position: number, bytes: number): void {
  file.coldFrom = position;
  file.coldEnd = position + bytes;
}

/** Past the page cache, unless the system cannot, or the file is still written to: a writer would have to wait for the read. */
async function readCold(
  file: OpenFile,
  descriptor: number,
  plan: FilePlan,
  length: number,
  position: number,
): Promise<Buffer> {
  if (file.direct === null && (await sizeOf(descriptor)) === plan.end) file.direct ??= DirectFile.of(descriptor);
  const direct = await file.direct;
  if (direct === null || file.isDirectUseless) return readAt(descriptor, length, position);
  try {
    return await direct.read(length, position);
  } catch {
    // Another alignment, or a disk's error, which the plain read will meet as well.
    file.isDirectUseless = true;
    return readAt(descriptor, length, position);
  }
}

function readAt(descriptor: number, length: number, position: number): Promise<Buffer> {
  const target = Buffer.allocUnsafeSlow(length);
  return new Promise((resolve, reject) => {
    read(descriptor, target, 0, length, position, (error, count) =>
      error === null ? resolve(target.subarray(0, count)) : reject(error),
    );
  });
}

async function collect(read: PieceReader, plan: FilePlan, request: ReadRequest): Promise<ReadAnswer | null> {
  const walk = new PlanWalk(plan, request);
  const wanted = Math.min(readBytesMax, Math.max(readBytesMin, request.bytesMax));
  let least = 0;
  while (!walk.isDone) {
    const length = Math.min(plan.end - walk.position, Math.max(wanted, least));
    if (length <= 0) break;
    const piece = await read(walk.position, length, least);
    if (piece === null) return null;
    const { bytes, wanted: asked } = piece;
    least = walk.take(bytes);
    // The file is shorter than the plan says.
    if (bytes.length < asked && least > bytes.length) return null;
  }
  return walk.answer();
}

/** Goes from batch to batch. */
class PlanWalk {
  position: number;
  isDone = false;
  readonly #plan: FilePlan;
  readonly #request: ReadRequest;
  readonly #slices: Buffer[] = [];
  #bytes = 0;
  #offset: number;
  #nextOffset: number;
  #isFaulty = false;

  constructor(plan: FilePlan, request: ReadRequest) {
    this.#plan = plan;
    this.#request = request;
    this.position = plan.position;
    this.#offset = plan.offset;
    this.#nextOffset = request.offset;
  }

  /** Takes whole batches; answers how long the next piece must be at least, 0 when any will do. */
  take(bytes: Buffer): number {
    const { limit, end, batchBytesMax } = this.#plan;
    const { offset: from, bytesMax } = this.#request;
    let at = 0;
    let start = -1;
    let least = 0;
    while (!this.isDone && at + batchHeaderBytes <= bytes.length) {
      const size = batchSizeAt(bytes, at);
      const next = this.#offset + lastOffsetDeltaAt(bytes, at) + 1;
      const fits = size > 0 && size <= batchBytesMax && this.position + at + size <= end;
      if (!fits || baseOffsetAt(bytes, at) !== this.#offset || next <= this.#offset) {
        this.#stop(true);
        break;
      }
      if (next > from) {
        if (this.#bytes > 0 && this.#bytes + size > bytesMax) {
          this.#stop(false);
          break;
        }
        if (at + size > bytes.length) {
          least = size;
          break;
        }
        if (!this.#isSound(bytes, at, size)) {
          this.#stop(true);
          break;
        }
        // Checked before its range is believed: a wrong one must not look like the end of what is committed.
        if (next > limit) {
          this.#stop(false);
          break;
        }
        if (start < 0) start = at;
        this.#bytes += size;
        this.#nextOffset = next;
      }
      this.#offset = next;
      at += size;
    }
    if (start >= 0) this.#slices.push(bytes.subarray(start, Math.min(at, bytes.length)));
    const isLast = this.position + bytes.length >= end;
    this.position += at;
    // Whatever was found is enough: a reader asks again.
    if (this.#bytes > 0 || this.position >= end) this.isDone = true;
    if (this.isDone || at > 0 || least > 0) return least;
    // Not even a header, and nothing behind it.
    if (isLast) this.#stop(true);
    return readBytesMin;
  }

  /** Null when what was asked for was not found. */
  answer(): ReadAnswer | null {
    if (this.#bytes === 0 && (this.#isFaulty || this.#offset < this.#plan.limit)) return null;
    const { logStartOffset, highWatermark, lastStableOffset, aborted } = this.#plan;
    const nextOffset = this.#nextOffset;
    return {
      slices: this.#slices,
      bytes: this.#bytes,
      nextOffset,
      logStartOffset,
      highWatermark,
      lastStableOffset,
      aborted: aborted.filter(({ firstOffset }) => firstOffset < nextOffset),
    };
  }

  #stop(isFaulty: boolean): void {
    this.isDone = true;
    this.#isFaulty = isFaulty;
  }

  #isSound(bytes: Buffer, at: number, size: number): boolean {
    const { epochs } = this.#plan;
    let epoch = -1;
    for (const { startOffset, epoch: begun } of epochs) if (startOffset <= this.#offset) epoch = begun;
    return (epoch === -1 || leaderEpochAt(bytes, at) === epoch) && hasSoundCrc(bytes, at, size);
  }
}
