// Transactions by example, over the journal on simulated disks.
import { afterEach, describe, expect, it } from 'vitest';
import {
  transactionEvents,
  transactionStates,
  transactionTransitions,
} from '../../../../src/core/transactions/transaction-state.ts';
import { TransactionWorld } from './transaction-world.ts';

let world: TransactionWorld;

async function begin(...given: ConstructorParameters<typeof TransactionWorld>): Promise<TransactionWorld> {
  world = new TransactionWorld(...given);
  for (const name of ['a', 'b', 'c']) await world.store.create(name);
  await world.open();
  return world;
}

afterEach(() => world?.close());

describe('TransactionCoordinator', () => {
  it('end() with commit makes all partitions visible to stable readers, and nothing before', async () => {
    const { coordinator } = await begin();
    const producer = await coordinator.initialize('t', 60_000);
    await coordinator.addPartitions('t', producer, ['a', 'b']);
    coordinator.verify('t', producer, 'a');
    await world.write('a', producer, 0, ['1', '2']);
    await world.write('b', producer, 0, ['3']);
    expect([await world.stable('a'), await world.stable('b')]).toEqual([[], []]);
    const next = await coordinator.end('t', producer, 'commit');
    expect(next).toEqual({ producerId: producer.producerId, producerEpoch: producer.producerEpoch + 1 });
    await world.settle();
    expect([await world.stable('a'), await world.stable('b')]).toEqual([['1', '2'], ['3']]);
    expect(coordinator.describe('t').state).toBe('completeCommit');
    // Asked again, it answers the same.
    expect(await coordinator.end('t', producer, 'commit')).toEqual(next);
    await expect(coordinator.end('t', producer, 'abort')).rejects.toMatchObject({ code: 'TRANSACTION_STATE' });
  });

  it('end() with abort hides all of it, and the next transaction of the epoch goes on', async () => {
    const { coordinator } = await begin();
    const producer = await coordinator.initialize('t', 60_000);
    await coordinator.addPartitions('t', producer, ['a']);
    await world.write('a', producer, 0, ['1']);
    const next = await coordinator.end('t', producer, 'abort');
    await world.settle();
    await coordinator.addPartitions('t', next, ['a']);
    expect((await world.write('a', producer, 1, ['late'])).error?.code).toBe('STORAGE_PRODUCER_FENCED');
    await world.write('a', next, 0, ['2']);
    await coordinator.end('t', next, 'commit');
    await world.settle();
    expect(await world.stable('a')).toEqual(['2']);
  });

  it('initialize() fences the producer before and aborts its transaction', async () => {
    const { coordinator } = await begin();
    const first = await coordinator.initialize('t', 60_000);
    await coordinator.addPartitions('t', first, ['a']);
    await world.write('a', first, 0, ['1']);
    await expect(coordinator.initialize('t', 60_000)).rejects.toMatchObject({ code: 'TRANSACTION_CONCURRENT' });
    const second = await world.begin('t');
    expect(second.producerId).toBe(first.producerId);
    expect(second.producerEpoch).toBeGreaterThan(first.producerEpoch + 1);
    for (const call of [
      coordinator.addPartitions('t', first, ['b']),
      coordinator.end('t', first, 'commit'),
      coordinator.end('t', first, 'abort'),
      coordinator.initialize('t', 60_000, first),
    ]) {
      await expect(call).rejects.toMatchObject({ code: 'TRANSACTION_FENCED' });
    }
    expect((await world.write('a', first, 1, ['2'])).error?.code).toBe('STORAGE_PRODUCER_FENCED');
    expect(await world.stable('a')).toEqual([]);
    await expect(coordinator.addPartitions('t', { producerId: 99_999, producerEpoch: 0 }, ['a'])).rejects.toMatchObject(
      {
        code: 'TRANSACTION_UNKNOWN',
      },
    );
  });

  it('tick() aborts what takes too long; its producer may go on with the next epoch', async () => {
    const { coordinator } = await begin();
    const producer = await coordinator.initialize('t', 1000);
    await coordinator.addPartitions('t', producer, ['a']);
    await world.write('a', producer, 0, ['1']);
    await world.pass(900);
    expect(coordinator.describe('t').state).toBe('ongoing');
    await world.pass(400);
    expect(coordinator.describe('t').state).toBe('completeAbort');
    await expect(coordinator.addPartitions('t', producer, ['a'])).rejects.toMatchObject({ code: 'TRANSACTION_FENCED' });
    await expect(coordinator.end('t', producer, 'commit')).rejects.toMatchObject({ code: 'TRANSACTION_STATE' });
    const next = await coordinator.end('t', producer, 'abort');
    expect(next.producerEpoch).toBe(producer.producerEpoch + 1);
    const again = await coordinator.initialize('t', 1000, producer);
    expect(again.producerEpoch).toBe(producer.producerEpoch + 2);
  });

  it('tick() counts the time that was left after a restart', async () => {
    await begin();
    const producer = await world.coordinator.initialize('t', 1000);
    await world.coordinator.addPartitions('t', producer, ['a']);
    await world.pass(800);
    await world.crash();
    expect(world.coordinator.describe('t').state).toBe('ongoing');
    await world.pass(500);
    expect(world.coordinator.describe('t').state).toBe('completeAbort');
  });

  it('open() completes what was decided', async () => {
    await begin();
    const producer = await world.coordinator.initialize('t', 60_000);
    await world.coordinator.addPartitions('t', producer, ['a', 'b', 'c']);
    for (const name of ['a', 'b', 'c']) await world.write(name, producer, 0, [`in ${name}`]);
    await world.coordinator.addOffsets('t', producer, 'g', async () =>
      world.cursors.stage(producer.producerId, 'g', '7'),
    );
    await world.coordinator.end('t', producer, 'commit');
    await world.crash('drop');
    await world.settle();
    for (const name of ['a', 'b', 'c']) expect(await world.stable(name)).toEqual([`in ${name}`]);
    expect(world.cursors.set.get('g')).toBe('7');
    expect(world.coordinator.describe('t').state).toBe('completeCommit');
  });

  it('end() sets cursors with commit alone, and waits while they are being staged', async () => {
    const { coordinator } = await begin();
    const producer = await coordinator.initialize('t', 60_000);
    const stage: { go: (() => void) | null } = { go: null };
    const staged = coordinator.addOffsets('t', producer, 'g', async () => {
      await new Promise<void>((resolve) => {
        stage.go = resolve;
      });
      world.cursors.stage(producer.producerId, 'g', '1');
    });
    while (stage.go === null) await new Promise(setImmediate);
    const next = await coordinator.end('t', producer, 'abort');
    expect(coordinator.describe('t').state).toBe('prepareAbort');
    stage.go();
    await staged;
    await world.settle();
    expect(world.cursors.set.size).toBe(0);
    await coordinator.addOffsets('t', next, 'g', async () => world.cursors.stage(producer.producerId, 'g', '2'));
    world.cursors.failures = 3;
    await coordinator.end('t', next, 'commit');
    await world.settle();
    expect(world.cursors.set.get('g')).toBe('2');
  });

  it('end() leaves the epoch to clients that cannot be told a new one', async () => {
    const { coordinator } = await begin();
    const producer = await coordinator.initialize('t', 60_000);
    for (const value of ['1', '2']) {
      await coordinator.addPartitions('t', producer, ['a']);
      await world.write('a', producer, Number(value) - 1, [value]);
      expect(await coordinator.end('t', producer, 'commit', false)).toEqual(producer);
      await world.settle();
      expect(await coordinator.end('t', producer, 'commit', false)).toEqual(producer);
      await expect(coordinator.end('t', producer, 'abort', false)).rejects.toMatchObject({ code: 'TRANSACTION_STATE' });
    }
    expect(await world.stable('a')).toEqual(['1', '2']);
  });

  it('end() gives a new id when the epochs of one are used up', async () => {
    const { coordinator } = await begin();
    let producer = await coordinator.initialize('t', 60_000);
    const firstId = producer.producerId;
    const entryEpoch = 0x7ffe;
    // As many restarts of the producer as there are epochs would take long; the end of the last one is what matters.
    await exhaust(entryEpoch);
    producer = { producerId: firstId, producerEpoch: entryEpoch };
    await world.coordinator.addPartitions('t', producer, ['a']);
    await world.write('a', producer, 0, ['1']);
    const next = await world.coordinator.end('t', producer, 'commit');
    expect(next.producerId).not.toBe(firstId);
    expect(next.producerEpoch).toBe(0);
    await world.settle();
    expect(await world.coordinator.end('t', producer, 'commit')).toEqual(next);
    expect((await world.write('a', producer, 1, ['late'])).error?.code).toBe('STORAGE_PRODUCER_FENCED');
    await world.coordinator.addPartitions('t', next, ['a']);
    await world.write('a', next, 0, ['2']);
    await world.coordinator.end('t', next, 'commit');
    await world.settle();
    expect(await world.stable('a')).toEqual(['1', '2']);
  });

  it('end() completes although a partition was removed', async () => {
    const { coordinator } = await begin();
    const producer = await coordinator.initialize('t', 60_000);
    await coordinator.addPartitions('t', producer, ['a', 'b']);
    await world.store.remove('b');
    await coordinator.end('t', producer, 'commit');
    await world.settle();
    expect(coordinator.describe('t').state).toBe('completeCommit');
    expect(coordinator.markerCounts.needless).toBe(1);
  });

  it('tick() forgets names that were not used for long', async () => {
    const { coordinator } = await begin(1, { expiryMs: 3_600_000 });
    await coordinator.initialize('t', 60_000);
    await world.pass(2_000_000, 1_000_000);
    expect(coordinator.nameCount).toBe(1);
    await world.pass(3_000_000, 1_000_000);
    expect(coordinator.nameCount).toBe(0);
    await world.crash();
    expect(world.coordinator.nameCount).toBe(0);
  });

  it('initialize() and addPartitions() refuse what is out of bounds', async () => {
    const { coordinator } = await begin(1, { namesMax: 1, partitionsMax: 2 });
    await expect(coordinator.initialize('', 60_000)).rejects.toMatchObject({ code: 'TRANSACTION_INVALID' });
    await expect(coordinator.initialize('t', 1e9)).rejects.toMatchObject({ code: 'TRANSACTION_INVALID' });
    const producer = await coordinator.initialize('t', 60_000);
    await expect(coordinator.initialize('u', 60_000)).rejects.toMatchObject({ code: 'TRANSACTION_LIMIT' });
    await expect(coordinator.addPartitions('t', producer, ['a', 'b', 'c'])).rejects.toMatchObject({
      code: 'TRANSACTION_LIMIT',
    });
    expect(() => coordinator.verify('t', producer, 'a')).toThrow('its state does not allow it');
  });

  it('the table answers each event in each state', () => {
    for (const state of transactionStates) {
      expect(Object.keys(transactionTransitions[state])).toEqual([...transactionEvents]);
    }
  });
});

/** Lets the producer of `t` be in this epoch. */
async function exhaust(epoch: number): Promise<void> {
  const { KeyedStream } = await import('../../../../src/core/transactions/keyed-stream.ts');
  const { decodeTransaction, encodeTransaction } = await import(
    '../../../../src/core/transactions/transaction-record.ts'
  );
  const { store, pauses } = world;
  const log = await KeyedStream.open({ store, stream: '__transactions', pauses, now: () => world.nowMs });
  const metadata = decodeTransaction(log.get('t')!)!;
  await log.put('t', encodeTransaction({ ...metadata, producerEpoch: epoch }));
  await world.crash('keep');
}
