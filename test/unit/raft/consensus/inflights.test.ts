import { describe, expect, it } from 'vitest';
import { Inflights } from '../../../../src/raft/consensus/inflights.ts';

describe('Inflights', () => {
  it('isFull does follow the number of messages', () => {
    const inflights = new Inflights(3, 1_000);
    for (const index of [1, 2, 3]) inflights.add(index, 1);
    expect(inflights.isFull).toBe(true);
    expect(() => inflights.add(4, 1)).toThrow('limits');
    inflights.freeTo(1);
    expect(inflights.isFull).toBe(false);
    inflights.add(4, 1);
    expect(inflights.isFull).toBe(true);
  });

  it('isFull does follow the bytes, and lets one large message through', () => {
    const inflights = new Inflights(100, 1_000);
    expect(inflights.isFull).toBe(false);
    inflights.add(1, 5_000);
    expect(inflights.isFull).toBe(true);
    inflights.freeTo(1);
    inflights.add(2, 999);
    expect(inflights.isFull).toBe(false);
  });

  it('freeTo() does free everything up to the index, around the end of the ring', () => {
    const inflights = new Inflights(20, 1_000_000);
    let next = 1;
    for (let round = 0; round < 50; round++) {
      while (!inflights.isFull) inflights.add(next++, 10);
      expect(inflights.count).toBe(20);
      inflights.freeTo(next - 8);
      expect(inflights.count).toBe(7);
    }
    inflights.freeTo(next);
    expect(inflights.count).toBe(0);
  });

  it('clear() does forget everything', () => {
    const inflights = new Inflights(2, 10);
    inflights.add(1, 10);
    inflights.clear();
    expect([inflights.count, inflights.isFull]).toEqual([0, false]);
  });
});
