import { describe, expect, it, onTestFinished } from 'vitest';
import { openMemoryStore } from '../../../src/storage/memory/memory-store.ts';
import { batch, readValues, stored, verdict } from '../../support/stream-batches.ts';

describe('openMemoryStore', () => {
  it('refuses what does not fit, until there is room', async () => {
    const store = await openMemoryStore({ bytesMax: 10_000 });
    onTestFinished(() => store.close());
    const [one, two] = [await store.create('one', { retentionBytes: 3000 }), await store.create('two')];
    const bytes = batch(['x'.repeat(1000)]);
    let count = 0;
    while (typeof (await verdict(one, bytes)) === 'number') count += 1;
    expect(count).toBe(7);
    expect(await verdict(two, bytes)).toBe('STORAGE_DISK_FULL');
    expect(store.health().state).toBe('ready');
    await store.upkeep();
    expect(await stored(two, bytes)).toBe(0);
    expect(await stored(one, bytes)).toBe(count);
    expect((await readValues(one, (await one.places()).logStartOffset)).length).toBeLessThan(count);
    await store.remove('one');
    for (let at = 1; at < 6; at += 1) expect(await stored(two, bytes)).toBe(at);
  });
});
