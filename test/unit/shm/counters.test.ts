import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { CounterBlock, createCounters } from '../../../src/shm/counters.ts';

describe('CounterBlock', () => {
  it('get() returns what increment(), add() and set() made of a slot, and of no other', () => {
    const block = new CounterBlock(createCounters(3));
    block.increment(1);
    block.increment(1);
    block.add(1, 40);
    block.set(2, -7.5);
    expect([block.get(0), block.get(1), block.get(2)]).toEqual([0, 42, -7.5]);
  });

  it('get() is exact beyond 32 bits', () => {
    const block = new CounterBlock(createCounters(1));
    block.add(0, 2 ** 52);
    block.increment(0);
    expect(block.get(0)).toBe(2 ** 52 + 1);
  });

  it('increment() does not accept a slot out of range', () => {
    const block = new CounterBlock(createCounters(1));
    for (const slot of [-1, 1, Number.NaN]) {
      expect(() => block.increment(slot)).toThrow('counter slot out of range');
      expect(() => block.add(slot, 1)).toThrow('counter slot out of range');
      expect(() => block.set(slot, 1)).toThrow('counter slot out of range');
      expect(() => block.get(slot)).toThrow('counter slot out of range');
    }
  });

  it('get() reads what another thread counted', async () => {
    const buffer = createCounters(2);
    const module = new URL('../../../src/shm/counters.ts', import.meta.url).href;
    const worker = new Worker(
      `import { workerData } from 'node:worker_threads';
       const { CounterBlock } = await import(workerData.module);
       const block = new CounterBlock(workerData.buffer);
       for (let round = 0; round < 1000; round++) block.increment(1);`,
      { eval: true, workerData: { buffer, module } },
    );
    await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
    expect(new CounterBlock(buffer).get(1)).toBe(1000);
  });
});
