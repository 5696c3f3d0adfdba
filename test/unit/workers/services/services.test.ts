/** Queues, cursors, delayed messages and transactions on the real journal worker, used by clients on this thread. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { batchAttributes } from '../../../../src/core/batch/batch-format.ts';
import type { AttachedConsumer, Delivery } from '../../../../src/core/ports/queues.ts';
import { servicesDefaults } from '../../../support/storage/services-settings.ts';
import { append, type RigOptions, readValues, StorageRig } from '../../../support/storage/storage-rig.ts';

const rigs: StorageRig[] = [];

function start(options: RigOptions = {}): StorageRig {
  const rig = new StorageRig(options);
  rigs.push(rig);
  return rig;
}

/** For tests that need none of their own; each has queues of its own. */
let shared: StorageRig;

beforeAll(() => {
  shared = new StorageRig();
});

afterAll(() => shared.stop());

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.stop();
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Ends the journal worker, and waits for the next one: what only asks is asked again there. */
async function kill(rig: StorageRig): Promise<void> {
  await rig.killHost();
  await rig.services[0].queues.names();
  await rig.services[1].queues.names();
}

const textOf = ({ message }: Delivery): string => message.value?.toString() ?? '';
const messages = (...values: string[]) => values.map((value) => ({ value: Buffer.from(value) }));

describe('ServicesClient.queues', () => {
  it('produces, delivers with credit over threads, settles, and forgets what was settled', async () => {
    const [one, other] = shared.services;
    await one.queues.create('jobs', { partitions: 2 });
    const got: Delivery[] = [];
    const consumer = await other.queues.attach('jobs', {
      name: 'c',
      credit: 2,
      onMessages: (some) => got.push(...some),
    });
    const places = await one.queues.produce('jobs', messages('a', 'b', 'c', 'd'));
    expect(places).toHaveLength(4);
    await until(() => got.length === 2);
    expect((await one.queues.describe('jobs')).groups[0]).toMatchObject({ inFlight: 2, ready: 2, lag: 4 });
    expect(await Promise.all(got.map((each) => consumer.acknowledge(each)))).toEqual([true, true]);
    expect(await consumer.acknowledge(got[0])).toBe(false);
    consumer.addCredit(10);
    await until(() => got.length === 4);
    expect(got.map(textOf).sort()).toEqual(['a', 'b', 'c', 'd']);
    const rest = got.slice(2);
    const settled = await one.queues.settle('jobs', 'default', [
      { action: 'acknowledge', receipt: rest[0] },
      { action: 'release', receipt: rest[1] },
    ]);
    expect(settled).toEqual([true, true]);
    await until(() => got.length === 5);
    expect(got[4]).toMatchObject({ deliveryCount: 1 });
    await consumer.close();
    expect((await one.queues.describe('jobs')).groups[0]).toMatchObject({ inFlight: 0, lag: 1, consumers: [] });
  });

  it('keeps key, headers and time, and routes by key and priority as the queue itself does', async () => {
    const [services] = shared.services;
    await services.queues.create('levels', { levels: 3, partitions: 4 });
    const key = Buffer.from('k');
    const message = {
      key,
      value: null,
      headers: [{ key: Buffer.from('h'), value: null }],
      timestampMs: 5,
      priority: 9,
    };
    const [place] = await services.queues.produce('levels', [message]);
    expect(place.partition).toMatch(/^_queue-\d+-2-\d$/);
    expect(await services.queues.route('levels', message)).toBe(place.partition);
    const [delivery] = await services.queues.receive('levels', { name: 'r', waitMs: 5_000 });
    expect(delivery.message).toMatchObject({ key, value: null, timestamp: 5, expiresAt: Number.POSITIVE_INFINITY });
    expect(delivery.message.headers).toEqual([{ key: Buffer.from('h'), value: null }]);
  });

  it('receives once, for the time that is asked for, and gives a wait up', async () => {
    const [services] = shared.services;
    await services.queues.create('once', { settings: { visibilityMs: 60_000 } });
    expect(await services.queues.receive('once', { name: 'r' })).toEqual([]);
    const stop = new AbortController();
    const waiting = services.queues.receive('once', { name: 'r', waitMs: 60_000 }, stop.signal);
    await services.queues.describe('once');
    stop.abort();
    expect(await waiting).toEqual([]);
    await services.queues.produce('once', messages('a'));
    const [first] = await services.queues.receive('once', { name: 'r', waitMs: 5_000, visibilityMs: 1 });
    expect(textOf(first)).toBe('a');
    const [again] = await services.queues.receive('once', { name: 'r', waitMs: 5_000 });
    expect(again.deliveryCount).toBe(2);
    expect(await services.queues.settle('once', 'default', [{ action: 'acknowledge', receipt: first }])).toEqual([
      false,
    ]);
    expect(await services.queues.settle('once', 'default', [{ action: 'reject', receipt: again }])).toEqual([true]);
  });

  it('refuses what is wrong with the code of the queues, and tells consumers when their queue goes', async () => {
    const [one, other] = shared.services;
    await expect(one.queues.describe('none')).rejects.toMatchObject({ name: 'QueueError', code: 'QUEUE_UNKNOWN' });
    await expect(one.queues.produce('none', messages('a'))).rejects.toMatchObject({ code: 'QUEUE_UNKNOWN' });
    await expect(one.queues.create('gone', { partitions: 0 })).rejects.toMatchObject({ code: 'QUEUE_LIMIT' });
    await expect(one.queues.create('gone', { streams: () => [] } as never)).rejects.toMatchObject({
      code: 'QUEUE_SETTING_INVALID',
    });
    await one.queues.create('gone');
    await one.queues.produce('gone', messages('a'));
    const ends: string[] = [];
    await other.queues.attach('gone', {
      name: 'c',
      onMessages: () => undefined,
      onEnd: (reason) => ends.push(reason.message),
    });
    await one.queues.delete('gone');
    await until(() => ends.length === 1);
    expect(ends[0]).toContain('there is none');
    await expect(other.queues.produce('gone', messages('b'))).rejects.toMatchObject({ code: 'QUEUE_UNKNOWN' });
    await expect(one.queues.produce('gone', messages('b'))).rejects.toMatchObject({ code: 'QUEUE_UNKNOWN' });
  });

  it('attaches a consumer again when its group is changed', async () => {
    const [services] = shared.services;
    await services.queues.create('changed');
    const got: Delivery[] = [];
    let resets = 0;
    const consumer = await services.queues.attach('changed', {
      name: 'c',
      credit: 10,
      onMessages: (some) => got.push(...some),
      onReset: () => {
        resets += 1;
      },
    });
    await services.queues.produce('changed', messages('a'));
    await until(() => got.length === 1);
    await services.queues.changeGroup('changed', 'default', { visibilityMs: 1_000 });
    await until(() => got.length === 2);
    expect([resets, got[1].deliveryCount]).toEqual([1, 2]);
    expect(await consumer.acknowledge(got[0])).toBe(false);
    expect(await consumer.acknowledge(got[1])).toBe(true);
  });

  it('sends no more to a thread than it looks at', async () => {
    const bound = 1024 * 1024;
    const rig = start({ servicesSettings: { ...servicesDefaults, deliveryBytesMax: bound } });
    const [services] = rig.services;
    await services.queues.create('a', { settings: { deliveryCount: 'async' } });
    const value = Buffer.alloc(64 * 1024);
    for (let round = 0; round < 8; round += 1) {
      await services.queues.produce(
        'a',
        Array.from({ length: 8 }, () => ({ value })),
      );
    }
    let count = 0;
    await services.queues.attach('a', {
      name: 'c',
      credit: 64,
      onMessages: (some) => {
        count += some.length;
      },
    });
    await until(() => count === 64);
  });

  it('goes on with a queue when its missing stream is there again, and serves the others meanwhile', async () => {
    const rig = start({ adapter: 'journal' });
    const [services] = rig.services;
    await rig.client.create('orders-0');
    await services.queues.create('over', { streams: ['orders-0'] });
    await services.queues.create('own');
    await rig.client.remove('orders-0');
    await kill(rig);
    await services.queues.produce('own', messages('a'));
    expect(await services.queues.names()).toEqual(['over', 'own']);
    expect(await services.queues.describe('over')).toMatchObject({ problem: expect.stringContaining('orders-0') });
    await expect(services.queues.receive('over', { name: 'r' })).rejects.toMatchObject({
      code: 'STORAGE_PARTITION_UNKNOWN',
    });
    await rig.client.create('orders-0');
    await services.queues.produce('over', messages('b'));
    expect((await services.queues.receive('over', { name: 'r', waitMs: 5_000 })).map(textOf)).toEqual(['b']);
  });
});

describe('ServicesClient after the journal worker died', () => {
  it('attaches consumers again and delivers what was not settled, with its count', async () => {
    const rig = start({ adapter: 'journal' });
    const [services] = rig.services;
    await services.queues.create('jobs');
    const got: Delivery[] = [];
    let resets = 0;
    const consumer: AttachedConsumer = await services.queues.attach('jobs', {
      name: 'c',
      credit: 10,
      onMessages: (some) => got.push(...some),
      onReset: () => {
        resets += 1;
        got.length = 0;
      },
    });
    await services.queues.produce('jobs', messages('a', 'b'));
    await until(() => got.length === 2);
    const [kept, settled] = got;
    expect(await consumer.acknowledge(settled)).toBe(true);
    await kill(rig);
    await until(() => resets === 1 && got.length === 1);
    expect(got[0]).toMatchObject({ offset: kept.offset, deliveryCount: 2 });
    expect(await consumer.acknowledge(kept)).toBe(false);
    expect(await consumer.acknowledge(got[0])).toBe(true);
    expect((await services.queues.describe('jobs')).groups[0]).toMatchObject({ lag: 0 });
  });

  it('answers a call that was under way as uncertain, asks again what only asks, and lets later ones wait', async () => {
    const rig = start({ adapter: 'journal' });
    const [services] = rig.services;
    await services.queues.create('a');
    const underWay = services.queues.create('b').then(
      () => 'done',
      (error: { code: string }) => error.code,
    );
    const asked = services.queues.names();
    // What was posted in this turn has left.
    await Promise.resolve();
    await rig.killHost();
    expect(['done', 'STORAGE_UNCERTAIN']).toContain(await underWay);
    expect(await asked).toContain('a');
    expect(await services.queues.names()).toContain('a');
  });

  it('refuses calls when there is nobody to do them', async () => {
    const rig = start({
      servicesSettings: { ...servicesDefaults, callTimeoutMs: 300, callsMax: 2 },
      adapter: 'nowhere',
    });
    const [services] = rig.services;
    const answers = await Promise.allSettled([1, 2, 3].map(() => services.queues.create('a')));
    expect(answers.map((each) => each.status === 'rejected' && each.reason.code)).toEqual([
      'STORAGE_UNAVAILABLE',
      'STORAGE_UNAVAILABLE',
      'STORAGE_UNAVAILABLE',
    ]);
  });
});

describe('ServicesClient.cursors', () => {
  it('commits, reads, fences, and forgets cursors of a stream that is removed', async () => {
    const rig = start({ adapter: 'journal' });
    const [one, other] = rig.services;
    await rig.client.create('orders-0');
    await one.cursors.commit('readers', null, [{ stream: 'orders-0', offset: 7, metadata: 'm' }]);
    expect(await other.cursors.fetch('readers', ['orders-0', 'x-0'])).toMatchObject([
      { cursor: { offset: 7, metadata: 'm' }, isStaged: false },
      { cursor: null },
    ]);
    await one.cursors.claim('readers', 3);
    await expect(one.cursors.commit('readers', null, [{ stream: 'orders-0', offset: 8 }])).rejects.toMatchObject({
      code: 'QUEUE_GENERATION_STALE',
    });
    await one.cursors.commit('readers', 3, [{ stream: 'orders-0', offset: 8 }]);
    await kill(rig);
    expect(await other.cursors.describe('readers')).toMatchObject({ state: 'claimed', generation: 3 });
    expect((await other.cursors.describe('readers')).cursors.get('orders-0')).toMatchObject({ offset: 8 });
    await kill(rig);
    await rig.client.remove('orders-0');
    await until(async () => (await other.cursors.fetch('readers', ['orders-0']))[0].cursor === null);
    await one.cursors.release('readers', 3);
    await one.cursors.deleteGroup('readers').catch(() => undefined);
    expect(await one.cursors.groups()).toEqual([]);
  });
});

describe('ServicesClient.delayed', () => {
  it('writes messages when they are due, also when the journal worker dies before, and cancels', async () => {
    const rig = start({ adapter: 'journal' });
    const [services] = rig.services;
    const target = await rig.client.create('later-0');
    const message = (value: string) => ({
      target: 'later-0',
      record: { timestampMs: Date.now(), key: Buffer.from('k'), value: Buffer.from(value) },
    });
    await services.delayed.acceptAfter(50, message('soon'));
    const far = await services.delayed.acceptAfter(3_600_000, message('never'));
    const kept = await services.delayed.acceptAfter(1_500, message('after the death'));
    expect(kept.dueMs).toBeGreaterThan(Date.now());
    await until(async () => (await readValues(target)).size === 1);
    const { messages: listed, isComplete } = await services.delayed.list(10);
    expect(isComplete).toBe(true);
    expect(listed.map(({ number }) => number)).toEqual([kept.number, far.number]);
    await kill(rig);
    expect(['cancelled', 'recorded']).toContain(await services.delayed.cancel(far));
    await until(async () => (await readValues(target)).size === 2);
    expect([...(await readValues(target)).values()]).toEqual(['soon', 'after the death']);
    expect(await services.delayed.cancel(kept)).toBe('tooLate');
    expect((await services.delayed.list(10)).messages).toEqual([]);
    await until(() => rig.metric('ringmq_delayed_written_total') === 2);
  });

  it('refuses targets that are not there or the broker’s own, and what is out of bounds', async () => {
    const [services] = shared.services;
    const record = { timestampMs: 1, value: Buffer.from('x') };
    const accept = (target: string, delayMs: number) => services.delayed.acceptAfter(delayMs, { target, record });
    await expect(accept('none-0', 1)).rejects.toMatchObject({ code: 'STORAGE_PARTITION_UNKNOWN' });
    await expect(accept('_ringmq.queues', 1)).rejects.toMatchObject({ code: 'STORAGE_NAME_INVALID' });
    await expect(accept('a b', 1)).rejects.toMatchObject({ name: 'DelayedError', code: 'DELAYED_INVALID' });
    await expect(accept('none-0', Number.NaN)).rejects.toMatchObject({ code: 'DELAYED_INVALID' });
  });
});

describe('ServicesClient.transactions', () => {
  it('commits output and cursors together, and gives up what a death of the journal worker left', async () => {
    const rig = start({ adapter: 'journal' });
    const [services] = rig.services;
    const partition = await rig.client.create('out-0');
    const batch = (producer: { producerId: number; producerEpoch: number }, value: string): Buffer => {
      const builder = new BatchBuilder({ ...producer, baseSequence: 0, attributes: batchAttributes.transactional });
      builder.add({ timestampMs: 1, value: Buffer.from(value) });
      return builder.build();
    };
    const stable = async (): Promise<number> => (await partition.places()).lastStableOffset;
    const first = await services.transactions.initialize('t', 60_000);
    await services.transactions.addPartitions('t', first, ['out-0']);
    await services.transactions.verify('t', first, 'out-0');
    expect((await append(partition, batch(first, 'a'))).error).toBeNull();
    await services.transactions.addOffsets('t', first, 'g', null, [{ stream: 'in-0', offset: 5 }]);
    expect(await services.cursors.fetch('g', ['in-0'])).toMatchObject([{ cursor: null, isStaged: true }]);
    const next = await services.transactions.end('t', first, 'commit');
    expect(next.producerEpoch).toBe(first.producerEpoch + 1);
    await until(async () => (await stable()) === 2);
    await until(async () => (await services.cursors.fetch('g', ['in-0']))[0].cursor?.offset === 5);
    await until(async () => (await services.transactions.describe('t')).state === 'completeCommit');
    await services.transactions.addPartitions('t', next, ['out-0']);
    expect((await append(partition, batch(next, 'b'))).error).toBeNull();
    expect(await services.transactions.list()).toMatchObject([{ name: 't', state: 'ongoing', partitions: ['out-0'] }]);
    await kill(rig);
    expect(await services.transactions.describe('t')).toMatchObject({ state: 'ongoing' });
    await services.transactions.abort('t');
    await until(async () => (await stable()) === 4);
    await expect(services.transactions.abort('t')).rejects.toMatchObject({ code: 'TRANSACTION_STATE' });
    await expect(services.transactions.end('t', next, 'commit')).rejects.toMatchObject({ name: 'TransactionError' });
    await expect(services.producers.open('__delayed')).rejects.toMatchObject({ code: 'TRANSACTION_INVALID' });
    expect(await services.producers.open('p')).toMatchObject({ producerEpoch: 0 });
    expect(await services.producers.open('p')).toMatchObject({ producerEpoch: 1 });
  });

  it('aborts what takes too long, without anybody asking', async () => {
    const rig = start({ adapter: 'journal' });
    const [services] = rig.services;
    await rig.client.create('out-0');
    const producer = await services.transactions.initialize('slow', 200);
    await services.transactions.addPartitions('slow', producer, ['out-0']);
    await until(() => rig.metric('ringmq_transactions_aborted_total') === 1);
    expect(await services.transactions.describe('slow')).toMatchObject({ state: 'completeAbort' });
  });
});

describe('ServicesClient.halves', () => {
  it('asks a member of the group on some thread, and writes what is committed once', async () => {
    const halfMessages = { ...servicesDefaults.halfMessages, firstCheckMs: 100, checkMs: 100 };
    const rig = start({ adapter: 'journal', servicesSettings: { ...servicesDefaults, halfMessages } });
    const [one, other] = rig.services;
    const target = await rig.client.create('out-0');
    const record = (value: string) => ({ timestampMs: 1, value: Buffer.from(value) });
    const asked: string[] = [];
    other.halves.onCheck('g', ({ number, record: { value }, target: name, count }) => {
      asked.push(`${Buffer.from(value ?? []).toString()} ${name} ${count}`);
      void other.halves.commit(number);
    });
    await one.halves.prepare('g', 'out-0', record('forgotten'));
    const undone = await one.halves.prepare('h', 'out-0', record('undone'));
    const done = await one.halves.prepare('h', 'out-0', record('done'));
    await one.halves.commit(done);
    await one.halves.rollback(undone);
    await until(async () => (await readValues(target)).size === 2);
    expect([...(await readValues(target)).values()]).toEqual(['done', 'forgotten']);
    expect(asked).toEqual(['forgotten out-0 1']);
    await expect(one.halves.commit(done)).rejects.toMatchObject({ code: 'TRANSACTION_UNKNOWN' });
    await expect(one.halves.prepare('g', 'none-0', record('x'))).rejects.toMatchObject({
      code: 'STORAGE_PARTITION_UNKNOWN',
    });
  });
});
