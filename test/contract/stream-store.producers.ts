/** Part of the contract of stream stores: idempotent producers and transactions. */
import { expect, it } from 'vitest';
import type { StreamPartition } from '../../src/core/ports/stream-store.ts';
import { append, batch, marker, produced, readValues, stored, verdict } from '../support/stream-batches.ts';
import { type ContractBench, itWhen } from './stream-store.harness.ts';

const one = { producerId: 11, producerEpoch: 0 };
const other = { producerId: 12, producerEpoch: 0 };

/** Batches of producer `one`: sequence 0 to 7, two records each, at offsets 0 to 7. */
async function sent(partition: StreamPartition): Promise<void> {
  for (const sequence of [0, 2, 4, 6]) await stored(partition, produced(one, sequence, ['a', 'b']));
}

async function checkRepetitions(partition: StreamPartition): Promise<void> {
  for (const sequence of [6, 0, 4, 2]) {
    const answer = await append(partition, produced(one, sequence, ['a', 'b']));
    expect(answer).toEqual({ error: null, baseOffset: sequence, lastOffset: sequence + 1, isDuplicate: true });
  }
  expect(await verdict(partition, produced(one, 9, ['gap']))).toBe('STORAGE_SEQUENCE_OUT_OF_ORDER');
  expect(await verdict(partition, produced(one, 7, ['overlap']))).toBe('STORAGE_SEQUENCE_OUT_OF_ORDER');
}

export function producerChecks(bench: ContractBench): void {
  it('append() stores a batch of a producer once, and tells where it is', async () => {
    const partition = await bench.partition();
    await sent(partition);
    await checkRepetitions(partition);
    expect(await stored(partition, produced(one, 8, ['c']))).toBe(8);
    expect((await readValues(partition)).length).toBe(9);
  });

  it('append() tells a repetition of a batch that is still under way', async () => {
    const partition = await bench.partition();
    const answers = await Promise.all(
      [0, 0, 1, 0, 1, 2].map((sequence) => append(partition, produced(one, sequence, ['v']))),
    );
    expect(answers.map(({ baseOffset, isDuplicate }) => [baseOffset, isDuplicate])).toEqual([
      [0, false],
      [0, true],
      [1, false],
      [0, true],
      [1, true],
      [2, false],
    ]);
    expect((await readValues(partition)).length).toBe(3);
  });

  it('append() keeps producers apart, and begins a new epoch with sequence 0', async () => {
    const partition = await bench.partition();
    expect(await verdict(partition, produced(one, 0, ['a']))).toBe(0);
    expect(await verdict(partition, produced(other, 0, ['b']))).toBe(1);
    const newer = { ...one, producerEpoch: 1 };
    expect(await verdict(partition, produced(newer, 1, ['c']))).toBe('STORAGE_SEQUENCE_OUT_OF_ORDER');
    expect(await verdict(partition, produced(newer, 0, ['c']))).toBe(2);
    expect(await verdict(partition, produced(one, 1, ['d']))).toBe('STORAGE_PRODUCER_FENCED');
    expect(await verdict(partition, produced(other, 1, ['e']))).toBe(3);
  });

  it('append() refuses several batches at once of a producer', async () => {
    const partition = await bench.partition();
    const both = Buffer.concat([produced(one, 0, ['a']), produced(one, 1, ['b'])]);
    expect(await verdict(partition, both)).toBe('STORAGE_BATCH_INVALID');
    expect(await verdict(partition, produced(one, 0, ['a']))).toBe(0);
  });

  it('append() forgets what a refused batch said', async () => {
    const partition = await bench.partition();
    const wrong = produced(one, 5, ['a']);
    const verdicts = [wrong, batch(['x']), wrong].map((bytes) => verdict(partition, bytes));
    // The first batch of a producer that is not known is its first one, whatever its sequence.
    const [first, plain, again] = await Promise.all(verdicts);
    expect([first, plain, again]).toEqual([0, 1, 0]);
    expect(await verdict(partition, produced(one, 9, ['y']))).toBe('STORAGE_SEQUENCE_OUT_OF_ORDER');
    expect(await verdict(partition, produced(one, 6, ['y']))).toBe(2);
  });

  it('read() with `stable` ends where the oldest transaction begins that is under way', async () => {
    const partition = await bench.partition();
    await stored(partition, batch(['plain']));
    expect(await stored(partition, produced(one, 0, ['t1', 't2'], true))).toBe(1);
    expect(await stored(partition, produced(other, 0, ['u1'], true))).toBe(3);
    await stored(partition, batch(['plain too']));
    const first = await partition.read({ offset: 0, bytesMax: 1e6, isolation: 'stable' });
    expect(first).toMatchObject({ nextOffset: 1, lastStableOffset: 1, highWatermark: 5 });
    expect((await readValues(partition)).length).toBe(5);
    expect(await stored(partition, marker('commit', one))).toBe(5);
    const second = await partition.read({ offset: 1, bytesMax: 1e6, isolation: 'stable' });
    expect(second).toMatchObject({ nextOffset: 3, lastStableOffset: 3, aborted: [] });
    expect(await stored(partition, marker('abort', other))).toBe(6);
    const third = await partition.read({ offset: 0, bytesMax: 1e6, isolation: 'stable' });
    expect(third).toMatchObject({ nextOffset: 7, lastStableOffset: 7 });
    expect(third.aborted.map(({ producerId, firstOffset }) => [producerId, firstOffset])).toEqual([[12, 3]]);
    const behind = await partition.read({ offset: 7, bytesMax: 1e6, isolation: 'stable' });
    expect(behind.aborted).toEqual([]);
    expect(await readValues(partition, 0, 'stable')).toEqual(['0:plain', '1:t1', '2:t2', '3:u1', '4:plain too']);
  });

  it('places() tells the last stable offset, also of transactions one after the other', async () => {
    const partition = await bench.partition();
    for (let round = 0; round < 4; round += 1) {
      const begin = await stored(partition, produced(one, round, [`t${round}`], true));
      expect((await partition.places()).lastStableOffset).toBe(begin);
      const end = await stored(partition, marker(round % 2 === 0 ? 'abort' : 'commit', one));
      expect((await partition.places()).lastStableOffset).toBe(end + 1);
    }
    const { aborted } = await partition.read({ offset: 0, bytesMax: 1e6, isolation: 'stable' });
    expect(aborted.map(({ firstOffset, lastOffset }) => [firstOffset, lastOffset])).toEqual([
      [0, 1],
      [4, 5],
    ]);
  });

  itWhen(bench.capabilities.isDurable)('repetitions and fences are known after reopening', async () => {
    const opened = await bench.open();
    const partition = await opened.store.create('p');
    await sent(partition);
    await stored(partition, produced({ ...other, producerEpoch: 4 }, 0, ['x']));
    for (const reopen of [opened.reopen, opened.crash ?? opened.reopen, opened.reopen]) {
      const again = await (await reopen()).open('p');
      await checkRepetitions(again);
      expect(await verdict(again, produced(other, 1, ['y']))).toBe('STORAGE_PRODUCER_FENCED');
    }
    const last = await (await opened.reopen()).open('p');
    expect(await verdict(last, produced(one, 8, ['c']))).toBe(9);
  });

  itWhen(bench.capabilities.isDurable)('transactions are known after reopening, wherever they are', async () => {
    const opened = await bench.open();
    let partition = await opened.store.create('p');
    await stored(partition, produced(one, 0, ['t'], true));
    await stored(partition, marker('abort', one));
    await stored(partition, produced(other, 0, ['u'], true));
    await stored(partition, batch(['plain']));
    for (const reopen of [opened.reopen, opened.crash ?? opened.reopen]) {
      partition = await (await reopen()).open('p');
      const { nextOffset, lastStableOffset, aborted } = await partition.read({
        offset: 0,
        bytesMax: 1e6,
        isolation: 'stable',
      });
      expect([nextOffset, lastStableOffset]).toEqual([2, 2]);
      expect(aborted.map(({ producerId, firstOffset }) => [producerId, firstOffset])).toEqual([[11, 0]]);
    }
    await stored(partition, marker('commit', other));
    partition = await (await opened.reopen()).open('p');
    expect((await partition.places()).lastStableOffset).toBe(5);
    // Deletion keeps what is known of producers whose batches are gone.
    await partition.deleteBefore(5);
    partition = await (await opened.reopen()).open('p');
    expect(await append(partition, produced(other, 0, ['u'], true))).toMatchObject({
      baseOffset: 2,
      isDuplicate: true,
    });
    expect(await verdict(partition, produced(one, 1, ['t'], true))).toBe(5);
  });
}
