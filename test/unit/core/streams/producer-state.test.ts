import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { type BatchHeader, readBatchHeader } from '../../../../src/core/batch/batch-format.ts';
import { ProducerState } from '../../../../src/core/streams/producer-state.ts';

const expiryMs = 1000;

function headerOf(baseSequence: number, timestampMs: number, attributes = 0): BatchHeader {
  const builder = new BatchBuilder({ producerId: 7, producerEpoch: 0, baseSequence, attributes });
  builder.add({ timestampMs, key: null, value: Buffer.from('a') });
  return { ...readBatchHeader(builder.build()), baseOffset: baseSequence, lastOffset: baseSequence };
}

describe('ProducerState', () => {
  it('expire() keeps a producer whose records carry old timestamps', () => {
    const state = new ProducerState();
    const header = headerOf(0, 1);
    state.apply(header, null);
    expect(state.expire(1_000_000, expiryMs)).toBe(0);
    expect(state.check(header)?.baseOffset).toBe(0);
  });

  it('expire() forgets a producer that has sent nothing for the time', () => {
    const state = new ProducerState();
    state.apply(headerOf(0, 1), null);
    expect(state.expire(1_000_000, expiryMs)).toBe(0);
    expect(state.expire(1_000_999, expiryMs)).toBe(0);
    expect(state.expire(1_001_000, expiryMs)).toBe(1);
    expect(state.get(7)).toBeNull();
  });

  it('expire() begins to count anew after each batch', () => {
    const state = new ProducerState();
    state.apply(headerOf(0, 1), null);
    state.expire(1_000_000, expiryMs);
    state.apply(headerOf(1, 1), null);
    expect(state.expire(1_001_500, expiryMs)).toBe(0);
    expect(state.expire(1_002_500, expiryMs)).toBe(1);
  });

  it('expire() keeps a producer with a transaction that is not decided', () => {
    const state = new ProducerState();
    state.apply(headerOf(0, 1, 16), null);
    state.expire(1_000_000, expiryMs);
    expect(state.expire(9_000_000, expiryMs)).toBe(0);
    expect(state.ongoingOf(7)).toBe(0);
  });
});
