import { expect, test } from 'vitest';
import { QueueService } from '../../../../src/core/queues/queue-service.ts';
import { publish, World } from './fixture.ts';
import { drive, Inbox } from './set-fixture.ts';

function open(world: World): Promise<QueueService> {
  return drive(world, QueueService.open({ store: world.store, context: world.context }));
}

test('QueueService createQueue() makes a queue that survives a restart', async () => {
  const world = new World();
  let service = await open(world);
  await drive(world, service.createQueue('orders/ü', { levels: 2, partitions: 2, settings: { visibilityMs: 50 } }));
  await expect(drive(world, service.createQueue('orders/ü'))).rejects.toMatchObject({ code: 'QUEUE_EXISTS' });
  const stream = service.route('orders/ü', Buffer.from('k'), 9).name;
  expect(stream).toBe(service.route('orders/ü', Buffer.from('k'), 1).name);
  await publish(world, stream, [{ key: 'k', value: 'a' }]);
  world.crash();
  service = await open(world);
  expect(service.queues()).toEqual(['orders/ü']);
  expect(service.route('orders/ü', Buffer.from('k'), 9).name).toBe(stream);
  const set = service.group('orders/ü');
  expect(set.settings.visibilityMs).toBe(50);
  const inbox = new Inbox(set);
  await world.settle();
  expect(inbox.texts()).toEqual(['a']);
  set.acknowledge(inbox.all[0]);
  await drive(world, service.close());
  world.crash();
  service = await open(world);
  expect(await drive(world, service.describe('orders/ü'))).toMatchObject({
    levels: 2,
    ownsStreams: true,
    groups: [{ group: 'default', lag: 0, problems: [] }],
  });
});

test('QueueService has groups with settings and places of their own over existing streams', async () => {
  const world = new World();
  await world.store.create('log');
  await publish(world, 'log', ['a', 'b']);
  const service = await open(world);
  await drive(world, service.createQueue('q', { streams: ['log'] }));
  await drive(world, service.createGroup('q', 'late', { order: 'key' }, 'latest'));
  await publish(world, 'log', ['c']);
  const early = new Inbox(service.group('q'));
  const late = new Inbox(service.group('q', 'late'));
  await world.settle();
  expect([early.texts(), late.texts()]).toEqual([['a', 'b', 'c'], ['c']]);
  await drive(world, service.changeGroup('q', 'late', { deliveriesMax: 5 }));
  expect(late.end).toMatchObject({ code: 'QUEUE_CLOSED' });
  const again = new Inbox(service.group('q', 'late'));
  await world.settle();
  expect(again.texts()).toEqual(['c×2']);
  expect(service.group('q', 'late').settings).toMatchObject({ order: 'key', deliveriesMax: 5 });
  await drive(world, service.deleteGroup('q', 'late'));
  expect(() => service.group('q', 'late')).toThrow('there is none');
  await drive(world, service.deleteQueue('q'));
  expect([...world.disks.keys()].sort()).toEqual(['_ringmq.offsets', '_ringmq.queues', 'log']);
});

test('QueueService ends a deletion that a crash has cut short, and never gives an id twice', async () => {
  const world = new World();
  let service = await open(world);
  await drive(world, service.createQueue('q'));
  const id = service.definition('q').id;
  const deleting = service.deleteQueue('q');
  deleting.catch(() => undefined);
  // The definition says that it is being deleted, and nothing more was done.
  while (world.records('_ringmq.queues').filter(({ value }) => value?.includes('"isDeleting":true')).length === 0) {
    world.turn();
    await Promise.resolve();
  }
  world.crash();
  service = await open(world);
  expect(service.queues()).toEqual([]);
  expect([...world.disks.keys()].sort()).toEqual(['_ringmq.offsets', '_ringmq.queues']);
  await drive(world, service.createQueue('q'));
  expect(service.definition('q').id).toBeGreaterThan(id + 1);
});

test('QueueService trim() deletes what all groups have settled', async () => {
  const world = new World();
  const service = await open(world);
  await drive(world, service.createQueue('q'));
  const stream = service.route('q', null).name;
  const set = service.group('q');
  const inbox = new Inbox(set, { inFlightMax: 10 });
  for (let round = 0; round < 3000; round += 100) {
    await publish(
      world,
      stream,
      Array.from({ length: 100 }, () => 'x'),
    );
    for (let part = 0; part < 10; part += 1) {
      await world.settle();
      set.setCredit(inbox.consumer, 100);
      for (const delivery of inbox.take()) set.acknowledge(delivery);
    }
  }
  await world.settle();
  expect(world.disk(stream).start).toBeGreaterThan(1000);
});

test('QueueService refuses what makes no sense', async () => {
  const world = new World();
  const service = await open(world);
  const invalid = { code: 'QUEUE_SETTING_INVALID' };
  await expect(drive(world, service.createQueue(''))).rejects.toMatchObject(invalid);
  await expect(drive(world, service.createQueue('q', { streams: ['x'], levels: 2 }))).rejects.toMatchObject(invalid);
  await expect(drive(world, service.createQueue('q', { settings: { holesMax: 0 } }))).rejects.toMatchObject(invalid);
  await expect(drive(world, service.createQueue('q', { levels: 33 }))).rejects.toMatchObject({ code: 'QUEUE_LIMIT' });
  await expect(drive(world, service.createQueue('q', { streams: ['x'] }))).rejects.toMatchObject({
    code: 'STORAGE_PARTITION_UNKNOWN',
  });
  const settings = { deadLetterStream: 'x' };
  await expect(drive(world, service.createQueue('q', { settings }))).rejects.toMatchObject({
    code: 'STORAGE_PARTITION_UNKNOWN',
  });
  expect(service.queues()).toEqual([]);
  expect(() => service.group('q')).toThrow('there is none');
});
