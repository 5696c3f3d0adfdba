import { describe, expect, it, onTestFinished } from 'vitest';
import type { AppendAnswer, StoreHealth, StreamPartition } from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import {
  type EngineClaim,
  EngineFailedError,
  EngineLostError,
  type EngineOutcome,
  type EngineRun,
} from '../../../../src/core/streams/store-engine.ts';
import { StoreFront, type StoreFrontOptions } from '../../../../src/core/streams/store-front.ts';
import { MemoryEngine } from '../../../../src/storage/memory/memory-engine.ts';
import { Random } from '../../../simulation/random.ts';
import { FaultyEngine, noFaults } from '../../../support/faulty-engine.ts';
import {
  append,
  batch,
  codeOf,
  produced,
  readBatches,
  readValues,
  stored,
  verdict,
} from '../../../support/stream-batches.ts';

const quick: StoreFrontOptions = { retryMsMin: 1, retryMsMax: 4, callTimeoutMs: 50, upkeepMs: 1e6 };

async function opened(engine: FaultyEngine, options: StoreFrontOptions = {}): Promise<StoreFront> {
  const store = await StoreFront.open(engine, { ...quick, ...options });
  onTestFinished(async () => {
    engine.isAway = false;
    engine.rates = noFaults;
    await store.close();
  });
  return store;
}

/** The store's clock, so that a slow machine is not taken for a slow engine. */
class Clock {
  ms = 1_000_000;
  readonly now = (): number => this.ms;

  /** All that waits has waited for too long. */
  runOut(): void {
    this.ms += waitMsMax + 1;
  }
}

const waitMsMax = 1000;

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1));
}

function newEngine(seed = 1, writesMax = 1): FaultyEngine {
  return new FaultyEngine(new MemoryEngine(1e8), new Random(seed), writesMax);
}

describe('StoreFront', () => {
  it('health() becomes ready when the engine is there again, though nobody asks for anything', async () => {
    const engine = newEngine();
    const store = await opened(engine, { readWaitMsMax: 5 });
    engine.isAway = true;
    await codeOf(store.names());
    expect(store.health().state).toBe('retrying');
    engine.isAway = false;
    await until(() => store.health().state === 'ready');
  });

  it('append() stores what one turn submits with one write, of all partitions', async () => {
    const engine = newEngine();
    const store = await opened(engine);
    const partitions = await Promise.all(['a', 'b', 'c'].map((name) => store.create(name)));
    const verdicts = partitions.flatMap((partition) => [1, 2, 3].map(() => verdict(partition, batch(['v']))));
    await Promise.all(verdicts);
    expect(engine.runsSeen.map(({ handle, batches }) => [handle.name, batches.length])).toEqual([
      ['a', 3],
      ['b', 3],
      ['c', 3],
    ]);
  });

  it('append() makes no run longer than the engine wants, unless one append is', async () => {
    const engine = newEngine();
    const partition = await (await opened(engine)).create('p');
    const sizes = [100, 1500, 800, 5000, 10];
    await Promise.all(sizes.map((size) => stored(partition, batch(['x'.repeat(size)]))));
    expect(engine.runsSeen.map(({ batches }) => batches.length)).toEqual([2, 1, 1, 1]);
  });

  it('append() answers STORAGE_UNAVAILABLE when the engine is away for too long, and nothing was stored', async () => {
    const engine = newEngine();
    const clock = new Clock();
    const store = await opened(engine, { waitMsMax, now: clock.now });
    const partition = await store.create('p');
    await stored(partition, batch(['before']));
    engine.rates = { ...noFaults, refused: 1 };
    const refused = [1, 2, 3].map(() => verdict(partition, batch(['lost'])));
    await until(() => engine.resets > 2);
    clock.runOut();
    const verdicts = await Promise.all(refused);
    expect(verdicts).toEqual(verdicts.map(() => 'STORAGE_UNAVAILABLE'));
    expect(store.health()).toMatchObject({ state: 'retrying', reason: 'no connection' });
    engine.rates = noFaults;
    expect(await verdict(partition, batch(['after']))).toBe(1);
    expect(await readValues(partition)).toEqual(['0:before', '1:after']);
    expect(store.health().state).toBe('ready');
  });

  it('append() answers STORAGE_UNCERTAIN when it cannot find out, and finds out later', async () => {
    const engine = newEngine();
    const clock = new Clock();
    const store = await opened(engine, { waitMsMax, now: clock.now });
    const partition = await store.create('p');
    engine.rates = { ...noFaults, lostAfter: 1 };
    const lost = verdict(partition, produced({ producerId: 1, producerEpoch: 0 }, 0, ['maybe']));
    while (engine.runsSeen.length === 0) await new Promise(setImmediate);
    engine.isAway = true;
    await until(() => engine.resets > 1);
    clock.runOut();
    expect(await lost).toBe('STORAGE_UNCERTAIN');
    engine.isAway = false;
    engine.rates = noFaults;
    expect(await verdict(partition, batch(['after']))).toBe(1);
    const again = await append(partition, produced({ producerId: 1, producerEpoch: 0 }, 0, ['maybe']));
    expect(again).toMatchObject({ baseOffset: 0, isDuplicate: true });
    expect(await readValues(partition)).toEqual(['0:maybe', '1:after']);
  });

  it('append() takes in a write that arrives long after it was given up, and stores behind it', async () => {
    const engine = newEngine();
    const clock = new Clock();
    const store = await opened(engine, { waitMsMax, now: clock.now });
    const partition = await store.create('p');
    const [one, two] = [1, 2].map((producerId) => ({ producerId, producerEpoch: 0 }));
    let arrive = (): Promise<unknown> => Promise.resolve();
    engine.plans.push((forward) => {
      arrive = forward;
      engine.isAway = true;
      return Promise.reject(new EngineLostError('cut off'));
    });
    const lost = verdict(partition, produced(one, 0, ['late', 'late too']));
    await until(() => engine.isAway);
    clock.runOut();
    expect(await lost).toBe('STORAGE_UNCERTAIN');
    engine.isAway = false;
    await until(() => store.health().state === 'ready');
    const later: Promise<AppendAnswer>[] = [];
    engine.plans.push(async (forward) => {
      await arrive();
      later.push(append(partition, batch(['second'])));
      return forward();
    });
    later.push(append(partition, produced(two, 0, ['first'])));
    expect(await later[0]).toMatchObject({ error: null, baseOffset: 2, isDuplicate: false });
    expect(await later[1]).toMatchObject({ error: null, baseOffset: 3 });
    expect(await append(partition, produced(one, 0, ['late', 'late too']))).toMatchObject({
      baseOffset: 0,
      isDuplicate: true,
    });
    expect(await readValues(partition)).toEqual(['0:late', '1:late too', '2:first', '3:second']);
    expect(await partition.places()).toMatchObject({ logEndOffset: 4, lastStableOffset: 4 });
  });

  it('append() refuses repetitions of what the engine refused', async () => {
    const engine = newEngine();
    const partition = await (await opened(engine)).create('p');
    engine.plans.push(async () => [new StorageError('STORAGE_DISK_FULL', 'full')]);
    const bytes = produced({ producerId: 1, producerEpoch: 0 }, 0, ['v']);
    const [first, again] = await Promise.all([verdict(partition, bytes), verdict(partition, bytes)]);
    expect([first, again]).toEqual(['STORAGE_DISK_FULL', 'STORAGE_DISK_FULL']);
    expect(await append(partition, bytes)).toMatchObject({ error: null, baseOffset: 0, isDuplicate: false });
  });

  it('append() does not send what it has answered with STORAGE_UNAVAILABLE', async () => {
    const engine = newEngine();
    const clock = new Clock();
    const store = await opened(engine, { waitMsMax, now: clock.now, callTimeoutMs: 5000 });
    const [partition, busy] = [await store.create('p'), await store.create('busy')];
    const held = Promise.withResolvers<void>();
    let isHeld = false;
    const others: Promise<unknown>[] = [];
    engine.plans.push(
      () => {
        engine.isAway = true;
        others.push(verdict(busy, batch(['slow'])));
        return Promise.reject(new StorageError('STORAGE_UNAVAILABLE', 'no connection'));
      },
      // The only write at a time: what waits behind it is known not to be sent.
      async (forward) => {
        engine.isAway = false;
        isHeld = true;
        await held.promise;
        return forward();
      },
    );
    const refused = verdict(partition, batch(['refused']));
    await until(() => isHeld && store.health().state === 'ready');
    clock.runOut();
    expect(await refused).toBe('STORAGE_UNAVAILABLE');
    held.resolve();
    await Promise.all(others);
    expect(await verdict(partition, batch(['next']))).toBe(0);
    expect(await readValues(partition)).toEqual(['0:next']);
  });

  it('append() waits while the engine is away, and is stored once when it is back', async () => {
    const engine = newEngine();
    const store = await opened(engine);
    const partition = await store.create('p');
    const health: StoreHealth['state'][] = [];
    store.onHealth(({ state }) => health.push(state));
    engine.isAway = true;
    const verdicts = Array.from({ length: 20 }, (_, at) => verdict(partition, batch([`v${at}`])));
    await until(() => engine.resets > 2);
    engine.isAway = false;
    expect(await Promise.all(verdicts)).toEqual(verdicts.map((_, at) => at));
    expect((await readValues(partition)).length).toBe(20);
    expect(health).toEqual(['retrying', 'ready']);
  });

  it('append() refuses what is too much to wait', async () => {
    const engine = newEngine();
    const store = await opened(engine, { waitingBytesMax: 1000 });
    const partition = await store.create('p');
    engine.isAway = true;
    const verdicts = Array.from({ length: 6 }, () => verdict(partition, batch(['x'.repeat(250)])));
    expect(await Promise.all(verdicts.slice(3))).toEqual(Array(3).fill('STORAGE_UNAVAILABLE'));
    engine.isAway = false;
    expect(await Promise.all(verdicts.slice(0, 3))).toEqual([0, 1, 2]);
    expect(await verdict(partition, batch(['x'.repeat(250)]))).toBe(3);
  });

  it('append() is refused with STORAGE_LEADER_FENCED once there is a newer writer, and open() takes over again', async () => {
    const engine = newEngine();
    const first = await opened(engine);
    const second = await opened(engine);
    const old = await first.create('p');
    await stored(old, batch(['a']));
    const young = await second.open('p');
    expect(await stored(young, batch(['b']))).toBe(1);
    expect(await verdict(old, batch(['c']))).toBe('STORAGE_LEADER_FENCED');
    expect(await codeOf(old.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_LEADER_FENCED');
    expect(await first.open('p')).toBe(old);
    expect(await stored(old, batch(['d']))).toBe(2);
    expect(await verdict(young, batch(['e']))).toBe('STORAGE_LEADER_FENCED');
    expect(await readValues(old)).toEqual(['0:a', '1:b', '2:d']);
  });

  it('append() keeps what an old writer stored before the new one did, and fences the old one then', async () => {
    // The end is the only condition that this engine checks together with the write.
    class LaxEngine extends MemoryEngine {
      #newest = 0;

      override async claim(name: string): Promise<EngineClaim | null> {
        const claim = await super.claim(name);
        this.#newest = claim?.handle.writer ?? 0;
        return claim;
      }

      override append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
        return super.append(runs.map((run) => ({ ...run, handle: { ...run.handle, writer: this.#newest } })));
      }
    }
    const engine = new FaultyEngine(new LaxEngine(1e8), new Random(1));
    const [first, second] = [await opened(engine), await opened(engine)];
    const old = await first.create('p');
    await stored(old, batch(['a']));
    const young = await second.open('p');
    expect(await stored(old, produced({ producerId: 1, producerEpoch: 0 }, 0, ['b']))).toBe(1);
    expect(await stored(young, batch(['c']))).toBe(2);
    expect(await append(young, produced({ producerId: 1, producerEpoch: 0 }, 0, ['b']))).toMatchObject({
      baseOffset: 1,
      isDuplicate: true,
    });
    expect(await verdict(old, batch(['d']))).toBe('STORAGE_LEADER_FENCED');
    expect(await readValues(young)).toEqual(['0:a', '1:b', '2:c']);
  });

  it('read() answers STORAGE_UNAVAILABLE when the engine stays away, and what is stored when it is back', async () => {
    const engine = newEngine();
    const store = await opened(engine, { readWaitMsMax: 20 });
    const partition = await store.create('p');
    await stored(partition, batch(['a']));
    engine.isAway = true;
    expect(await codeOf(partition.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_UNAVAILABLE');
    expect(await codeOf(store.names())).toBe('STORAGE_UNAVAILABLE');
    engine.isAway = false;
    expect(await readValues(partition)).toEqual(['0:a']);
  });

  it('read() names the offset of stored bytes that are damaged, and goes on in front of them', async () => {
    const engine = newEngine();
    const store = await opened(engine);
    const partition = await store.create('p');
    for (const value of ['a', 'b', 'c']) await stored(partition, batch([value]));
    const damaged = engine.runsSeen[1].bytes;
    damaged[damaged.length - 1] ^= 1;
    const { nextOffset } = await partition.read({ offset: 0, bytesMax: 1e6 });
    expect(nextOffset).toBe(1);
    await expect(partition.read({ offset: 1, bytesMax: 1e6 })).rejects.toThrow(/^Cannot read offset 1 of "p"/);
    expect(await readValues(partition, 2)).toEqual(['2:c']);
    expect(await partition.offsetForTime(0)).toMatchObject({ offset: 0 });
    // It opens all the same.
    const again = await (await opened(engine)).open('p');
    expect(await stored(again, batch(['d']))).toBe(3);
  });

  it('append() refuses everything after EngineFailedError, and nothing is told as stored', async () => {
    class FailingEngine extends MemoryEngine {
      override async append(): Promise<never> {
        throw new EngineFailedError('the disk is broken');
      }
    }
    const store = await StoreFront.open(new FailingEngine(1e6), quick);
    onTestFinished(() => store.close());
    const [one, two] = [await store.create('one'), await store.create('two')];
    const verdicts = await Promise.all([one, two, one].map((partition) => verdict(partition, batch(['v']))));
    expect(verdicts).toEqual(verdicts.map(() => 'STORAGE_UNCERTAIN'));
    expect(await verdict(one, batch(['v']))).toBe('STORAGE_PARTITION_FAILED');
    expect(store.health()).toMatchObject({ state: 'failed', reason: 'the disk is broken' });
    expect(await codeOf(store.names())).toBe('STORAGE_PARTITION_FAILED');
  });

  it('append() saves the producers now and then, also while there is always more to store', async () => {
    const engine = newEngine();
    const store = await opened(engine, { snapshotBytes: 2000 });
    const partition = await store.create('p');
    await new Promise<void>((resolve) => {
      let left = 100;
      const again = (): void => {
        left -= 1;
        if (left > 0) partition.append(batch(['x'.repeat(200)]), again);
        else if (left === -5) resolve();
      };
      for (let at = 0; at < 6; at += 1) again();
    });
    expect(engine.saves).toBeGreaterThan(5);
    // While a snapshot is on its way.
    await stored(partition, batch(['x'.repeat(2000)]));
    await store.close();
    const saves = engine.saves;
    const again = await (await opened(engine)).open('p');
    expect((await again.places()).logEndOffset).toBeGreaterThan(90);
    expect(engine.saves).toBe(saves);
  });

  it('create(), change(), deleteBefore() and remove() happen once, though their answers are lost', async () => {
    const engine = newEngine(3);
    const store = await opened(engine);
    engine.rates = { ...noFaults, lostBefore: 0.2, lostAfter: 0.3, refused: 0.1 };
    for (let round = 0; round < 10; round += 1) {
      const partition = await store.create('p', { retentionMs: 1 });
      for (const value of ['a', 'b', 'c']) await stored(partition, batch([value]));
      await store.change('p', { retentionMs: round + 2 });
      expect(await partition.deleteBefore(2)).toBe(2);
      expect(await readValues(partition, 2)).toEqual(['2:c']);
      expect(await store.settings('p')).toEqual({ retentionMs: round + 2 });
      expect(await codeOf(store.create('p'))).toBe('STORAGE_PARTITION_EXISTS');
      await store.remove('p');
      expect(await codeOf(store.open('p'))).toBe('STORAGE_PARTITION_UNKNOWN');
    }
  });

  it('close() ends though the engine is away', async () => {
    const engine = newEngine();
    const store = await opened(engine, { waitMsMax: 30, readWaitMsMax: 30 });
    const partition = await store.create('p');
    engine.isAway = true;
    const late = verdict(partition, batch(['v']));
    await until(() => engine.resets > 0);
    await store.close();
    expect(['STORAGE_UNAVAILABLE', 'STORAGE_UNCERTAIN']).toContain(await late);
  });

  it('StoreFront.open() rejects when the engine is not there in time', async () => {
    const engine = newEngine();
    engine.isAway = true;
    expect(await codeOf(StoreFront.open(engine, { ...quick, openWaitMsMax: 10 }))).toBe('STORAGE_UNAVAILABLE');
  });
});

interface Sent {
  readonly partition: number;
  readonly value: string;
  readonly answer: AppendAnswer;
}

/** Plain appends and appends of producers that send again after an error, over an engine that loses calls. */
async function storm(seed: number): Promise<void> {
  const random = new Random(seed);
  const engine = newEngine(seed, 1 + (seed % 3));
  const store = await opened(engine, { waitMsMax: seed % 2 === 0 ? 5000 : 25, snapshotBytes: 3000, callTimeoutMs: 20 });
  const partitions: StreamPartition[] = await Promise.all(['a', 'b', 'c'].map((name) => store.create(name)));
  const rates = { refused: 0.05, lostBefore: 0.1, lostAfter: 0.1, late: 0.1, hangs: 0.02 };
  engine.rates = rates;
  const plain: Sent[] = [];
  const produce = async (producerId: number): Promise<string[]> => {
    const at = producerId % partitions.length;
    const sent: string[] = [];
    for (let sequence = 0; sequence < 25; sequence += 1) {
      const value = `${producerId}/${sequence}`;
      const bytes = produced({ producerId, producerEpoch: 0 }, sequence, [value]);
      for (;;) {
        const { error } = await append(partitions[at], bytes);
        if (error === null) break;
        expect(error.canRetry).toBe(true);
      }
      sent.push(value);
    }
    return sent;
  };
  const flood = async (partition: number): Promise<void> => {
    for (let round = 0; round < 15; round += 1) {
      const values = Array.from({ length: random.between(1, 8) }, (_, at) => `plain ${partition}/${round}/${at}`);
      await Promise.all(
        values.map(async (value) => {
          plain.push({ partition, value, answer: await append(partitions[partition], batch([value])) });
        }),
      );
    }
  };
  const producers = [3, 4, 5, 6];
  const [sent] = await Promise.all([Promise.all(producers.map(produce)), ...partitions.map((_, at) => flood(at))]);
  engine.rates = noFaults;
  for (const [at, partition] of partitions.entries()) {
    while (typeof (await verdict(partition, batch(['last']))) === 'string');
    let next = 0;
    for (const { baseOffset, lastOffset } of await readBatches(partition)) {
      expect(baseOffset).toBe(next);
      next = lastOffset + 1;
    }
    const values = (await readValues(partition)).map((value) => value.slice(value.indexOf(':') + 1));
    const counts = new Map<string, number>();
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    for (const { partition: number, value, answer } of plain) {
      if (number !== at) continue;
      const { error, baseOffset } = answer;
      const count = counts.get(value) ?? 0;
      if (error === null) expect([value, count, values[baseOffset]]).toEqual([value, 1, value]);
      else if (error.code === 'STORAGE_UNCERTAIN') expect(count).toBeLessThanOrEqual(1);
      else expect([error.code, count]).toEqual(['STORAGE_UNAVAILABLE', 0]);
    }
    for (const [number, producerId] of producers.entries()) {
      if (producerId % partitions.length !== at) continue;
      expect(values.filter((value) => value.startsWith(`${producerId}/`))).toEqual(sent[number]);
    }
  }
}

describe('StoreFront over an engine that loses calls', () => {
  for (let seed = 1; seed <= 8; seed += 1) {
    it(`stores all that it answered, once and in order, seed ${seed}`, () => storm(seed));
  }
});
