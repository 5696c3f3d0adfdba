/**
 * Messages on their way into a message log: each is written at once where its batch will be sent from, so that nothing of it has to be kept,
 * and who is told is kept once for all that came together. Filled again and again. Thread: the owner of the sessions.
 */
import { batchHeaderBytes, writeBatchHeader } from '../batch/batch-format.ts';
import { varintSize, writeVarint } from '../batch/varint.ts';
import { type MessageHead, messageHeaderKey } from './message-record.ts';
import type { SessionError } from './session-error.ts';

/**
 * Told when messages are durable, with the offset of the first, or refused. For one message once; for those that were published together
 * perhaps in parts, in order, `count` of them at a time.
 */
export type MessageStored = (error: SessionError | null, offset: number, count: number) => void;

/** Who wrote it; repeated sendings are known by it. */
export interface BatchProducer {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
}

const bytesMin = 4096;
const startsMin = 64;
/** Memory that is kept for the next batch. */
const keptBytesMax = 2 * 1024 * 1024;
/** Below this many bytes a loop beats the call of `copy`. */
const loopBytesMax = 24;
/** Its own length, and the fixed fields of a record with a header, at most. */
const recordBytesMax = 64;

export class MessageBatch {
  /** Messages in it. */
  count = 0;
  /** Of all messages, as whoever filled it counts them. */
  weight = 0;
  #bytes = Buffer.allocUnsafeSlow(bytesMin);
  #end = batchHeaderBytes;
  /** Where each record begins. */
  #starts = new Int32Array(startsMin);
  #baseTimestamp = 0;
  #maxTimestamp = 0;
  readonly #dones: MessageStored[] = [];
  readonly #counts: number[] = [];

  get bytes(): number {
    return this.#end;
  }

  /** Where the records begin in what `seal` answers; valid as long. */
  get starts(): Int32Array {
    return this.#starts.subarray(0, this.count);
  }

  /** Writes a message whose body is `source[start, end)`. `meta`: the header `s` of its record. */
  add(head: MessageHead, meta: Buffer, source: Buffer, start: number, end: number, timestampMs: number): void {
    const { topicBytes, header } = head;
    const { count } = this;
    if (count === 0) {
      this.#baseTimestamp = timestampMs;
      this.#maxTimestamp = timestampMs;
    } else if (timestampMs > this.#maxTimestamp) this.#maxTimestamp = timestampMs;
    const delta = timestampMs - this.#baseTimestamp;
    const bodyLength = end - start;
    let length = 1 + varintSize(delta) + varintSize(count) + varintSize(topicBytes.length) + topicBytes.length;
    length += varintSize(bodyLength) + bodyLength + 1 + 2 + varintSize(meta.length) + meta.length;
    if (header.length > 0) length += 2 + varintSize(header.length) + header.length;
    this.#reserve(length + recordBytesMax);
    const bytes = this.#bytes;
    this.#starts[count] = this.#end;
    let at = writeVarint(bytes, length, this.#end);
    bytes[at] = 0;
    at = writeVarint(bytes, delta, at + 1);
    at = writeVarint(bytes, count, at);
    at = writeVarint(bytes, topicBytes.length, at);
    at = copyInto(bytes, at, topicBytes, 0, topicBytes.length);
    at = writeVarint(bytes, bodyLength, at);
    at = copyInto(bytes, at, source, start, end);
    at = writeVarint(bytes, header.length > 0 ? 2 : 1, at);
    at = writeHeader(bytes, at, messageHeaderKey.meta, meta);
    if (header.length > 0) at = writeHeader(bytes, at, messageHeaderKey.header, header);
    this.#end = at;
    this.count = count + 1;
  }

  /** `done` is told about the last `count` messages that were added. */
  onStored(done: MessageStored, count: number): void {
    this.#dones.push(done);
    this.#counts.push(count);
  }

  /** The batch, as it is valid until `clear`. Nothing is added before that. */
  seal(producer: BatchProducer): Buffer {
    const bytes = this.#bytes.subarray(0, this.#end);
    writeBatchHeader(bytes, {
      ...producer,
      attributes: 0,
      lastOffsetDelta: this.count - 1,
      baseTimestamp: this.#baseTimestamp,
      maxTimestamp: this.#maxTimestamp,
      recordCount: this.count,
    });
    return bytes;
  }

  /** Tells everybody, in order. */
  tell(error: SessionError | null, baseOffset: number): void {
    const dones = this.#dones;
    const counts = this.#counts;
    let offset = baseOffset;
    for (let index = 0; index < dones.length; index += 1) {
      dones[index](error, error === null ? offset : -1, counts[index]);
      offset += counts[index];
    }
  }

  /** Makes it empty. */
  clear(): void {
    this.count = 0;
    this.weight = 0;
    this.#end = batchHeaderBytes;
    this.#dones.length = 0;
    this.#counts.length = 0;
    if (this.#bytes.length <= keptBytesMax) return;
    this.#bytes = Buffer.allocUnsafeSlow(bytesMin);
  }

  #reserve(length: number): void {
    if (this.count === this.#starts.length) {
      const starts = new Int32Array(2 * this.count);
      starts.set(this.#starts);
      this.#starts = starts;
    }
    if (this.#end + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#end + length));
    this.#bytes.copy(larger, batchHeaderBytes, batchHeaderBytes, this.#end);
    this.#bytes = larger;
  }
}

/** A header of a record: a key of one byte, and a value. */
function writeHeader(target: Buffer, at: number, key: number, value: Buffer): number {
  // The length of the key, 1, as a zigzag varint.
  target[at] = 2;
  target[at + 1] = key;
  return copyInto(target, writeVarint(target, value.length, at + 2), value, 0, value.length);
}

function copyInto(target: Buffer, at: number, source: Buffer, start: number, end: number): number {
  if (end - start > loopBytesMax) {
    source.copy(target, at, start, end);
    return at + end - start;
  }
  let position = at;
  for (let index = start; index < end; index += 1) {
    target[position] = source[index];
    position += 1;
  }
  return position;
}
