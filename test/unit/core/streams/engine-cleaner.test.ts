import { describe, expect, it } from 'vitest';
import { EngineCleaner } from '../../../../src/core/streams/engine-cleaner.ts';
import { EngineFailedError } from '../../../../src/core/streams/store-engine.ts';

describe('EngineCleaner', () => {
  it('cleanLater() cleans each key, one after the other, also when one fails', async () => {
    const cleaned: number[] = [];
    let running = 0;
    const cleaner = new EngineCleaner(async (key) => {
      running += 1;
      expect(running).toBe(1);
      await new Promise(setImmediate);
      running -= 1;
      if (key === 2) throw new Error('lost');
      cleaned.push(key);
    });
    for (const key of [1, 2, 3, 1]) cleaner.cleanLater(key);
    await cleaner.idle();
    expect(new Set(cleaned)).toEqual(new Set([1, 3]));
  });

  it('cleanLater() does nothing more when the engine has failed, or is closed', async () => {
    const cleaned: number[] = [];
    const cleaner = new EngineCleaner(async (key) => {
      cleaned.push(key);
      throw new EngineFailedError('broken');
    });
    cleaner.cleanLater(1);
    cleaner.cleanLater(2);
    await cleaner.idle();
    expect(cleaned).toEqual([1]);
    cleaner.stop();
    cleaner.cleanLater(3);
    await cleaner.idle();
    expect(cleaned).toEqual([1]);
    expect(cleaner.isClosed).toBe(true);
  });
});
