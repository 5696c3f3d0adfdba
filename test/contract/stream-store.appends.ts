/** Part of the contract of stream stores: appends to one partition and to many. */
import { expect, it } from 'vitest';
import { readBatchHeader } from '../../src/core/batch/batch-format.ts';
import type { AppendAnswer } from '../../src/core/ports/stream-store.ts';
import {
  append,
  batch,
  ownBytes,
  readBatches,
  readValues,
  sealedBatch,
  stored,
  verdict,
} from '../support/stream-batches.ts';
import { type ContractBench, itWhen } from './stream-store.harness.ts';

export function appendChecks(bench: ContractBench): void {
  it('append() gives dense offsets in the order of the calls, and answers in that order', async () => {
    const partition = await bench.partition();
    const order: number[] = [];
    const answers: AppendAnswer[] = [];
    await new Promise<void>((resolve) => {
      for (let at = 0; at < 200; at += 1) {
        const values = Array.from({ length: 1 + (at % 3) }, (_, record) => `${at}.${record}`);
        partition.append(batch(values), (answer) => {
          order.push(at);
          answers.push(answer);
          if (answers.length === 200) resolve();
        });
      }
    });
    expect(order).toEqual(order.map((_, at) => at));
    let next = 0;
    for (const [at, { error, baseOffset, lastOffset, isDuplicate }] of answers.entries()) {
      expect([error, baseOffset, lastOffset, isDuplicate]).toEqual([null, next, next + (at % 3), false]);
      next = lastOffset + 1;
    }
    const values = answers.flatMap(({ baseOffset }, at) =>
      Array.from({ length: 1 + (at % 3) }, (_, record) => `${baseOffset + record}:${at}.${record}`),
    );
    expect(await readValues(partition)).toEqual(values);
    expect(await partition.places()).toMatchObject({ logStartOffset: 0, logEndOffset: next, highWatermark: next });
  });

  it('append() never answers inside of the call, not even a refusal', async () => {
    const partition = await bench.partition();
    for (const bytes of [batch(['a']), Buffer.from('garbage')]) {
      let isInside = true;
      const wasInside = await new Promise<boolean>((resolve) => {
        partition.append(bytes, () => resolve(isInside));
        isInside = false;
      });
      expect(wasInside).toBe(false);
    }
  });

  it('append() goes on when it is called by an answer', async () => {
    const partition = await bench.partition();
    const offsets: number[] = [];
    await new Promise<void>((resolve) => {
      const again = ({ error, baseOffset }: AppendAnswer): void => {
        expect(error).toBeNull();
        offsets.push(baseOffset);
        if (offsets.length === 30) resolve();
        else partition.append(batch([`v${offsets.length}`]), again);
      };
      partition.append(batch(['v0']), again);
    });
    expect(offsets).toEqual(offsets.map((_, at) => at));
  });

  it('append() keeps several batches together', async () => {
    const partition = await bench.partition();
    await stored(partition, batch(['zero']));
    const three = [batch(['a', 'b']), batch(['c']), batch(['d', 'e', 'f'])];
    expect(await append(partition, Buffer.concat(three))).toMatchObject({ error: null, baseOffset: 1, lastOffset: 6 });
    const found = await readBatches(partition, 1);
    expect(found.map(({ baseOffset }) => baseOffset)).toEqual([1, 3, 4]);
    expect(found.map(({ bytes }) => ownBytes(bytes))).toEqual(three.map(ownBytes));
  });

  it('append() refuses what is not a sound batch, and stores nothing of it', async () => {
    const partition = await bench.partition();
    const sound = batch(['a']);
    const flipped = Buffer.from(sound);
    flipped[flipped.length - 1] ^= 1;
    const oldMagic = Buffer.from(sound);
    oldMagic[16] = 1;
    const broken = [
      Buffer.alloc(0),
      Buffer.from('garbage'),
      sound.subarray(0, sound.length - 1),
      Buffer.concat([sound, Buffer.from([0])]),
      Buffer.concat([sound, flipped]),
      flipped,
      oldMagic,
    ];
    const verdicts = broken.map((bytes) => verdict(partition, bytes));
    verdicts.push(verdict(partition, sound));
    expect(await Promise.all(verdicts)).toEqual([...broken.map(() => 'STORAGE_BATCH_INVALID'), 0]);
    expect(await readValues(partition)).toEqual(['0:a']);
  });

  it('append() leaves the bytes of the caller alone', async () => {
    const partition = await bench.partition();
    await stored(partition, batch(['first']));
    const bytes = batch(['a']);
    const copy = Buffer.from(bytes);
    expect(await stored(partition, bytes)).toBe(1);
    expect(bytes.equals(copy)).toBe(true);
    bytes.fill(0);
    expect(await readValues(partition)).toEqual(['0:first', '1:a']);
  });

  it('append() keeps batches byte for byte, compressed ones unopened', async () => {
    const partition = await bench.partition();
    const all = Array.from({ length: 256 }, (_, byte) => byte);
    const given = [
      sealedBatch(5, Buffer.from(all)),
      batch(['', 'ä€😀', '\u0000\u0001'], { keys: ['k', '', '\u0000'] }),
      sealedBatch(1, Buffer.alloc(0)),
      batch(['late'], { timestampMs: 0 }),
      batch(['early'], { timestampMs: 4_000_000_000_000 }),
    ];
    let next = 0;
    for (const bytes of given) {
      expect(await stored(partition, bytes)).toBe(next);
      next += readBatchHeader(bytes).recordCount;
    }
    const found = await readBatches(partition);
    expect(found.map(({ bytes }) => ownBytes(bytes))).toEqual(given.map(ownBytes));
    expect(found.at(-1)?.lastOffset).toBe(next - 1);
  });

  it('append() takes large batches, up to the setting', async () => {
    const { store } = await bench.open();
    const large = await store.create('large');
    const value = 'x'.repeat(3 * 1024 * 1024);
    const bytes = batch([value, value.slice(0, 100)]);
    expect(await Promise.all([verdict(large, bytes), verdict(large, bytes)])).toEqual([0, 2]);
    const [first, second] = await readBatches(large);
    expect([ownBytes(first.bytes) === ownBytes(bytes), second.bytes.length]).toEqual([true, bytes.length]);
    const small = await store.create('small', { batchBytesMax: 200 });
    expect(await verdict(small, batch(['x'.repeat(200)]))).toBe('STORAGE_BATCH_INVALID');
    expect(await verdict(small, batch(['x'.repeat(20)]))).toBe(0);
    await store.change('small', { batchBytesMax: 1000 });
    expect(await verdict(small, batch(['x'.repeat(200)]))).toBe(1);
  });

  it('append() keeps many partitions apart', async () => {
    const { store } = await bench.open();
    const partitions = await Promise.all(Array.from({ length: 12 }, (_, at) => store.create(`p-${at}`)));
    const verdicts: Promise<string | number>[] = [];
    for (let round = 0; round < 15; round += 1) {
      for (const [at, partition] of partitions.entries()) verdicts.push(verdict(partition, batch([`${at}/${round}`])));
    }
    expect(await Promise.all(verdicts)).toEqual(verdicts.map((_, at) => Math.floor(at / partitions.length)));
    for (const [at, partition] of partitions.entries()) {
      const expected = Array.from({ length: 15 }, (_, round) => `${round}:${at}/${round}`);
      expect(await readValues(partition)).toEqual(expected);
    }
  });

  it('onCommitted() tells that there is more, until it is ended', async () => {
    const partition = await bench.partition();
    let told = 0;
    let tell = (): void => undefined;
    const end = partition.onCommitted(() => {
      told += 1;
      tell();
    });
    const heard = new Promise<void>((resolve) => {
      tell = resolve;
    });
    await stored(partition, batch(['a']));
    await heard;
    expect((await partition.places()).highWatermark).toBe(1);
    end();
    const before = told;
    await stored(partition, batch(['b']));
    await partition.places();
    expect(told).toBe(before);
  });

  itWhen(bench.capabilities.isDurable)(
    'what was answered is there, with the same offsets, after reopening',
    async () => {
      const opened = await bench.open();
      let { store } = opened;
      await store.create('p');
      const expected: string[] = [];
      for (let round = 0; round < 3; round += 1) {
        const partition = await store.open('p');
        const verdicts = Array.from({ length: 20 }, (_, at) => verdict(partition, batch([`${round}.${at}`])));
        for (const [at, offset] of (await Promise.all(verdicts)).entries()) {
          expect(offset).toBe(expected.length);
          expected.push(`${expected.length}:${round}.${at}`);
        }
        store = await (round === 1 ? (opened.crash ?? opened.reopen)() : opened.reopen());
        expect(await readValues(await store.open('p'))).toEqual(expected);
      }
    },
  );
}
