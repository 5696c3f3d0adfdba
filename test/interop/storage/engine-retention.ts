/** Retention of what nobody has open, over a real engine. Part of the tests of each adapter. Thread of the test. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { StoreFront } from '../../../src/core/streams/store-front.ts';
import { batch, produced, readValues, stored, verdict } from '../../support/stream-batches.ts';

/** `engine`: a new one over the same records at each call, but for other calls of this function. */
export function engineRetention(newPlace: () => () => StoreEngine): void {
  describe('retention', () => {
    it('walk() deletes what is due of partitions that are not open, and knows their producers', async () => {
      const engineAt = newPlace();
      const options = { upkeepMs: 1e6, walkMs: 1e6, walkPauseMs: 0 };
      const first = await StoreFront.open(engineAt(), options);
      const partition = await first.create('p', { retentionMs: 86_400_000 });
      const repeated = produced({ producerId: 5, producerEpoch: 0 }, 0, ['old']);
      await stored(partition, repeated);
      await stored(partition, batch(['new'], { timestampMs: Date.now() }));
      await stored(await first.create('kept'), batch(['old']));
      const engine = engineAt();
      await engine.open();
      onTestFinished(() => engine.close());
      expect(await engine.peek('none')).toBeNull();
      const seen = await engine.peek('p');
      expect(seen).toMatchObject({ startOffset: 0, endOffset: 2, settings: { retentionMs: 86_400_000 } });
      expect(seen?.oldest).toMatchObject({ baseOffset: 0 });
      // It was looked at, not taken.
      expect(await verdict(partition, batch(['more'], { timestampMs: Date.now() }))).toBe(2);
      await first.close();
      const second = await StoreFront.open(engineAt(), options);
      onTestFinished(() => second.close());
      await second.walk();
      await second.walk();
      expect(await engine.peek('p')).toMatchObject({ startOffset: 1, endOffset: 3 });
      expect(await engine.peek('kept')).toMatchObject({ startOffset: 0 });
      const again = await second.open('p');
      expect(await readValues(again, 1)).toEqual(['1:new', '2:more']);
      expect(await verdict(again, repeated)).toBe(0);
    });
  });
}
