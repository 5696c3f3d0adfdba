import { expect, test } from 'vitest';
import { buildControlBatch } from '../../../../src/core/batch/control-batch.ts';
import { deadLetterHeaders } from '../../../../src/core/queues/dead-letter.ts';
import { expiresAtHeader } from '../../../../src/core/queues/stored-message.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { publish, World } from './fixture.ts';
import { drive, Inbox, openSet } from './set-fixture.ts';

test('AcknowledgementSet delivers in order up to the credit and the bound of the consumer', async () => {
  const world = new World();
  const set = await openSet(world);
  const inbox = new Inbox(set, { credit: 2, inFlightMax: 3 });
  await publish(world, 'p0', ['a', 'b', 'c', 'd', 'e']);
  await world.settle();
  expect(inbox.texts()).toEqual(['a', 'b']);
  set.addCredit(inbox.consumer, 10);
  await world.settle();
  expect(inbox.texts()).toEqual(['c']);
  expect(set.acknowledge(inbox.all[1])).toBe(true);
  await world.settle();
  expect(inbox.texts()).toEqual(['d']);
});

test('AcknowledgementSet acknowledge() refuses receipts that are void', async () => {
  const world = new World();
  const set = await openSet(world, { visibilityMs: 100 });
  const inbox = new Inbox(set);
  await publish(world, 'p0', ['a']);
  await world.settle();
  const [first] = inbox.take();
  await world.pass(150);
  const [second] = inbox.take();
  expect(second.deliveryCount).toBe(2);
  expect(set.acknowledge(first)).toBe(false);
  expect(set.fail(first)).toBe(false);
  expect(set.extend(first, 1000)).toBe(false);
  expect(set.acknowledge(second)).toBe(true);
  expect(set.acknowledge(second)).toBe(false);
  expect(set.counters.timedOut).toBe(1);
});

test('AcknowledgementSet counts failures and not releases', async () => {
  const world = new World();
  const set = await openSet(world);
  const inbox = new Inbox(set);
  await publish(world, 'p0', ['a']);
  await world.settle();
  set.release(inbox.all[0]);
  await world.settle();
  set.fail(inbox.all[1]);
  await world.settle();
  expect(inbox.texts()).toEqual(['a', 'a', 'a×2']);
});

test('AcknowledgementSet extend() moves the time-out', async () => {
  const world = new World();
  const set = await openSet(world, { visibilityMs: 100 });
  const inbox = new Inbox(set);
  await publish(world, 'p0', ['a']);
  await world.settle();
  await world.pass(80);
  expect(set.extend(inbox.all[0], 1000)).toBe(true);
  await world.pass(900);
  expect(inbox.all).toHaveLength(1);
  await world.pass(200);
  expect(inbox.texts()).toEqual(['a', 'a×2']);
});

test('AcknowledgementSet fail() waits for the delay, which grows', async () => {
  const world = new World();
  const set = await openSet(world, {
    visibilityMs: null,
    redelivery: { baseMs: 100, factor: 2, maxMs: 250, jitter: 0 },
  });
  const inbox = new Inbox(set);
  await publish(world, 'p0', ['a']);
  await world.settle();
  for (const delay of [100, 200, 250, 250]) {
    set.fail(inbox.all.at(-1)!);
    const count = inbox.all.length;
    await world.pass(delay - 30);
    expect(inbox.all).toHaveLength(count);
    expect(set.countOf('delayed')).toBe(1);
    await world.pass(60);
    expect(inbox.all).toHaveLength(count + 1);
  }
});

test('AcknowledgementSet gives redelivered messages their old place', async () => {
  const world = new World();
  const set = await openSet(world);
  const first = new Inbox(set, { credit: 3 });
  await publish(world, 'p0', ['a', 'b', 'c', 'd', 'e']);
  await world.settle();
  set.removeConsumer(first.consumer);
  const second = new Inbox(set, { credit: 0 });
  await world.settle();
  set.setCredit(second.consumer, 10);
  await world.settle();
  expect(second.texts()).toEqual(['a×2', 'b×2', 'c×2', 'd', 'e']);
});

test('AcknowledgementSet keeps what a consumer had that is one request long', async () => {
  const world = new World();
  const set = await openSet(world, { visibilityMs: 1000 });
  const request = new Inbox(set, { onClose: 'keep', credit: 1 });
  await publish(world, 'p0', ['a', 'b']);
  await world.settle();
  set.removeConsumer(request.consumer);
  const other = new Inbox(set);
  await world.settle();
  expect(other.texts()).toEqual(['b']);
  expect(set.acknowledge(request.all[0])).toBe(true);
  await world.pass(2000);
  expect(set.countOf('inFlight') + other.take().filter(({ offset }) => offset === 0).length).toBe(1);
});

test('AcknowledgementSet survives a restart: settled is gone, delivered is counted', async () => {
  const world = new World();
  let set = await openSet(world);
  let inbox = new Inbox(set);
  await publish(world, 'p0', ['a', 'b', 'c', 'd']);
  await world.settle();
  set.acknowledge(inbox.all[0]);
  set.acknowledge(inbox.all[2]);
  await drive(world, set.whenStored());
  world.crash();
  set = await openSet(world);
  inbox = new Inbox(set);
  await world.settle();
  expect(inbox.texts()).toEqual(['b×2', 'd×2']);
  expect((await set.describe()).lag).toBe(2);
});

test('AcknowledgementSet hands a message over only when its count is stored, unless told otherwise', async () => {
  const world = new World();
  const set = await openSet(world);
  const inbox = new Inbox(set);
  world.refusals = 1;
  await publish(world, 'p0', ['a']);
  await world.settle();
  expect(set.countOf('claimed')).toBe(1);
  expect(inbox.all).toHaveLength(0);
  world.refusals = 0;
  await world.pass(500);
  expect(inbox.texts()).toEqual(['a']);
  const other = new World();
  const hasty = await openSet(other, { deliveryCount: 'async', settlement: 'async' });
  const quick = new Inbox(hasty);
  other.refusals = 1;
  await publish(other, 'p0', ['a']);
  await other.settle();
  expect(quick.texts()).toEqual(['a']);
  hasty.acknowledge(quick.all[0]);
  await hasty.whenStored();
});

test('AcknowledgementSet bounds the holes and goes on when one is closed', async () => {
  const world = new World();
  const set = await openSet(world, { holesMax: 4, readAheadMax: 2 });
  const inbox = new Inbox(set);
  await publish(
    world,
    'p0',
    Array.from({ length: 10 }, (_, index) => String(index)),
  );
  await world.settle();
  expect(inbox.texts()).toEqual(['0', '1', '2', '3']);
  set.acknowledge(inbox.all[2]);
  await world.settle();
  expect(inbox.texts()).toEqual(['4']);
  for (let round = 0; round < 20; round += 1) {
    for (const delivery of inbox.all) set.acknowledge(delivery);
    await world.settle();
  }
  expect(inbox.all.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('AcknowledgementSet acknowledgeThrough() settles what the consumer has', async () => {
  const world = new World();
  const set = await openSet(world);
  const one = new Inbox(set, { credit: 2 });
  const other = new Inbox(set, { credit: 2 });
  await publish(world, 'p0', ['a', 'b', 'c', 'd']);
  await world.settle();
  expect([one.texts(), other.texts()]).toEqual([
    ['a', 'c'],
    ['b', 'd'],
  ]);
  expect(set.acknowledgeThrough(one.consumer, 0, 3)).toBe(2);
  expect((await set.describe()).lag).toBe(2);
});

test('AcknowledgementSet moves messages to the dead-letter stream with their history', async () => {
  const world = new World();
  const set = await openSet(world, { deliveriesMax: 2, deadLetterStream: 'dead' });
  const inbox = new Inbox(set);
  await publish(world, 'p0', [{ key: 'k', value: 'a', headers: [['x', 'y']] }, 'b']);
  await world.settle();
  const failedAt = world.wall;
  set.fail(inbox.all[0]);
  set.reject(inbox.all[1]);
  await world.settle();
  await world.pass(1000);
  set.fail(inbox.all[2]);
  await world.settle();
  expect(set.counters.deadLettered).toBe(2);
  const [b, a] = world.records('dead');
  expect([a.key, a.value, a.headers[0]]).toEqual(['k', 'a', ['x', 'y']]);
  expect(Object.fromEntries(a.headers)).toMatchObject({
    [deadLetterHeaders.reason]: 'deliveries',
    [deadLetterHeaders.queue]: 'orders',
    [deadLetterHeaders.stream]: 'p0',
    [deadLetterHeaders.partition]: '0',
    [deadLetterHeaders.offset]: '0',
    [deadLetterHeaders.deliveries]: '2',
    [deadLetterHeaders.firstFailure]: String(failedAt),
    [deadLetterHeaders.lastFailure]: String(world.wall),
  });
  expect([b.value, Object.fromEntries(b.headers)[deadLetterHeaders.reason]]).toEqual(['b', 'rejected']);
  expect((await set.describe()).lag).toBe(0);
});

test('AcknowledgementSet keeps dead letters while their stream takes none', async () => {
  const world = new World();
  const set = await openSet(world, { deadLetterStream: 'dead' });
  const inbox = new Inbox(set);
  world.refused.set('dead', new StorageError('STORAGE_PARTITION_UNKNOWN', 'it is away'));
  await publish(world, 'p0', ['a']);
  await world.settle();
  set.reject(inbox.all[0]);
  await world.pass(1000);
  const described = await set.describe();
  expect([described.dying, described.problems]).toEqual([1, ['it is away']]);
  world.refused.clear();
  await world.pass(60_000);
  expect(world.records('dead').map(({ value }) => value)).toEqual(['a']);
});

test('AcknowledgementSet begins a new epoch when the dead-letter stream was made anew', async () => {
  const world = new World();
  const set = await openSet(world, { deadLetterStream: 'dead' });
  const inbox = new Inbox(set);
  await publish(world, 'p0', ['a', 'b']);
  await world.settle();
  world.refused.set('dead', new StorageError('STORAGE_SEQUENCE_OUT_OF_ORDER', 'forgotten'));
  set.reject(inbox.all[0]);
  world.turn();
  world.turn();
  world.turn();
  world.refused.clear();
  await world.settle();
  set.reject(inbox.all[1]);
  await world.settle();
  expect(world.records('dead').map(({ value }) => value)).toEqual(['a', 'b']);
});

test('AcknowledgementSet drops or dead-letters expired messages, by age and by header', async () => {
  const world = new World();
  const dropping = await openSet(world, { ttlMs: 5000 });
  const expiresAt = [expiresAtHeader, String(world.wall + 1000)] as const;
  await publish(world, 'p0', [{ value: 'short', headers: [expiresAt] }, 'long']);
  await world.pass(3000);
  expect((await dropping.describe()).ready).toBe(1);
  await world.pass(3000);
  const described = await dropping.describe();
  expect([described.ready, described.counters.expired]).toEqual([0, 2]);
  const other = new World();
  const burying = await openSet(other, { ttlMs: 1000, expired: 'dead-letter', deadLetterStream: 'dead' });
  await publish(other, 'p0', ['a', 'b']);
  await other.pass(5000);
  expect(other.records('dead').map(({ value }) => value)).toEqual(['a', 'b']);
  expect(burying.counters).toMatchObject({ expired: 2, deadLettered: 2, dropped: 0 });
});

test('AcknowledgementSet serves higher levels first, and with a guard the others, too', async () => {
  for (const [priority, expected] of [
    ['strict', ['1', '1', '1', '1', '1', '1', '0', '0']],
    ['guarded', ['1', '1', '0', '1', '1', '0', '1', '1']],
  ] as const) {
    const world = new World();
    const set = await openSet(world, { priority, guardEvery: 2 }, { levels: [0, 1] });
    await publish(world, 'p0', ['0', '0']);
    await publish(world, 'p1', ['1', '1', '1', '1', '1', '1']);
    await world.settle();
    const inbox = new Inbox(set);
    await world.settle();
    expect(inbox.texts()).toEqual(expected);
  }
});

test('AcknowledgementSet has one message of a key out at a time, over redelivery', async () => {
  const world = new World();
  const set = await openSet(world, { order: 'key' });
  const inbox = new Inbox(set);
  const messages = ['a1', 'b1', 'a2', 'b2', 'a3'].map((value) => ({ key: value[0], value }));
  await publish(world, 'p0', [...messages, 'free']);
  await world.settle();
  expect(inbox.texts()).toEqual(['a1', 'b1', 'free']);
  set.fail(inbox.all[0], 1000);
  set.acknowledge(inbox.all[1]);
  await world.settle();
  expect(inbox.texts()).toEqual(['b2']);
  await world.pass(1100);
  expect(inbox.texts()).toEqual(['a1×2']);
  set.acknowledge(inbox.all.at(-1)!);
  await world.settle();
  expect(inbox.texts()).toEqual(['a2']);
  set.removeConsumer(inbox.consumer);
  const other = new Inbox(set);
  await world.settle();
  expect(other.texts()).toEqual(
    ['free×2', 'a2×2', 'b2×2'].sort((x, y) =>
      x.includes('a2') ? -1 : y.includes('a2') ? 1 : x.includes('b2') ? -1 : 1,
    ),
  );
});

test('AcknowledgementSet gives a key to the same consumer as long as it is there', async () => {
  const world = new World(7);
  const set = await openSet(world, { order: 'sticky-key' });
  const inboxes = [new Inbox(set), new Inbox(set), new Inbox(set)];
  const owners = new Map<string, Set<number>>();
  for (let round = 0; round < 5; round += 1) {
    const messages = Array.from({ length: 40 }, (_, index) => ({ key: `k${index % 20}`, value: `${round}` }));
    await publish(world, 'p0', messages);
    for (let more = true; more; ) {
      await world.settle();
      more = false;
      for (const [number, inbox] of inboxes.entries()) {
        for (const delivery of inbox.take()) {
          const key = delivery.message.key?.toString() ?? '';
          owners.set(key, (owners.get(key) ?? new Set()).add(number));
          set.acknowledge(delivery);
          more = true;
        }
      }
    }
  }
  expect(owners.size).toBe(20);
  expect([...owners.values()].every(({ size }) => size === 1)).toBe(true);
  expect(new Set([...owners.values()].flatMap((numbers) => [...numbers])).size).toBe(3);
  expect((await set.describe()).lag).toBe(0);
});

test('AcknowledgementSet parks the messages of a slow consumer, and gives them to others when it goes', async () => {
  const world = new World(3);
  const set = await openSet(world, { order: 'sticky-key' });
  const slow = new Inbox(set, { credit: 0 });
  const quick = new Inbox(set);
  await publish(
    world,
    'p0',
    Array.from({ length: 40 }, (_, index) => ({ key: `k${index}`, value: `${index}` })),
  );
  await world.settle();
  const before = quick.take().length;
  expect(before).toBeGreaterThan(0);
  expect(before).toBeLessThan(40);
  set.setCredit(slow.consumer, 1);
  await world.settle();
  expect(slow.take()).toHaveLength(1);
  set.removeConsumer(slow.consumer);
  await world.settle();
  expect(quick.take()).toHaveLength(40 - before);
});

test('AcknowledgementSet serves one exclusive consumer, then the next', async () => {
  const world = new World();
  const set = await openSet(world, { consumers: 'exclusive' });
  const first = new Inbox(set, { inFlightMax: 2 });
  const second = new Inbox(set);
  await publish(world, 'p0', ['a', 'b', 'c']);
  await world.settle();
  expect([first.texts(), second.texts()]).toEqual([['a', 'b'], []]);
  set.removeConsumer(first.consumer);
  await world.settle();
  expect(second.texts()).toEqual(['a×2', 'b×2', 'c']);
});

test('AcknowledgementSet purge() drops what nobody has, seek() begins again', async () => {
  const world = new World();
  const set = await openSet(world, { readAheadMax: 2 });
  const inbox = new Inbox(set, { credit: 1 });
  await publish(world, 'p0', ['a', 'b', 'c', 'd', 'e']);
  await world.settle();
  expect(await drive(world, set.purge())).toBe(4);
  await publish(world, 'p0', ['f']);
  set.addCredit(inbox.consumer, 10);
  await world.settle();
  expect(inbox.texts()).toEqual(['a', 'f']);
  expect(await drive(world, set.seek(0, 3))).toBe(3);
  expect(set.acknowledge(inbox.all[0])).toBe(false);
  await world.settle();
  expect(inbox.texts()).toEqual(['d', 'e', 'f']);
  world.crash();
  const again = new Inbox(await openSet(world));
  await world.settle();
  expect(again.texts()).toEqual(['d×2', 'e×2', 'f×2']);
});

test('AcknowledgementSet seekToTime() goes on at the first message of that time', async () => {
  const world = new World();
  const set = await openSet(world, {}, { start: 'latest' });
  const inbox = new Inbox(set);
  await publish(world, 'p0', ['a']);
  await world.pass(1000);
  const time = world.wall;
  await publish(world, 'p0', ['b', 'c']);
  await world.settle();
  inbox.take();
  await drive(world, set.seekToTime(time));
  await world.settle();
  expect(inbox.texts()).toEqual(['b', 'c']);
});

test('AcknowledgementSet leaves out markers and aborted transactions', async () => {
  const world = new World();
  const set = await openSet(world);
  const { BatchBuilder } = await import('../../../../src/core/batch/batch-builder.ts');
  const inTransaction = (value: string, producerId: number): Buffer => {
    const builder = new BatchBuilder({ attributes: 16, producerId, producerEpoch: 0, baseSequence: 0 });
    builder.add({ timestampMs: world.wall, value: Buffer.from(value) });
    return builder.build();
  };
  const disk = world.disk('p0');
  const marker = { producerEpoch: 0, coordinatorEpoch: 0, timestampMs: world.wall };
  disk.append(inTransaction('kept', 1));
  disk.append(inTransaction('aborted', 2));
  disk.append(buildControlBatch({ type: 'commit', producerId: 1, ...marker }));
  disk.append(buildControlBatch({ type: 'abort', producerId: 2, ...marker }));
  await publish(world, 'p0', ['after']);
  const inbox = new Inbox(set);
  await world.settle();
  expect(inbox.texts()).toEqual(['kept', 'after']);
  for (const delivery of inbox.all) set.acknowledge(delivery);
  await world.settle();
  expect(await set.describe()).toMatchObject({ lag: 0, partitions: [{ floor: 5, holes: 0 }] });
});

test('AcknowledgementSet goes on where the log begins when records are gone', async () => {
  const world = new World();
  const first = await openSet(world);
  const early = new Inbox(first, { credit: 1 });
  for (const value of ['a', 'b', 'c', 'd']) await publish(world, 'p0', [value]);
  await world.settle();
  expect(early.texts()).toEqual(['a']);
  world.crash();
  await (await world.store.open('p0')).deleteBefore(2);
  const set = await openSet(world);
  const inbox = new Inbox(set);
  await world.settle();
  expect(inbox.texts()).toEqual(['c', 'd']);
  expect(set.counters.lost).toBeGreaterThan(0);
});

test('AcknowledgementSet ends when another owner has opened it', async () => {
  const world = new World();
  const old = await openSet(world);
  const inbox = new Inbox(old);
  await publish(world, 'p0', ['a', 'b']);
  await world.settle();
  const next = await openSet(world);
  old.acknowledge(inbox.all[0]);
  await expect(drive(world, old.whenStored())).rejects.toMatchObject({ code: 'QUEUE_FENCED' });
  expect(inbox.end).toMatchObject({ code: 'QUEUE_FENCED' });
  const other = new Inbox(next);
  await world.settle();
  expect(other.texts()).toEqual(['a×2', 'b×2']);
});

test('AcknowledgementSet keeps its records short', async () => {
  const world = new World();
  const set = await openSet(world);
  const inbox = new Inbox(set, { inFlightMax: 50 });
  for (let round = 0; round < 60; round += 1) {
    await publish(
      world,
      'p0',
      Array.from({ length: 50 }, (_, index) => `${index}`),
    );
    await world.settle();
    const deliveries = inbox.take();
    expect(deliveries).toHaveLength(50);
    set.addCredit(inbox.consumer, 50);
    for (const delivery of deliveries.reverse()) set.acknowledge(delivery);
    await drive(world, set.whenStored());
  }
  expect(world.disk('state').end).toBeGreaterThan(100);
  expect(world.disk('state').batches.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThan(100_000);
  await drive(world, set.close());
  expect(inbox.end).toMatchObject({ code: 'QUEUE_CLOSED' });
});

test('AcknowledgementSet stores a dead letter once, whenever it crashes', async () => {
  let crashedInBetween = 0;
  for (let seed = 1; seed <= 240; seed += 1) {
    const world = new World(seed);
    const settings = { deliveriesMax: 1, deadLetterStream: 'dead' };
    let set = await openSet(world, settings);
    let inbox = new Inbox(set);
    await publish(world, 'p0', ['a', 'b', 'c', 'd']);
    await world.settle();
    set.reject(inbox.all[2]);
    set.reject(inbox.all[0]);
    for (let turn = seed % 12; turn > 0; turn -= 1) {
      world.turn();
      await Promise.resolve();
      await Promise.resolve();
    }
    world.crash();
    if (world.records('dead').length === 2) crashedInBetween += 1;
    // What the consumer had dies as well: it was delivered as often as it may be.
    set = await openSet(world, settings);
    inbox = new Inbox(set);
    await world.pass(1000);
    expect(inbox.all, `seed ${seed}`).toEqual([]);
    const values = world.records('dead').map(({ value }) => value ?? '');
    expect(values.sort(), `seed ${seed}`).toEqual(['a', 'b', 'c', 'd']);
  }
  expect(crashedInBetween).toBeGreaterThan(10);
});

test('AcknowledgementSet has one owner when two open it at the same time', async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const world = new World(seed);
    await drive(world, (await openSet(world)).close());
    await publish(world, 'p0', ['a', 'b']);
    const sets = await Promise.all([openSet(world), openSet(world)]);
    const inboxes = sets.filter(({ end }) => end === null).map((set) => new Inbox(set));
    await world.pass(1000);
    expect(sets.filter(({ end }) => end !== null)).toHaveLength(1);
    expect(inboxes.flatMap(({ all }) => all)).toHaveLength(2);
  }
});
