/**
 * The file that a backup is kept in. Written by `ringmq ctl snapshot save`, read by the restore and by checks. Synchronous
 * and streaming: memory is bounded by one chunk. Main thread of a command.
 *
 * Layout, numbers are 32 bits, little endian:
 *   magic (16 bytes) · length, header (JSON) · for each chunk: length > 0, CRC32, bytes · 0 · length, end (JSON)
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';

const magic = Buffer.from('RINGMQ-BACKUP-1\n');
/** More than any writer makes; a damaged length must not become an allocation. */
const chunkBytesMax = 16 * 1024 * 1024;

export interface BackupFileHeader {
  readonly clusterId: string;
  /** Position of the state in the log. */
  readonly index: number;
  readonly term: number;
  readonly revision: number;
}

interface BackupFileEnd {
  readonly chunkCount: number;
  readonly byteCount: number;
  /** Of all chunks, hexadecimal. */
  readonly sha256: string;
}

/** What is wrong with a backup file. */
export class BackupFileError extends Error {
  override readonly name = 'BackupFileError';
}

/** Writes beside the final name; the file has that name only once it is whole and durable. */
export class BackupFileWriter {
  private readonly path: string;
  private readonly file: number;
  private readonly digest = createHash('sha256');
  private chunkCount = 0;
  private byteCount = 0;

  /** Readable by its owner alone: it holds everything, also credentials. Throws the system's error. */
  constructor(path: string, { clusterId, index, term, revision }: BackupFileHeader) {
    this.path = path;
    this.file = openSync(`${path}.partial`, 'w', 0o600);
    this.write(magic);
    this.writeJson({ clusterId, index, term, revision });
  }

  chunk(bytes: Uint8Array): void {
    this.digest.update(bytes);
    this.chunkCount++;
    this.byteCount += bytes.length;
    const head = Buffer.alloc(8);
    head.writeUInt32LE(bytes.length, 0);
    head.writeUInt32LE(crc32(bytes), 4);
    this.write(head);
    this.write(bytes);
  }

  /** Durable under its name when it returns. */
  finish(): void {
    this.write(Buffer.alloc(4));
    const { chunkCount, byteCount } = this;
    this.writeJson({ chunkCount, byteCount, sha256: this.digest.digest('hex') });
    fsyncSync(this.file);
    closeSync(this.file);
    renameSync(`${this.path}.partial`, this.path);
    const folder = openSync(dirname(this.path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  }

  /** Leaves nothing behind. */
  abort(): void {
    closeSync(this.file);
    rmSync(`${this.path}.partial`, { force: true });
  }

  private writeJson(value: unknown): void {
    const text = Buffer.from(JSON.stringify(value));
    const head = Buffer.alloc(4);
    head.writeUInt32LE(text.length);
    this.write(head);
    this.write(text);
  }

  private write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) done += writeSync(this.file, bytes, done);
  }
}

export type BackupFilePart =
  | { readonly type: 'header'; readonly header: BackupFileHeader }
  | { readonly type: 'chunk'; readonly chunk: Uint8Array }
  | { readonly type: 'end'; readonly end: BackupFileEnd };

/**
 * Header, chunks, end, in this order; the end comes only when all of them are what was written. Throws `BackupFileError`,
 * or the system's error.
 */
export function* readBackupFile(path: string): Generator<BackupFilePart, void> {
  const file = openSync(path, 'r');
  try {
    const read = (length: number): Buffer => readExactly(file, length, path);
    if (!read(magic.length).equals(magic)) throw new BackupFileError(`Cannot read "${path}": it is no backup`);
    yield { type: 'header', header: readJson(read, path) };
    const digest = createHash('sha256');
    let chunkCount = 0;
    for (let length = read(4).readUInt32LE(); length > 0; length = read(4).readUInt32LE()) {
      checkLength(length, path);
      const checksum = read(4).readUInt32LE();
      const chunk = read(length);
      if (crc32(chunk) !== checksum) throw damaged(path, `chunk ${chunkCount} does not match its checksum`);
      digest.update(chunk);
      chunkCount++;
      yield { type: 'chunk', chunk };
    }
    const end: BackupFileEnd = readJson(read, path);
    if (end.chunkCount !== chunkCount || end.sha256 !== digest.digest('hex')) {
      throw damaged(path, 'its digest does not match');
    }
    yield { type: 'end', end };
  } finally {
    closeSync(file);
  }
}

function readJson<T>(read: (length: number) => Buffer, path: string): T {
  const length = read(4).readUInt32LE();
  checkLength(length, path);
  try {
    return JSON.parse(read(length).toString()) as T;
  } catch (error) {
    if (error instanceof SyntaxError) throw damaged(path, 'its header or end does not parse');
    throw error;
  }
}

function readExactly(file: number, length: number, path: string): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const count = readSync(file, buffer, done, length - done, null);
    if (count === 0) throw damaged(path, 'it is cut off');
    done += count;
  }
  return buffer;
}

function checkLength(length: number, path: string): void {
  if (length > chunkBytesMax) throw damaged(path, `a length of ${length} bytes cannot be`);
}

function damaged(path: string, problem: string): BackupFileError {
  return new BackupFileError(`Cannot use backup "${path}": ${problem}`);
}
