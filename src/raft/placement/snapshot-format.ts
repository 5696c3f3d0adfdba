/**
 * The stream that carries the whole state: to a follower that is too far behind, and into backup files. Pure; the Raft
 * worker makes and installs it, tools read it.
 *
 * ```
 * stream = chunk*
 * chunk  = length(4) crc32(4) type(1) payload       (length and checksum of type and payload, little-endian)
 * type 1 = "RINGMQ" format(1) root                  the first chunk: where the state stands (`root-record.ts`)
 * type 2 = bytes                                    rows, cut anywhere
 * type 3 = rows sha256(32)                          the last chunk: count of rows, digest of all payloads before
 * row    = length key length value                  (key: table(1) and key)
 * ```
 */
import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Bytes } from '../ports.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { MalformedError, SnapshotError } from './errors.ts';
import { snapshotChunkBytes } from './limits.ts';
import { decodeRoot, encodeRoot, type Root } from './root-record.ts';

const MAGIC = Buffer.from('RINGMQ');
const FORMAT = 1;
const HEAD_BYTES = 8;
const TYPE_BYTES = 1;
const DIGEST_BYTES = 32;
const chunkTypes = { header: 1, rows: 2, end: 3 } as const;
/** Payload of a full chunk. */
export const payloadBytesMax = snapshotChunkBytes - HEAD_BYTES - TYPE_BYTES;
const KEY_BYTES_MAX = 1_978;
/** No row is larger: a revision is bounded by what one transaction may set and delete. */
const VALUE_BYTES_MAX = 64 * 1024 * 1024;

/** Makes the chunks of a stream. */
export class SnapshotWriter {
  private readonly digest: Hash = createHash('sha256');
  private readonly scratch = new ByteWriter(snapshotChunkBytes * 2);
  private rows = 0;

  header(root: Root): Buffer {
    this.scratch.raw(MAGIC);
    this.scratch.byte(FORMAT);
    this.scratch.raw(encodeRoot(root));
    return this.chunk(chunkTypes.header, this.scratch.finish());
  }

  /** Takes a row, for the chunks that come from `take`. */
  add(key: Bytes, value: Bytes): void {
    this.scratch.bytes(key);
    this.scratch.bytes(value);
    this.rows++;
  }

  /** Bytes that were added and not taken. */
  get rowBytes(): number {
    return this.scratch.length;
  }

  get hasRows(): boolean {
    return this.scratch.length > 0;
  }

  /** There is enough for a chunk of the full size. */
  get isFull(): boolean {
    return this.scratch.length >= payloadBytesMax;
  }

  /** The next chunk of what was added. */
  take(): Buffer {
    return this.chunk(chunkTypes.rows, this.scratch.take(Math.min(this.scratch.length, payloadBytesMax)));
  }

  end(): Buffer {
    this.scratch.varint(this.rows);
    this.scratch.raw(this.digest.digest());
    return chunkOf(chunkTypes.end, this.scratch.finish());
  }

  private chunk(type: number, payload: Bytes): Buffer {
    this.digest.update(payload);
    return chunkOf(type, payload);
  }
}

function chunkOf(type: number, payload: Bytes): Buffer {
  const chunk = Buffer.allocUnsafeSlow(HEAD_BYTES + TYPE_BYTES + payload.length);
  chunk[HEAD_BYTES] = type;
  chunk.set(payload, HEAD_BYTES + TYPE_BYTES);
  chunk.writeUInt32LE(chunk.length - HEAD_BYTES, 0);
  chunk.writeUInt32LE(crc32(chunk.subarray(HEAD_BYTES)), 4);
  return chunk;
}

/** Takes the chunks of a stream in order and checks all there is to check. Every method throws `SnapshotError`. */
export class SnapshotParser {
  private readonly digest: Hash = createHash('sha256');
  private readonly onRow: (key: Bytes, value: Bytes) => void;
  private rest: Buffer = Buffer.alloc(0);
  private header: Root | null = null;
  private isEnded = false;
  rows = 0;

  /** `onRow` gets views of the chunk. */
  constructor(onRow: (key: Bytes, value: Bytes) => void) {
    this.onRow = onRow;
  }

  /** Where the state stands; null before the first chunk. */
  get root(): Root | null {
    return this.header;
  }

  /** Everything came and the digest is right. */
  get isComplete(): boolean {
    return this.isEnded;
  }

  push(bytes: Bytes): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.isEnded) throw new SnapshotError('A chunk follows after the end of the snapshot');
    if (chunk.length <= HEAD_BYTES || chunk.readUInt32LE(0) !== chunk.length - HEAD_BYTES) {
      throw new SnapshotError('A chunk of the snapshot has the wrong length');
    }
    if (crc32(chunk.subarray(HEAD_BYTES)) !== chunk.readUInt32LE(4)) {
      throw new SnapshotError('A chunk of the snapshot does not match its checksum');
    }
    const type = chunk[HEAD_BYTES];
    const payload = chunk.subarray(HEAD_BYTES + TYPE_BYTES);
    if (this.header === null) {
      if (type !== chunkTypes.header) throw new SnapshotError('The snapshot does not begin with its header');
      this.header = readHeader(payload);
      this.digest.update(payload);
    } else if (type === chunkTypes.rows) {
      this.digest.update(payload);
      this.takeRows(payload);
    } else if (type === chunkTypes.end) {
      this.takeEnd(payload);
    } else {
      throw new SnapshotError(`The snapshot has a chunk of the unknown type ${type}`);
    }
  }

  private takeRows(payload: Buffer): void {
    const bytes = this.rest.length === 0 ? payload : Buffer.concat([this.rest, payload]);
    let position = 0;
    while (true) {
      const next = this.takeRow(bytes, position);
      if (next === -1) break;
      position = next;
    }
    this.rest = bytes.subarray(position);
  }

  /** Where the row at `position` ends, or -1 when a part of it is to come. */
  private takeRow(bytes: Buffer, position: number): number {
    const key = lengthAt(bytes, position, KEY_BYTES_MAX);
    if (key === null || key.end >= bytes.length) return -1;
    const value = lengthAt(bytes, key.end, VALUE_BYTES_MAX);
    if (value === null || value.end > bytes.length) return -1;
    this.onRow(bytes.subarray(key.start, key.end), bytes.subarray(value.start, value.end));
    this.rows++;
    return value.end;
  }

  private takeEnd(payload: Buffer): void {
    const reader = new ByteReader(payload);
    const rows = reader.varint();
    const digest = reader.raw(DIGEST_BYTES);
    if (this.rest.length > 0 || rows !== this.rows) throw new SnapshotError('The snapshot is not complete');
    if (Buffer.compare(this.digest.digest(), digest) !== 0) {
      throw new SnapshotError('The snapshot does not match its digest');
    }
    this.isEnded = true;
  }
}

/** The span of a byte string with its length before it; null when not even the length is there. */
function lengthAt(bytes: Buffer, position: number, lengthMax: number): { start: number; end: number } | null {
  let length = 0;
  for (let factor = 1, start = position; start < bytes.length; factor *= 128) {
    const byte = bytes[start++];
    length += (byte & 127) * factor;
    if (length > lengthMax || factor > lengthMax) throw new SnapshotError('A row of the snapshot is too large');
    if (byte < 128) return { start, end: start + length };
  }
  return null;
}

function readHeader(payload: Buffer): Root {
  const start = MAGIC.length + 1;
  if (payload.length <= start || Buffer.compare(payload.subarray(0, MAGIC.length), MAGIC) !== 0) {
    throw new SnapshotError('This is not a snapshot');
  }
  if (payload[MAGIC.length] !== FORMAT) {
    throw new SnapshotError(`The snapshot has the format ${payload[MAGIC.length]}, which this program cannot read`);
  }
  try {
    return decodeRoot(payload.subarray(start));
  } catch (error) {
    if (error instanceof MalformedError) throw new SnapshotError('The header of the snapshot is broken');
    throw error;
  }
}
