/**
 * The records of the message logs: one for each message that a durable session wants. Any thread; written by `MessageLog`, read by
 * whoever delivers.
 *
 *   key       the topic; none: a record without a message (a fence)
 *   value     the body
 *   header s  flags (1 byte: grade in bits 0-1, 4 expires, 8 publisher, 16 receipt), then zigzag varints as the flags say:
 *             expiry (milliseconds since 1970); length of the publisher's name, name (UTF-8); owner slot, packet id, serial
 *   header p  what only the publisher's protocol understands, as it gave it
 *
 * The time of the record is that of the append.
 */
import { VarintReader, varintSize, writeVarint } from '../batch/varint.ts';

const noBytes = Buffer.alloc(0);

/** At least once, exactly once. What is delivered at most once is not kept. */
export type Grade = 1 | 2;

/** All of a message but its body. */
export interface MessageHead {
  readonly topicBytes: Buffer;
  /** Opaque; comes back as it is. */
  readonly header: Buffer;
  readonly grade: Grade;
  /** Milliseconds since 1970; 0: never. */
  readonly expiresAtMs: number;
  /** Name of the publisher's session, for "no local"; empty: not known. */
  readonly publisher: string;
}

export interface NewMessage extends MessageHead {
  readonly body: Buffer;
}

/** Messages of one publisher that differ in their bodies alone. One object is used again and again: whoever is given it keeps nothing of it. */
export interface MessageRun extends MessageHead {
  /** Where the bodies are. */
  readonly source: Buffer;
  readonly count: number;
  /** Start and end of each body in `source`, in turn. */
  readonly places: Int32Array;
}

/** That a message of grade 2 was received: proves it after a crash, without a record of its own. */
export interface ReceiptMark {
  readonly slot: number;
  readonly packetId: number;
  readonly serial: number;
}

const flag = { grade: 3, expires: 4, publisher: 8, receipt: 16 } as const;
/** Keys of the headers of a record. */
export const messageHeaderKey = { meta: 0x73, header: 0x70 } as const;

/** The header `s` of a message's record. Not to be changed. */
export function encodeMeta({ grade, expiresAtMs, publisher }: MessageHead, receipt: ReceiptMark | null): Buffer {
  if (expiresAtMs === 0 && publisher === '' && receipt === null) return plainMetas[grade];
  const nameLength = Buffer.byteLength(publisher);
  const meta = Buffer.allocUnsafe(1 + 9 + varintSize(nameLength) + nameLength + 27);
  let at = 1;
  let flags: number = grade;
  if (expiresAtMs !== 0) {
    flags |= flag.expires;
    at = writeVarint(meta, expiresAtMs, at);
  }
  if (publisher !== '') {
    flags |= flag.publisher;
    at = writeVarint(meta, nameLength, at);
    at += meta.write(publisher, at);
  }
  if (receipt !== null) {
    flags |= flag.receipt;
    at = writeVarint(meta, receipt.slot, at);
    at = writeVarint(meta, receipt.packetId, at);
    at = writeVarint(meta, receipt.serial, at);
  }
  meta[0] = flags;
  return meta.subarray(0, at);
}

const plainMetas = [0, 1, 2].map((grade) => Buffer.from([grade]));

/** One record, read in place; used again and again. Positions are in `bytes`. */
export class MessageView {
  bytes: Buffer = noBytes;
  topicStart = 0;
  topicLength = 0;
  bodyStart = 0;
  bodyLength = 0;
  headerStart = 0;
  headerLength = 0;
  timestamp = 0;
  grade = 0;
  expiresAtMs = 0;
  publisherStart = 0;
  publisherLength = 0;
  /** -1: no receipt. */
  receiptSlot = -1;
  receiptPacketId = 0;
  receiptSerial = 0;
  /** Behind the record. */
  end = 0;
  readonly #reader = new VarintReader();

  get publisher(): string {
    return this.bytes.toString('utf8', this.publisherStart, this.publisherStart + this.publisherLength);
  }

  /** What the message counts for in the limits of a session. */
  get size(): number {
    return this.topicLength + this.bodyLength + this.headerLength;
  }

  /** Reads topic and lengths alone: what routing and the index need. False when there is no message here. */
  readPlace(bytes: Buffer, start: number, limit: number): boolean {
    const reader = this.#reader;
    reader.reset(bytes, start, limit);
    const length = reader.next();
    const end = reader.at + length;
    this.end = end;
    if (!reader.isSound || length < 1 || end > limit) return false;
    reader.reset(bytes, reader.at + 1, end);
    this.timestamp = reader.next();
    reader.next();
    this.bytes = bytes;
    this.topicLength = reader.next();
    this.topicStart = reader.at;
    if (this.topicLength <= 0) return false;
    reader.at += this.topicLength;
    this.bodyLength = Math.max(0, reader.next());
    this.bodyStart = reader.at;
    reader.at += this.bodyLength;
    return reader.isSound && reader.at < end;
  }

  /** Reads all of the record at `start`. False when it is no sound message. */
  read(bytes: Buffer, start: number, limit: number, baseTimestamp: number): boolean {
    return this.readPlace(bytes, start, limit) && this.readRest(baseTimestamp);
  }

  /** Reads what `readPlace`, which answered true for the record just before, has left. False when it is no sound message. */
  readRest(baseTimestamp: number): boolean {
    const reader = this.#reader;
    const { bytes } = this;
    this.timestamp += baseTimestamp;
    this.grade = 0;
    this.headerStart = 0;
    this.headerLength = 0;
    for (let left = reader.next(); left > 0 && reader.isSound; left -= 1) {
      const keyLength = reader.next();
      const key = bytes[reader.at];
      reader.at += keyLength;
      const valueLength = reader.next();
      const valueStart = reader.at;
      if (keyLength !== 1 || valueLength < 0 || valueStart + valueLength > this.end) return false;
      if (key === messageHeaderKey.meta) {
        if (!this.#readMeta(valueStart, valueLength)) return false;
      } else {
        this.headerStart = valueStart;
        this.headerLength = valueLength;
      }
      reader.reset(bytes, valueStart + valueLength, this.end);
    }
    return reader.isSound && reader.at === this.end && (this.grade === 1 || this.grade === 2);
  }

  #readMeta(start: number, length: number): boolean {
    const reader = this.#reader;
    const flags = this.bytes[start];
    this.grade = flags & flag.grade;
    this.expiresAtMs = 0;
    this.publisherLength = 0;
    this.receiptSlot = -1;
    if (length === 1) return flags < flag.expires;
    reader.reset(this.bytes, start + 1, start + length);
    if ((flags & flag.expires) !== 0) this.expiresAtMs = reader.next();
    if ((flags & flag.publisher) !== 0) {
      this.publisherLength = reader.next();
      this.publisherStart = reader.at;
      reader.at += this.publisherLength;
    }
    if ((flags & flag.receipt) !== 0) {
      this.receiptSlot = reader.next();
      this.receiptPacketId = reader.next();
      this.receiptSerial = reader.next();
    }
    return reader.isSound && reader.at === start + length;
  }
}
