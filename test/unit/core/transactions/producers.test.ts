// Producer ids, names with epochs, and the streams behind them.
import { afterEach, describe, expect, it } from 'vitest';
import { Pauses } from '../../../../src/core/transactions/backoff.ts';
import { BlockAllocator } from '../../../../src/core/transactions/block-allocator.ts';
import { KeyedStream } from '../../../../src/core/transactions/keyed-stream.ts';
import { ProducerRegistry } from '../../../../src/core/transactions/producer-registry.ts';
import { Random } from '../../../fuzz/random.ts';
import { CrashingStore } from '../../../support/crashing-store.ts';
import { type AppendFate, FaultyStore } from '../../../support/faulty-store.ts';
import { turn } from '../../../support/stream-records.ts';

let nowMs = 1_800_000_000_000;
const now = (): number => nowMs;
let disks: CrashingStore;

function begin(seed = 1): CrashingStore {
  disks = new CrashingStore(seed, now);
  return disks;
}

function openRegistry(): Promise<ProducerRegistry> {
  return ProducerRegistry.open({ store: disks.store, now, pauses: new Pauses(nowMs), blockSize: 10 });
}

afterEach(() => disks.close());

describe('ProducerRegistry', () => {
  it('allocate() never gives an id twice, over crashes and between two owners', async () => {
    begin();
    const seen = new Set<number>();
    for (let life = 0; life < 5; life += 1) {
      const owners = [await openRegistry(), await openRegistry()];
      for (let count = 0; count < 37; count += 1) {
        for (const owner of owners) {
          const { producerId, producerEpoch } = await owner.allocate();
          expect(producerEpoch).toBe(0);
          expect(seen.has(producerId)).toBe(false);
          seen.add(producerId);
        }
      }
      disks.crash(life % 2 === 0 ? 'mixed' : 'drop');
    }
    expect(seen.size).toBe(5 * 2 * 37);
    const { logStartOffset, logEndOffset } = await (await disks.store.open('__producers.ids')).places();
    expect(logEndOffset - logStartOffset).toBeLessThan(5);
  });

  it('open() keeps the id of a name and raises its epoch, over crashes', async () => {
    begin();
    let registry = await openRegistry();
    const [one, two] = await Promise.all([registry.open('a'), registry.open('a')]);
    expect(two).toEqual({ producerId: one.producerId, producerEpoch: one.producerEpoch + 1 });
    expect((await registry.open('b')).producerId).not.toBe(one.producerId);
    disks.crash('drop');
    registry = await openRegistry();
    expect(await registry.open('a')).toEqual({ producerId: one.producerId, producerEpoch: 2 });
    expect(registry.get('a')).toEqual({ producerId: one.producerId, producerEpoch: 2 });
  });

  it('expire() forgets names that were not opened for long', async () => {
    begin();
    const registry = await openRegistry();
    await registry.open('old');
    nowMs += 1000;
    await registry.open('new');
    expect(await registry.expire(nowMs)).toBe(1);
    expect(registry.get('old')).toBe(null);
    disks.crash('drop');
    expect((await openRegistry()).nameCount).toBe(1);
  });
});

describe('BlockAllocator', () => {
  it('take() answers -1 until a block is there, and goes on when the store does', async () => {
    begin();
    let fate: AppendFate = 'store';
    const store = new FaultyStore(disks.store, { fateOf: () => fate });
    const allocator = await BlockAllocator.open({ store, stream: 'numbers', blockSize: 2, now });
    fate = 'refuse';
    expect([allocator.take(), allocator.take(), allocator.take()]).toEqual([0, 1, -1]);
    await expect(allocator.reserve()).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
    fate = 'store';
    await allocator.reserve();
    expect(allocator.take()).toBeGreaterThan(1);
  });
});

describe('KeyedStream', () => {
  it('keeps the newest durable value of each key under chance, and stays short', async () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      if (seed > 1) await disks.close();
      await runKeyedModel(seed);
    }
  });
});

async function runKeyedModel(seed: number): Promise<void> {
  const random = new Random(seed);
  begin(seed);
  const pauses = new Pauses(nowMs);
  const fateOf = (): AppendFate => (random.oneIn(10) ? random.pick(['refuse', 'hide', 'lose']) : 'store');
  const open = (): Promise<KeyedStream> => {
    const store = new FaultyStore(disks.store, { fateOf });
    return KeyedStream.open({ store, stream: 'keyed', pauses, now, slackRecordsMax: 50 });
  };
  let stream = await open();
  /** What each key may be: the last durable value, or what was asked for since. */
  const may = new Map<string, (string | null)[]>();
  const busy = new Set<string>();
  for (let step = 0; step < 400; step += 1) {
    const key = `k${random.below(12)}`;
    if (random.oneIn(60)) {
      disks.crash(random.pick(['mixed', 'drop', 'keep', 'kill']));
      busy.clear();
      stream = await open();
      for (const [known, values] of may) {
        const value = stream.get(known)?.toString() ?? null;
        if (!values.includes(value)) throw new Error(`seed ${seed}: ${known} is ${value} and not one of ${values}`);
        may.set(known, [value]);
      }
    } else if (!busy.has(key)) {
      const value = random.oneIn(5) ? null : `v${step}`;
      const before = may.get(key) ?? [null];
      may.set(key, [...before, value]);
      busy.add(key);
      const present = stream;
      stream.put(key, value === null ? null : Buffer.from(value)).then(
        () => {
          if (present === stream) may.set(key, [value]);
          if (present === stream) busy.delete(key);
        },
        () => {
          if (present === stream) may.set(key, before);
          if (present === stream) busy.delete(key);
        },
      );
    }
    nowMs += 20;
    pauses.tick(nowMs);
    for (let left = random.below(4); left > 0; left -= 1) await turn();
  }
  for (let left = 0; left < 500 && busy.size > 0; left += 1) {
    nowMs += 1000;
    pauses.tick(nowMs);
    await turn();
  }
  for (const [key, values] of may) expect(values).toContain(stream.get(key)?.toString() ?? null);
  const { logStartOffset, logEndOffset } = await (await disks.store.open('keyed')).places();
  expect(logEndOffset - logStartOffset).toBeLessThan(120);
}
