import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { assignPlace } from '../../../../src/core/batch/batch-format.ts';
import type { StreamPartition } from '../../../../src/core/ports/stream-store.ts';
import { BatchCache, StoredBatch } from '../../../../src/core/sessions/batch-cache.ts';

const noPartition = {} as StreamPartition;

/** A batch of two records at `offset`, with a body of so many bytes. */
function batchAt(offset: number, bodyBytes: number): { readonly bytes: Buffer; readonly starts: Int32Array } {
  const builder = new BatchBuilder();
  for (const letter of ['a', 'b']) {
    builder.add({ timestampMs: 1, key: Buffer.from('k'), value: Buffer.alloc(bodyBytes, `${letter}${offset}`) });
  }
  const bytes = builder.build();
  assignPlace(bytes, 0, offset, 0);
  return { bytes, starts: new StoredBatch(bytes, 0).starts };
}

describe('BatchCache', () => {
  it('write() keeps a copy, whose memory is used again when as much as there is was written', () => {
    const cache = new BatchCache(noPartition, 64 * 1024);
    for (let offset = 0; offset < 4000; offset += 2) {
      const { bytes, starts } = batchAt(offset, 100);
      const wanted = Buffer.from(bytes);
      const batch = cache.write(bytes, starts);
      bytes.fill(0xff);
      starts.fill(-1);
      expect(batch.bytes.equals(wanted)).toBe(true);
      expect(cache.find(offset + 1)).toBe(batch);
      const before = cache.find(offset - 20);
      if (offset > 20) expect(before?.bytes.equals(batchAt(offset - 20, 100).bytes)).toBe(true);
      expect(cache.bytes).toBeLessThanOrEqual(64 * 1024);
    }
    expect(cache.find(0)).toBeNull();
  });

  it('keep() makes a batch valid for as long as somebody has it', () => {
    const cache = new BatchCache(noPartition, 64 * 1024);
    const first = batchAt(0, 100);
    const wanted = Buffer.from(first.bytes);
    const kept = cache.write(first.bytes, first.starts).keep();
    const lost = cache.write(batchAt(2, 100).bytes, batchAt(2, 100).starts);
    for (let offset = 4; offset < 4000; offset += 2)
      cache.write(batchAt(offset, 100).bytes, batchAt(offset, 100).starts);
    expect(kept.bytes.equals(wanted)).toBe(true);
    expect(kept.startOf(1)).toBeGreaterThan(kept.startOf(0));
    // Nobody may be given what is not its message.
    expect(() => lost.startOf(2)).toThrow('turn');
    expect(() => lost.keep()).toThrow('turn');
    expect(cache.bytes).toBeLessThanOrEqual(64 * 1024);
  });

  it('write() takes batches that are too large for memory that is used again', () => {
    const cache = new BatchCache(noPartition, 64 * 1024);
    for (let offset = 0; offset < 40; offset += 2) {
      const { bytes, starts } = batchAt(offset, offset % 4 === 0 ? 6000 : 10);
      const wanted = Buffer.from(bytes);
      const batch = cache.write(bytes, starts);
      bytes.fill(0);
      expect(batch.bytes.equals(wanted)).toBe(true);
      expect(cache.find(offset)).toBe(batch);
      expect(cache.bytes).toBeLessThanOrEqual(64 * 1024 + 13_000);
    }
  });
});
