/** Record batches for tests of stream stores, and what is in those that were read. */

import { BatchBuilder, type BatchBuilderOptions } from '../../src/core/batch/batch-builder.ts';
import { batchAttributes, readBatchHeader, sealBatch } from '../../src/core/batch/batch-format.ts';
import { buildControlBatch, type ControlType } from '../../src/core/batch/control-batch.ts';
import { RecordCursor } from '../../src/core/batch/record-cursor.ts';
import type { AppendAnswer, Isolation, StreamPartition } from '../../src/core/ports/stream-store.ts';

export interface BatchGiven extends BatchBuilderOptions {
  readonly timestampMs?: number;
  /** Of the records, in order; none when it is left out. */
  readonly keys?: readonly string[];
}

/** One record for each value. */
export function batch(values: readonly string[], given: BatchGiven = {}): Buffer {
  const builder = new BatchBuilder(given);
  for (const [at, value] of values.entries()) {
    const key = given.keys?.[at];
    builder.add({
      timestampMs: given.timestampMs ?? 1_700_000_000_000,
      key: key === undefined ? null : Buffer.from(key),
      value: Buffer.from(value),
    });
  }
  return builder.build();
}

export interface Producer {
  readonly producerId: number;
  readonly producerEpoch: number;
}

/** A batch of a producer with this sequence; of its transaction with `isTransactional`. */
export function produced(
  producer: Producer,
  baseSequence: number,
  values: readonly string[],
  isTransactional = false,
): Buffer {
  return batch(values, {
    ...producer,
    baseSequence,
    attributes: isTransactional ? batchAttributes.transactional : 0,
  });
}

export function marker(type: ControlType, producer: Producer): Buffer {
  return buildControlBatch({ type, ...producer, coordinatorEpoch: 0, timestampMs: 1_700_000_000_000 });
}

/** A batch whose records nobody but its producer and its consumers can read. */
export function sealedBatch(recordCount: number, content: Buffer, timestampMs = 1_700_000_000_000): Buffer {
  const values = Array.from({ length: recordCount }, () => '');
  const header = batch(values, { attributes: 4, timestampMs }).subarray(0, 61);
  const bytes = Buffer.concat([header, content]);
  bytes.writeInt32BE(bytes.length - 12, 8);
  sealBatch(bytes, 0, bytes.length);
  return bytes;
}

export function append(partition: StreamPartition, bytes: Buffer): Promise<AppendAnswer> {
  return new Promise((resolve) => partition.append(bytes, resolve));
}

/** Appends; answers the first offset. @throws what the append was refused with */
export async function stored(partition: StreamPartition, bytes: Buffer): Promise<number> {
  const { error, baseOffset } = await append(partition, bytes);
  if (error !== null) throw error;
  return baseOffset;
}

/** What the promise rejects with: its code; `none` when it does not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'none';
  } catch (error) {
    return (error as { readonly code?: string }).code ?? String(error);
  }
}

/** What an append is answered with: the code of its error, or its first offset. */
export async function verdict(partition: StreamPartition, bytes: Buffer): Promise<string | number> {
  const { error, baseOffset } = await append(partition, bytes);
  return error === null ? baseOffset : error.code;
}

export interface ReadBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly bytes: Buffer;
}

/** The batches in slices. */
export function batchesIn(slices: readonly Buffer[]): ReadBatch[] {
  const found: ReadBatch[] = [];
  for (const slice of slices) {
    for (let at = 0; at < slice.length; ) {
      const { baseOffset, lastOffset, size } = readBatchHeader(slice, at);
      found.push({ baseOffset, lastOffset, bytes: slice.subarray(at, at + size) });
      at += size;
    }
  }
  return found;
}

/** All batches from `offset` to the end of what `isolation` sees. */
export async function readBatches(
  partition: StreamPartition,
  offset = 0,
  isolation: Isolation = 'committed',
  bytesMax = 64 * 1024,
): Promise<ReadBatch[]> {
  const found: ReadBatch[] = [];
  for (let next = offset; ; ) {
    const answer = await partition.read({ offset: next, bytesMax, isolation });
    if (answer.nextOffset === next) return found;
    found.push(...batchesIn(answer.slices));
    next = answer.nextOffset;
  }
}

const cursor = new RecordCursor();

/** `offset:value` of all records from `offset` on; markers are left out. */
export async function readValues(
  partition: StreamPartition,
  offset = 0,
  isolation: Isolation = 'committed',
): Promise<string[]> {
  const values: string[] = [];
  for (const { bytes } of await readBatches(partition, offset, isolation)) {
    if ((readBatchHeader(bytes).attributes & batchAttributes.control) !== 0) continue;
    cursor.reset(bytes);
    while (cursor.next()) {
      if (cursor.offset >= offset) values.push(`${cursor.offset}:${cursor.value?.toString() ?? ''}`);
    }
  }
  return values;
}

/** Without what the store gives a batch: base offset and leader epoch. */
export function ownBytes(bytes: Buffer): string {
  return bytes.toString('latin1', 8, 12) + bytes.toString('latin1', 16);
}
