/**
 * Makes a batch for a target out of stored messages: their fields are copied as they are. Thread: the owner of the service; used
 * by the target writer.
 */

import { batchHeaderBytes, batchLengthEnd, batchMagic, sealBatch, writeInt64 } from '../batch/batch-format.ts';
import { varintSize, writeVarint } from '../batch/varint.ts';
import { fieldsStart, timestampOf } from './stored-message.ts';

export interface BatchProducer {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
}

/** `messages` as `encodeMessage` makes them; at least one. */
export function buildTargetBatch(messages: readonly Buffer[], producer: BatchProducer): Buffer {
  const baseTimestamp = timestampOf(messages[0]);
  let maxTimestamp = baseTimestamp;
  let size = batchHeaderBytes;
  for (let index = 0; index < messages.length; index += 1) {
    const timestamp = timestampOf(messages[index]);
    maxTimestamp = Math.max(maxTimestamp, timestamp);
    const length = recordLength(messages[index], timestamp - baseTimestamp, index);
    size += varintSize(length) + length;
  }
  const bytes = Buffer.allocUnsafeSlow(size);
  bytes.fill(0, 0, batchHeaderBytes);
  bytes.writeInt32BE(size - batchLengthEnd, 8);
  bytes[16] = batchMagic;
  bytes.writeInt32BE(messages.length - 1, 23);
  writeInt64(bytes, baseTimestamp, 27);
  writeInt64(bytes, maxTimestamp, 35);
  writeInt64(bytes, producer.producerId, 43);
  bytes.writeInt16BE(producer.producerEpoch, 51);
  bytes.writeInt32BE(producer.baseSequence, 53);
  bytes.writeInt32BE(messages.length, 57);
  let at = batchHeaderBytes;
  for (let index = 0; index < messages.length; index += 1) {
    const message = messages[index];
    const delta = timestampOf(message) - baseTimestamp;
    at = writeVarint(bytes, recordLength(message, delta, index), at);
    bytes[at] = 0;
    at = writeVarint(bytes, delta, at + 1);
    at = writeVarint(bytes, index, at);
    at += message.copy(bytes, at, fieldsStart(message));
  }
  sealBatch(bytes, 0, size);
  return bytes;
}

function recordLength(message: Buffer, timestampDelta: number, offsetDelta: number): number {
  return 1 + varintSize(timestampDelta) + varintSize(offsetDelta) + message.length - fieldsStart(message);
}
