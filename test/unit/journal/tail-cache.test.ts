/** The newest batches in memory: what is found, and that what was dropped goes. */
import { describe, expect, it } from 'vitest';
import type { Segment } from '../../../src/journal/segment/segment.ts';
import { TailCache, TailOfLog } from '../../../src/journal/tail-cache.ts';

const mebibyte = 1024 * 1024;
const segment = { baseOffset: 0 } as unknown as Segment;

describe('TailCache', () => {
  it('find() answers what is in memory, from the position to the end of its chunk', () => {
    const tail = new TailCache(300);
    const log = new TailOfLog();
    for (let number = 0; number < 5; number += 1) {
      tail.add(log, segment, number * 100, tail.allocate(100).fill(number));
    }
    expect(log.find(segment, 150)).toBeNull();
    expect(log.find(segment, 250)).toEqual(Buffer.alloc(50, 2));
    expect(log.find(segment, 500)).toBeNull();
    expect(tail.sizeBytes).toBe(300);
  });

  it('add() lets what it dropped be collected, although shared memory does not count for the collector', async () => {
    const tail = new TailCache(16 * mebibyte);
    const log = new TailOfLog();
    let alive = 0;
    let most = 0;
    let last: ArrayBufferLike | null = null;
    const registry = new FinalizationRegistry<number>((bytes) => {
      alive -= bytes;
    });
    for (let number = 0; number < 6_000; number += 1) {
      const chunk = tail.allocate(500_000);
      if (chunk.buffer !== last) {
        last = chunk.buffer;
        alive += last.byteLength;
        registry.register(last, last.byteLength);
      }
      tail.add(log, segment, number * 500_000, chunk);
      most = Math.max(most, alive);
      if (number % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    // Without a weight it is more than twice as much here, and more yet where nothing else makes the collector run.
    expect(most / mebibyte).toBeLessThan(600);
  });
});
