import { describe, expect, it, onTestFinished } from 'vitest';
import { StoreFront } from '../../../../src/core/streams/store-front.ts';
import { MemoryEngine } from '../../../../src/storage/memory/memory-engine.ts';
import { batch, stored, verdict } from '../../../support/stream-batches.ts';

/** Two brokers over one engine. */
async function two(): Promise<{ readonly engine: MemoryEngine; readonly own: StoreFront; readonly other: StoreFront }> {
  const engine = new MemoryEngine(1e8);
  const options = { upkeepMs: 1e6, walkMs: 1e6, walkPauseMs: 0, now: () => 1_700_000_100_000 };
  const own = await StoreFront.open(engine, options);
  const other = await StoreFront.open(engine, options);
  onTestFinished(async () => {
    await own.close();
    await other.close();
  });
  return { engine, own, other };
}

const old = batch(['old'], { timestampMs: 1_700_000_000_000 });
const fresh = batch(['fresh'], { timestampMs: 1_700_000_099_000 });

describe('ClosedRetention', () => {
  it('walk() applies retention to what nobody has open, in the second walk', async () => {
    const { engine, own, other } = await two();
    const partition = await other.create('aged', { retentionMs: 60_000 });
    for (const bytes of [old, old, fresh]) await stored(partition, bytes);
    await stored(await other.create('large', { retentionBytes: 1 }), fresh);
    await stored(await other.open('large'), fresh);
    await stored(await other.create('kept'), old);
    await own.walk();
    expect((await engine.peek('aged'))?.startOffset).toBe(0);
    await own.walk();
    expect((await engine.peek('aged'))?.startOffset).toBe(2);
    expect((await engine.peek('large'))?.startOffset).toBe(1);
    expect(await engine.peek('kept')).toMatchObject({ startOffset: 0, writer: 1 });
    // Nothing is due any more, so nobody takes it over again.
    const { writer } = (await engine.peek('aged')) ?? { writer: 0 };
    await own.walk();
    await own.walk();
    expect((await engine.peek('aged'))?.writer).toBe(writer);
  });

  it('walk() leaves partitions alone that somebody writes, or that are open here', async () => {
    const { own, other } = await two();
    const partition = await other.create('busy', { retentionMs: 60_000 });
    await stored(partition, old);
    await own.walk();
    await stored(partition, old);
    await own.walk();
    expect(await verdict(partition, fresh)).toBe(2);
    await own.create('mine', { retentionMs: 60_000 });
    await stored(await own.open('mine'), old);
    await own.walk();
    await own.walk();
    expect((await (await own.open('mine')).places()).logStartOffset).toBe(0);
  });

  it('walk() ends quietly when the store is closed meanwhile', async () => {
    const { own, other } = await two();
    await stored(await other.create('aged', { retentionMs: 60_000 }), old);
    await own.walk();
    const walking = own.walk();
    await own.close();
    await walking;
    await own.walk();
  });
});
