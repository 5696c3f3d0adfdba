import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { batchHeaderBytes, batchLengthEnd, sealBatch } from '../../../../src/core/batch/batch-format.ts';
import { openBatch } from '../../../../src/core/batch/open-batch.ts';
import { RecordCursor } from '../../../../src/core/batch/record-cursor.ts';

const mebibyte = 1024 * 1024;

/** A batch whose records are `pack`ed, behind some bytes that belong to another one. */
function packed(compression: number, pack: (records: Buffer) => Buffer, ...values: Buffer[]): Buffer {
  const builder = new BatchBuilder();
  for (const value of values) builder.add({ timestampMs: 5, key: Buffer.from('k'), value });
  const plain = builder.build();
  const records = pack(plain.subarray(batchHeaderBytes));
  const bytes = Buffer.concat([plain.subarray(0, batchHeaderBytes), records]);
  bytes.writeInt32BE(bytes.length - batchLengthEnd, 8);
  bytes.writeInt16BE(compression, 21);
  sealBatch(bytes, 0, bytes.length);
  return Buffer.concat([Buffer.alloc(7), bytes]);
}

describe('openBatch()', () => {
  it.each([
    ['gzip', 1, gzipSync],
    ['zstd', 4, zstdCompressSync],
  ] as const)('opens %s, at any place of a slice', (_, compression, pack) => {
    const values = [Buffer.from('one'), Buffer.alloc(1000, 'x'), Buffer.alloc(0)];
    const opened = openBatch(
      packed(compression, (records) => pack(records), ...values),
      7,
      mebibyte,
      null,
    );
    const cursor = new RecordCursor().reset(opened.bytes, opened.at);
    const found: Buffer[] = [];
    while (cursor.next()) found.push(cursor.value ?? Buffer.from('none'));
    expect([found, cursor.isSound]).toEqual([values, true]);
  });

  it('answers what is not compressed as it is', () => {
    const batch = packed(0, (records) => records, Buffer.from('x'));
    expect(openBatch(batch, 7, 1, null)).toEqual({ bytes: batch, at: 7 });
  });

  it.each([
    ['gzip', 1, gzipSync],
    ['zstd', 4, zstdCompressSync],
  ] as const)('refuses %s that becomes larger than the bound', (name, compression, pack) => {
    const bomb = packed(compression, (records) => pack(records), Buffer.alloc(8 * mebibyte));
    expect(bomb.length).toBeLessThan(mebibyte / 8);
    expect(() => openBatch(bomb, 7, mebibyte, null)).toThrow(
      `Cannot open a batch of compression ${compression} (${name}): its records have more than ${mebibyte} bytes`,
    );
  });

  it('refuses what is no such compression, and what it has nothing for', () => {
    const wrong = packed(1, () => Buffer.from('no gzip'), Buffer.from('x'));
    expect(() => openBatch(wrong, 7, mebibyte, null)).toThrow('Cannot open a batch of compression 1 (gzip): ');
    const other = packed(3, (records) => records, Buffer.from('x'));
    expect(() => openBatch(other, 7, mebibyte, null)).toThrow('(lz4): there is no decompressor for it');
    expect(openBatch(other, 7, mebibyte, (_, bytes) => Buffer.from(bytes)).bytes.length).toBe(other.length - 7);
  });
});
