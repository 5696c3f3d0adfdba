/** The storage client against the real journal worker: order, bounds, sizes, reads, notices, and the death of the worker. */
import { afterEach, describe, expect, it } from 'vitest';
import type { AppendAnswer, StreamPartition } from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { append, batchOf, type RigOptions, readValues, StorageRig } from '../../../support/storage/storage-rig.ts';

const rigs: StorageRig[] = [];

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.stop();
});

function start(options: RigOptions = {}): StorageRig {
  const rig = new StorageRig(options);
  rigs.push(rig);
  return rig;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => (error instanceof StorageError ? error.code : String(error)),
  );
}

/** Appends `count` numbered records, one per batch, `inflight` at a time. */
function load(partition: StreamPartition, count: number, inflight: number, prefix = ''): Promise<AppendAnswer[]> {
  return new Promise((resolve) => {
    const answers: AppendAnswer[] = [];
    let sent = 0;
    const send = (): void => {
      const number = sent++;
      partition.append(batchOf(`${prefix}${number}`), (answer) => {
        answers.push(answer);
        if (sent < count) send();
        else if (answers.length === count) resolve(answers);
      });
    };
    for (let index = 0; index < Math.min(inflight, count); index += 1) send();
  });
}

describe.each(['memory', 'journal'])('StorageClient over %s', (adapter) => {
  it('append() answers with dense offsets, in order, never inside of the call', async () => {
    const { client } = start({ adapter });
    const partition = await client.create('a-0');
    let isInside = true;
    const first = new Promise<AppendAnswer>((resolve) => {
      partition.append(batchOf('x', 'y'), (answer) => {
        expect(isInside).toBe(false);
        resolve(answer);
      });
    });
    isInside = false;
    expect(await first).toEqual({ error: null, baseOffset: 0, lastOffset: 1, isDuplicate: false });
    const answers = await load(partition, 3_000, 100);
    expect(answers.map(({ baseOffset }) => baseOffset)).toEqual(Array.from({ length: 3_000 }, (_, at) => at + 2));
    const values = await readValues(partition);
    expect(values.size).toBe(3_002);
    for (let number = 0; number < 3_000; number += 1) expect(values.get(number + 2)).toBe(String(number));
    expect(await partition.places()).toMatchObject({ logStartOffset: 0, logEndOffset: 3_002, highWatermark: 3_002 });
  });

  it('batches of several threads and all sizes arrive whole', async () => {
    const rig = start({ adapter });
    await rig.client.create('a-0');
    const sizes = [0, 1, 1_000, 100_000, 250_000, 300_000, 3_000_000];
    const expected: string[] = [];
    await Promise.all(
      [rig.client, ...rig.clients].map(async (client, number) => {
        const partition = await client.open('a-0');
        const bases: number[] = [];
        await Promise.all(
          sizes.map(async (size) => {
            const { error, baseOffset } = await append(partition, batchOf(`${number}`.repeat(size + 1)));
            expect(error).toBe(null);
            bases.push(baseOffset);
            expected[baseOffset] = `${number}:${size + 1}`;
          }),
        );
        expect(bases).toEqual([...bases].sort((left, right) => left - right));
      }),
    );
    const values = await readValues(await rig.client.open('a-0'), 0, 1_000_000);
    expect([...values.values()].map((value) => `${value[0]}:${value.length}`)).toEqual(expected);
    await until(() => rig.metric('ringmq_storage_appends_moved_total') === 6);
  });

  it('append() refuses what is unsound with the code and message of the store', async () => {
    const { client } = start({ adapter });
    const partition = await client.create('a-0');
    const damaged = batchOf('x');
    damaged[65] ^= 1;
    const { error } = await append(partition, damaged);
    expect([error?.code, error?.message]).toEqual(['STORAGE_BATCH_INVALID', expect.stringContaining('CRC')]);
    expect((await append(partition, batchOf('y'))).baseOffset).toBe(0);
  });

  it('calls reject with the codes of the store', async () => {
    const rig = start({ adapter });
    const [client, other] = rig.clients;
    expect(await codeOf(client.open('a-0'))).toBe('STORAGE_PARTITION_UNKNOWN');
    expect(await codeOf(client.create('a/0'))).toBe('STORAGE_NAME_INVALID');
    const partition = await client.create('a-0', { retentionBytes: 1_000_000 });
    expect(await client.open('a-0')).toBe(partition);
    expect(await codeOf(client.create('a-0'))).toBe('STORAGE_PARTITION_EXISTS');
    expect(await client.settings('a-0')).toMatchObject({ retentionBytes: 1_000_000 });
    await client.change('a-0', { retentionBytes: 2_000_000 });
    expect(await other.settings('a-0')).toMatchObject({ retentionBytes: 2_000_000 });
    await client.create('b-0');
    expect(await other.names()).toEqual(['a-0', 'b-0']);
    expect(await codeOf(partition.read({ offset: 5, bytesMax: 1000 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    await load(partition, 20, 20);
    expect(await partition.deleteBefore(10)).toBe(10);
    expect(await codeOf(partition.read({ offset: 5, bytesMax: 1000 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    expect((await partition.offsetForTime(0))?.offset).toBe(10);
  });

  it('a partition that another thread removes serves no more, and its successor is a new one', async () => {
    const rig = start({ adapter });
    const [client, other] = rig.clients;
    const partition = await client.create('a-0');
    await load(await other.open('a-0'), 10, 10);
    await other.remove('a-0');
    await until(async () => (await append(partition, batchOf('x'))).error?.code === 'STORAGE_PARTITION_UNKNOWN');
    expect(await codeOf(partition.places())).toBe('STORAGE_PARTITION_UNKNOWN');
    const successor = await other.create('a-0');
    expect(await client.open('a-0')).not.toBe(partition);
    expect((await append(successor, batchOf('x'))).baseOffset).toBe(0);
    expect((await append(partition, batchOf('x'))).error?.code).toBe('STORAGE_PARTITION_UNKNOWN');
  });

  it('onCommitted() tells the other thread, and no more after it was ended', async () => {
    const rig = start({ adapter });
    const [client, other] = rig.clients;
    const writer = await client.create('a-0');
    const reader = await other.open('a-0');
    let told = 0;
    let end = 0;
    const ends: (number | undefined)[] = [];
    const stop = reader.onCommitted((upTo) => {
      told += 1;
      ends.push(upTo);
      void reader.places().then(({ highWatermark }) => {
        end = Math.max(end, highWatermark);
      });
    });
    // The call that asks for it is carried out before this one.
    await reader.places();
    await load(writer, 500, 50);
    await until(() => end === 500);
    expect(told).toBeLessThanOrEqual(500);
    // And how far there is something new.
    await until(() => ends.at(-1) === 500);
    expect(ends).toEqual([...ends].sort((one = -1, two = -1) => one - two));
    stop();
    await reader.places();
    const before = told;
    await load(writer, 10, 10);
    await writer.places();
    expect(told).toBe(before);
  });

  it('the death of the journal worker loses nothing that was acknowledged', async () => {
    const rig = start({ adapter, waitMsMax: 60_000 });
    const partition = await rig.clients[0].create('a-0');
    const acknowledged = new Map<number, string>();
    const codes = new Set<string>();
    let sent = 0;
    let isOver = false;
    const send = (): void => {
      if (isOver) return;
      const value = `value ${sent++}`;
      partition.append(batchOf(value), ({ error, baseOffset }) => {
        if (error === null) acknowledged.set(baseOffset, value);
        else codes.add(error.code);
        send();
      });
    };
    for (let index = 0; index < 50; index += 1) send();
    for (let round = 1; round <= 3; round += 1) {
      await until(() => acknowledged.size > round * 300);
      await rig.killHost();
      expect(rig.clients[0].health().state).not.toBe('failed');
      // What lies in memory alone is gone with its thread, and the partition with it.
      if (adapter === 'memory') break;
    }
    if (adapter === 'memory') {
      await until(() => codes.has('STORAGE_PARTITION_UNKNOWN'));
      isOver = true;
      expect(codes).toEqual(new Set(['STORAGE_UNCERTAIN', 'STORAGE_PARTITION_UNKNOWN']));
      return;
    }
    await until(() => acknowledged.size > 1_500);
    isOver = true;
    await until(() => rig.clients[0].unanswered === 0);
    expect(codes).toEqual(new Set(['STORAGE_UNCERTAIN']));
    const values = await readValues(partition);
    for (const [offset, value] of acknowledged) expect(values.get(offset)).toBe(value);
    expect([...values.keys()]).toEqual(Array.from({ length: values.size }, (_, offset) => offset));
    expect(rig.client.health().state).toBe('ready');
  });
});

describe('StorageClient', () => {
  it('append() refuses what is beyond the bound, and tells when it may go on', async () => {
    const rig = start({ unansweredBytesMax: 1024 * 1024 });
    const { client } = rig;
    const partition = await client.create('a-0');
    const answers: AppendAnswer[] = [];
    const batch = batchOf('x'.repeat(10_000));
    let drained = 0;
    client.onDrained(() => {
      drained += 1;
    });
    for (let index = 0; index < 150; index += 1) partition.append(batch, (answer) => answers.push(answer));
    expect(client.isCongested).toBe(true);
    await until(() => answers.length === 150);
    const stored = answers.filter(({ error }) => error === null);
    expect(stored.map(({ baseOffset }) => baseOffset)).toEqual(Array.from({ length: stored.length }, (_, at) => at));
    expect(stored.length).toBe(Math.floor((1024 * 1024) / batch.length));
    expect(new Set(answers.map(({ error }) => error?.code))).toEqual(new Set([undefined, 'STORAGE_UNAVAILABLE']));
    expect([client.isCongested, drained]).toEqual([false, 1]);
    // One that is larger than the bound is taken alone.
    expect((await append(partition, batchOf('y'.repeat(2 * 1024 * 1024)))).error).toBe(null);
  });

  it('append() waits, in order, while the ring is full', async () => {
    const rig = start({ requestRingBytes: 65_536 });
    const partition = await rig.client.create('a-0');
    const answers = await Promise.all(
      Array.from({ length: 2_000 }, (_, number) => append(partition, batchOf(`${number}`.padStart(500)))),
    );
    expect(answers.map(({ baseOffset }) => baseOffset)).toEqual(Array.from({ length: 2_000 }, (_, at) => at));
  });

  it('append() and calls wait for a worker that does not come, and give up after the time', async () => {
    const rig = start({ adapter: 'journal', waitMsMax: 500, restartBackoffMs: 60_000, restartBackoffMaxMs: 60_000 });
    // The first start takes as long as the machine needs.
    await until(() => rig.client.health().state === 'ready');
    const partition = await rig.client.create('a-0');
    await rig.killHost();
    await until(() => rig.client.health().state === 'retrying');
    const [{ error }, opened, places] = await Promise.all([
      append(partition, batchOf('x')),
      codeOf(rig.client.open('b-0')),
      codeOf(partition.places()),
    ]);
    expect([error?.code, opened, places]).toEqual(Array(3).fill('STORAGE_UNAVAILABLE'));
    expect(rig.client.unanswered).toBe(0);
  });

  it('close() answers what is under way and refuses what is new', async () => {
    const rig = start({ adapter: 'journal' });
    const [client, other] = rig.clients;
    const partition = await client.create('a-0');
    const answers: AppendAnswer[] = [];
    for (let index = 0; index < 300; index += 1)
      partition.append(batchOf(`${index}`), (answer) => answers.push(answer));
    await client.close();
    expect(answers.map(({ baseOffset }) => baseOffset)).toEqual(Array.from({ length: 300 }, (_, at) => at));
    expect((await append(partition, batchOf('x'))).error?.code).toBe('STORAGE_CLOSED');
    expect(await codeOf(partition.places())).toBe('STORAGE_CLOSED');
    expect((await readValues(await other.open('a-0'))).size).toBe(300);
  });

  it('health() follows the host', async () => {
    const rig = start();
    const seen: string[] = [];
    rig.client.onHealth(({ state }) => seen.push(state));
    expect(rig.client.health().state).toBe('retrying');
    await until(() => rig.client.health().state === 'ready');
    await rig.killHost();
    await until(() => seen.length >= 3);
    expect(seen).toEqual(['ready', 'retrying', 'ready']);
  });
});
