import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { assignPlace, readBatchHeader } from '../../../../src/core/batch/batch-format.ts';
import { checkBatches, type ExpectedBatches } from '../../../../src/core/batch/check-batches.ts';
import { Random } from '../../../fuzz/random.ts';

/** Ten batches of two records each, offsets 100 to 119; epoch 1 up to 109, then 4. */
function log(): { readonly bytes: Buffer; readonly size: number } {
  const batches = Array.from({ length: 10 }, (_, number) => {
    const builder = new BatchBuilder();
    for (const letter of 'ab') builder.add({ timestampMs: 5, value: Buffer.from(`${letter}${number}`) });
    const batch = builder.build();
    assignPlace(batch, 0, 100 + 2 * number, number < 5 ? 1 : 4);
    return batch;
  });
  return { bytes: Buffer.concat(batches), size: batches[0].length };
}

const epochs = [
  { epoch: 1, startOffset: 0 },
  { epoch: 4, startOffset: 110 },
];

const expected: ExpectedBatches = {
  offset: 100,
  from: 100,
  limit: 1000,
  bytesMax: 1e6,
  takesOne: true,
  batchBytesMax: 1e6,
  epochs,
};

describe('checkBatches()', () => {
  it('takes all that is sound, from the wanted offset on', () => {
    const { bytes, size } = log();
    expect(checkBatches(bytes, expected)).toMatchObject({ start: 0, end: 10 * size, nextOffset: 120, stop: 'short' });
    const from = checkBatches(bytes, { ...expected, from: 105 });
    expect(from).toMatchObject({ start: 2 * size, end: 10 * size, nextOffset: 120 });
    expect(checkBatches(bytes.subarray(3 * size), { ...expected, offset: 106 }).nextOffset).toBe(120);
    expect(checkBatches(Buffer.alloc(0), expected)).toMatchObject({ start: 0, end: 0, stop: 'short', nextSize: 0 });
  });

  it('stops where the limit, the bytes or the batches end', () => {
    const { bytes, size } = log();
    expect(checkBatches(bytes, { ...expected, limit: 107 })).toMatchObject({
      end: 3 * size,
      nextOffset: 106,
      stop: 'limit',
    });
    const full = checkBatches(bytes, { ...expected, bytesMax: 4 * size + 1 });
    expect(full).toMatchObject({ end: 4 * size, nextOffset: 108, stop: 'full', nextSize: size });
    expect(checkBatches(bytes, { ...expected, bytesMax: 1 })).toMatchObject({ end: size, stop: 'full' });
    expect(checkBatches(bytes, { ...expected, bytesMax: 1, takesOne: false })).toMatchObject({ end: 0, stop: 'full' });
    const cut = checkBatches(bytes.subarray(0, 3 * size - 1), expected);
    expect(cut).toMatchObject({ end: 2 * size, nextOffset: 104, stop: 'short', nextSize: size });
    expect(checkBatches(bytes.subarray(0, 2 * size + 20), expected)).toMatchObject({ end: 2 * size, nextSize: 0 });
    expect(checkBatches(bytes, { ...expected, batchBytesMax: size - 1 })).toMatchObject({ end: 0, stop: 'fault' });
  });

  it('stops before each flipped bit, also of what the CRC does not cover', () => {
    const random = new Random(7);
    const { bytes, size } = log();
    for (let at = 0; at < bytes.length; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << random.below(8);
      const { end, nextOffset, stop } = checkBatches(damaged, expected);
      const batch = Math.floor(at / size);
      // A length that leads out of the bytes may only be a batch that goes on behind them.
      expect([end, nextOffset], `byte ${at}`).toEqual([batch * size, 100 + 2 * batch]);
      expect(stop === 'fault' || (stop === 'short' && at % size >= 8 && at % size < 12) || stop === 'full').toBe(true);
    }
  });

  it('believes what was checked before, but for its places', () => {
    const { bytes, size } = log();
    bytes[size - 1] ^= 1;
    expect(checkBatches(bytes, { ...expected, isTrusted: true }).nextOffset).toBe(120);
    assignPlace(bytes, 4 * size, 7, 1);
    expect(checkBatches(bytes, { ...expected, isTrusted: true })).toMatchObject({ end: 4 * size, stop: 'fault' });
    expect(readBatchHeader(bytes, 4 * size).baseOffset).toBe(7);
  });
});
