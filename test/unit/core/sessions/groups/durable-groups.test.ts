import { expect, test } from 'vitest';
import { StorageError } from '../../../../../src/core/streams/storage-error.ts';
import { clientOf, GroupWorld, specOf } from './group-world.ts';

async function valuesTo(world: GroupWorld, count: number, grade: 1 | 2 = 1, from = 0): Promise<string[]> {
  const values = Array.from({ length: count }, (_, index) => `v${from + index}`);
  for (const value of values) await world.publish(0, 'a/b', value, grade);
  await world.world.pass(500);
  return values;
}

test('join() gives each message to one member, in turn', async () => {
  const world = await new GroupWorld(1).openAll();
  const [one, two] = [clientOf(world, 'one'), clientOf(world, 'two')];
  await world.attach(0, one);
  await world.attach(0, two);
  expect(await world.join(0, one)).toBe(true);
  expect(await world.join(0, two)).toBe(true);
  expect(await world.join(0, two)).toBe(false);
  const values = await valuesTo(world, 6);
  expect([...one.values, ...two.values].sort()).toEqual(values);
  expect(one.values).toHaveLength(3);
  expect(world.slot(0).groups.info()[0]).toMatchObject({ members: 2, open: 0, waiting: 0 });
});

test('a group keeps messages while nobody is there, and over a crash', async () => {
  const world = await new GroupWorld(2).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  await world.leave(0, one);
  const first = await valuesTo(world, 3);
  await world.crash();
  expect(world.interest.wants('a/b')).toBe(true);
  const second = await valuesTo(world, 3, 2, 3);
  await world.attach(0, one);
  await world.world.pass(500);
  expect(one.values).toEqual([...first, ...second]);
  expect(one.given.map(({ grade }) => grade)).toEqual([1, 1, 1, 2, 2, 2]);
});

test('what a member that goes has not acknowledged goes to another one, marked as a possible duplicate', async () => {
  const world = await new GroupWorld(3).openAll();
  const [one, two] = [clientOf(world, 'one'), clientOf(world, 'two')];
  await world.attach(0, one);
  await world.join(0, one);
  one.manner = 'keep';
  const values = await valuesTo(world, 3);
  expect(one.values).toEqual(values);
  await world.attach(0, two);
  await world.join(0, two);
  await world.leave(0, one);
  await world.world.pass(500);
  expect(two.values).toEqual(values);
  expect(two.given.every(({ isDuplicate }) => isDuplicate)).toBe(true);
});

test('a message of grade 2 that was sent stays with its member until it comes back', async () => {
  const world = await new GroupWorld(4).openAll();
  const [one, two] = [clientOf(world, 'one'), clientOf(world, 'two')];
  await world.attach(0, one);
  await world.join(0, one);
  one.manner = 'keep';
  await valuesTo(world, 2, 2);
  await world.attach(0, two);
  await world.join(0, two);
  await world.leave(0, one);
  await world.world.pass(500);
  expect(two.values).toEqual([]);
  await world.crash();
  two.lose();
  await world.attach(0, two);
  await world.world.pass(500);
  expect(two.values).toEqual([]);
  one.manner = 'answer';
  await world.attach(0, one);
  await world.world.pass(500);
  expect(one.values).toEqual(['v0', 'v1']);
  expect(one.seen.slice(2).every(({ isDuplicate }) => isDuplicate)).toBe(true);
  expect(one.held.size).toBe(0);
  expect(world.slot(0).groups.info()[0]).toMatchObject({ open: 0, waiting: 0 });
});

test('a message of grade 2 that was sent ends with the session of its member', async () => {
  const world = await new GroupWorld(5).openAll();
  const [one, two] = [clientOf(world, 'one'), clientOf(world, 'two')];
  await world.attach(0, one);
  await world.attach(0, two);
  await world.join(0, one);
  one.manner = 'keep';
  await valuesTo(world, 1, 2);
  await world.join(0, two);
  await world.run(world.slot(0).sessions.remove('one'));
  await world.world.pass(500);
  expect(two.values).toEqual([]);
  expect(world.slot(0).groups.info()[0]).toMatchObject({ open: 0, waiting: 0, members: 1 });
});

test('members on other slots get messages, and the death of their thread gives back what they had', async () => {
  const world = await new GroupWorld(6, 3).openAll();
  const clients = ['one', 'two', 'three'].map((id) => clientOf(world, id));
  for (const [slot, client] of clients.entries()) {
    await world.attach(slot, client);
    await world.join(slot, client);
  }
  const values = await valuesTo(world, 9);
  expect(clients.flatMap((client) => client.values).sort()).toEqual(values);
  expect(clients.map((client) => client.values.length)).toEqual([3, 3, 3]);
  const [one, two, three] = clients;
  three.manner = 'keep';
  await valuesTo(world, 3, 1, 10);
  three.lose();
  await world.restart(2);
  await world.world.pass(1000);
  const all = [...one.values, ...two.values].filter((value) => ['v10', 'v11', 'v12'].includes(value));
  expect(all.sort()).toEqual(['v10', 'v11', 'v12']);
});

test('the death of the thread that owns a group holds nothing up but for its time', async () => {
  const world = await new GroupWorld(7, 2).openAll();
  const clients = ['one', 'two'].map((id) => clientOf(world, id));
  for (const [slot, client] of clients.entries()) {
    await world.attach(slot, client);
    await world.join(slot, client, { name: 'x' });
    await world.join(slot, client, { name: 'y' });
  }
  await valuesTo(world, 4, 2);
  for (const slot of [0, 1]) {
    clients[slot].lose();
    await world.restart(slot);
    await world.attach(slot, clients[slot]);
    await valuesTo(world, 4, 2, 4 + 4 * slot);
  }
  await world.world.pass(1000);
  const all = clients.flatMap((client) => client.values).sort();
  const expected = Array.from({ length: 12 }, (_, index) => [`v${index}`, `v${index}`]).flat();
  expect(all).toEqual(expected.sort());
});

test('leave() ends the group after its last member; a member that comes gets what is new', async () => {
  const world = await new GroupWorld(8).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  const { groups } = world.slot(0);
  expect(groups.isKept(specOf('one'))).toBe(true);
  expect(await world.run(groups.leave(one.online, specOf('one')))).toBe(true);
  expect(await world.run(groups.leave(one.online, specOf('one')))).toBe(false);
  await valuesTo(world, 2);
  await world.join(0, one);
  expect(await valuesTo(world, 1, 1, 5)).toEqual(one.values);
  await world.run(groups.leave(one.online, specOf('one')));
  await world.world.pass(6000);
  groups.tick();
  await world.world.pass(500);
  expect(groups.isKept(specOf('one'))).toBe(false);
  expect(groups.info()).toEqual([]);
  expect(world.interest.wants('a/b')).toBe(false);
  await world.crash();
  expect(world.slot(0).groups.info()).toEqual([]);
});

test('a member takes no more than its window, and the group waits without memory', async () => {
  const world = await new GroupWorld(9).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one, { window: 2 });
  await world.join(0, one);
  one.manner = 'keep';
  const values = await valuesTo(world, 10);
  expect(one.seen).toHaveLength(2);
  expect(world.slot(0).groups.info()[0]).toMatchObject({ open: 2, isCaughtUp: false });
  one.manner = 'answer';
  one.answerDue();
  await world.world.pass(500);
  expect(one.values).toEqual(values);
  expect(world.slot(0).groups.info()[0]).toMatchObject({ open: 0, isCaughtUp: true });
});

test('joinTransient() serves members without a stored session too, and gives back what they held', async () => {
  const world = await new GroupWorld(10).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  await world.leave(0, one);
  const got: { partition: number; offset: number; grade: number; value: string }[] = [];
  const { groups } = world.slot(0);
  const member = groups.joinTransient('t', specOf('t'), 4, {
    hasRoom: () => true,
    deliver: ({ partition, offset, grade }, view) => {
      const value = view.bytes.toString('utf8', view.bodyStart, view.bodyStart + view.bodyLength);
      got.push({ partition, offset, grade, value });
      return true;
    },
  });
  await valuesTo(world, 2, 1);
  await valuesTo(world, 2, 2, 2);
  expect(got.map(({ value, grade }) => `${value} ${grade}`)).toEqual(['v0 1', 'v1 1', 'v2 2', 'v3 2']);
  expect(member.settle(got[0].partition, got[0].offset)).toBe(true);
  expect(member.settle(got[0].partition, got[0].offset)).toBe(false);
  let isStored = false;
  member.receive(got[2].partition, got[2].offset, () => {
    isStored = true;
  });
  await world.world.pass(500);
  expect(isStored).toBe(true);
  expect(member.heldCount).toBe(2);
  member.leave();
  await world.attach(0, one);
  await world.world.pass(500);
  expect(one.values).toEqual(['v1', 'v3']);
});

test('a session that another slot adopts stays a member, with what it has', async () => {
  const world = await new GroupWorld(11, 2).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  one.manner = 'keep';
  await valuesTo(world, 1, 2);
  await valuesTo(world, 1, 1, 1);
  const [from, to] = [world.slot(0).sessions, world.slot(1).sessions];
  const transfer = await world.run(from.handOver('one'));
  if (transfer === null) throw new Error('there is no session');
  await world.run(to.adopt(structuredClone(transfer)));
  await world.run(from.forget(transfer));
  await valuesTo(world, 1, 1, 2);
  one.manner = 'answer';
  await world.attach(1, one);
  await world.world.pass(6000);
  for (const { groups } of [world.slot(0), world.slot(1)]) groups.tick();
  await world.world.pass(500);
  expect(one.values.sort()).toEqual(['v0', 'v1', 'v1', 'v2']);
  expect(world.kept.filter((line) => line.endsWith('false'))).toEqual([]);
});

test('hash-topic keeps each topic with one member while that is there', async () => {
  const world = await new GroupWorld(12, 2, { partitions: 2 }).openAll();
  const clients = ['one', 'two', 'three'].map((id) => clientOf(world, id));
  for (const [index, client] of clients.entries()) {
    await world.attach(index % 2, client);
    await world.join(index % 2, client, { strategy: 'hash-topic' });
  }
  for (let index = 0; index < 60; index += 1) await world.publish(0, `a/${index % 10}`, `v${index}`);
  await world.world.pass(500);
  const byTopic = new Map<string, Set<string>>();
  for (const client of clients) {
    for (const { topic } of client.given) byTopic.set(topic, (byTopic.get(topic) ?? new Set()).add(client.id));
  }
  expect(byTopic.size).toBe(10);
  expect([...byTopic.values()].every((ids) => ids.size === 1)).toBe(true);
  expect(clients.filter((client) => client.given.length > 0).length).toBeGreaterThan(1);
});

test('limits hold for what waits for a group', async () => {
  const world = await new GroupWorld(13, 1, { limits: { countMax: 5 } }).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  await world.leave(0, one);
  const values = await valuesTo(world, 12);
  world.slot(0).groups.upkeep();
  await world.attach(0, one);
  await world.world.pass(500);
  expect(one.values).toEqual(values.slice(-5));
});

test('upkeep() keeps what a group needs of the logs, and no more', async () => {
  const world = await new GroupWorld(14).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  one.manner = 'keep';
  await valuesTo(world, 3, 2);
  const { sessions } = world.slot(0);
  sessions.upkeep();
  await world.world.pass(500);
  const [floor] = sessions.upkeep();
  one.answerDue();
  await world.world.pass(500);
  one.answerDue();
  await world.world.pass(500);
  sessions.upkeep();
  await world.world.pass(500);
  const [later] = sessions.upkeep();
  expect(later).toBe(floor + 3);
});

test('join() refuses more groups than a slot may own, and says why', async () => {
  const world = await new GroupWorld(16, 1, {}, { groupsMax: 1 }).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  await expect(world.join(0, one, { name: 'other' })).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
  expect(await world.join(0, one)).toBe(false);
});

test('join() fails with the slot when the store refuses the groups for good', async () => {
  const world = await new GroupWorld(17).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  const stream = [...world.world.disks.keys()].find((name) => name.startsWith('__groups.')) ?? '';
  world.world.refused.set(stream, new StorageError('STORAGE_BATCH_INVALID', 'the disk is gone'));
  await expect(world.join(0, one, { name: 'g', filter: 'a/#', grade: 1 })).resolves.toBe(false);
  await world.publish(0, 'a/b', 'v0');
  await world.world.pass(1000);
  expect(world.failures).toEqual(['SESSION_STORAGE_FAILED']);
  expect(one.ends).toEqual(['SESSION_STORAGE_FAILED']);
});

test('join() refuses what is no filter, and more subscriptions than a session may have', async () => {
  const world = await new GroupWorld(15, 1, { subscriptionsMax: 1 }).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await expect(world.join(0, one, { filter: 'a/#/b' })).rejects.toThrow('Cannot join the group');
  await expect(world.join(0, one, { name: 'a\0b' })).rejects.toThrow('Cannot join the group');
  await world.join(0, one);
  await expect(world.join(0, one, { name: 'other' })).rejects.toThrow('may have 1 subscriptions');
});

test('figures() say what waits, is in flight, came again and went, and since when', async () => {
  const limits = { countMax: 4, overflow: 'drop-oldest' } as const;
  const world = await new GroupWorld(31, 1, {}, { limits }).openAll();
  const { groups } = world.slot(0);
  const [one, two] = [clientOf(world, 'one'), clientOf(world, 'two')];
  await world.attach(0, one);
  await world.join(0, one);
  expect(groups.figures()).toEqual([
    {
      ...{ tenant: '', name: 'g', filter: 'a/#', strategy: 'round-robin', members: 1, sessions: 1 },
      ...{ waiting: 0, waitingBytes: 0, isCounted: true, inFlight: 0, oldestAtMs: null, emptySinceMs: null },
      ...{ given: 0, redelivered: 0, settled: 0, dropped: 0 },
    },
  ]);
  one.manner = 'keep';
  const from = world.world.context.clock.now();
  await valuesTo(world, 2);
  const [held] = groups.figures();
  expect(held).toMatchObject({ waiting: 0, inFlight: 2, given: 2, settled: 0 });
  expect(held?.oldestAtMs).toBeGreaterThanOrEqual(from);
  expect(held?.oldestAtMs).toBeLessThan(from + 1_000);
  await world.leave(0, one);
  await valuesTo(world, 6);
  const [away] = groups.figures();
  expect(away).toMatchObject({ members: 0, sessions: 1, waiting: 8, inFlight: 0, oldestAtMs: held?.oldestAtMs });
  expect(away?.waitingBytes).toBeGreaterThan(0);
  groups.upkeep();
  groups.measure();
  // What was given before is not dropped any more.
  expect(groups.totals).toMatchObject({ groups: 1, members: 0, waiting: 6, inFlight: 0, dropped: 2, given: 2 });
  await world.attach(0, two);
  await world.join(0, two);
  await world.world.pass(500);
  expect(two.values).toHaveLength(6);
  expect(groups.figures()).toMatchObject([
    { waiting: 0, inFlight: 0, given: 8, redelivered: 2, settled: 6, dropped: 2 },
  ]);
});

test('figures() find out how old what waits is when it is not in memory', async () => {
  const world = await new GroupWorld(32).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  await world.leave(0, one);
  const from = world.world.context.clock.now();
  await valuesTo(world, 3);
  await world.crash();
  await world.world.pass(500);
  const { groups } = world.slot(0);
  groups.measure();
  await world.world.pass(500);
  const [figures] = groups.figures();
  expect(figures).toMatchObject({ waiting: 3, inFlight: 0, members: 0, sessions: 1 });
  expect(figures?.oldestAtMs).toBeGreaterThanOrEqual(from);
  expect(figures?.oldestAtMs).toBeLessThan(from + 1_000);
});

test('emptyMs keeps a group and its messages when its last session has ended, over a crash, and no longer', async () => {
  const world = await new GroupWorld(33, 2, {}, { emptyMs: 60_000 }).openAll();
  const one = clientOf(world, 'one');
  await world.attach(0, one);
  await world.join(0, one);
  await world.leave(0, one);
  const first = await valuesTo(world, 2);
  await world.run(world.slot(0).sessions.remove('one'));
  const second = await valuesTo(world, 2, 2, 2);
  await tickAll(world, 40_000);
  await world.crash();
  expect(world.interest.wants('a/b')).toBe(true);
  const third = await valuesTo(world, 1, 1, 4);
  const two = clientOf(world, 'two');
  await world.attach(1, two);
  await world.join(1, two);
  await world.world.pass(500);
  // Grade 1 does not wait for grade 2.
  expect([...two.values].sort()).toEqual([...first, ...second, ...third]);
  await world.run(world.slot(1).sessions.remove('two'));
  await tickAll(world, 50_000);
  await world.crash();
  expect(world.interest.wants('a/b')).toBe(true);
  // The time did not begin anew.
  await tickAll(world, 11_000);
  expect(world.interest.wants('a/b')).toBe(false);
});

async function tickAll(world: GroupWorld, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1_000) {
    await world.world.pass(1_000);
    for (let slot = 0; slot < world.slotCount; slot += 1) world.slot(slot).groups.tick();
  }
}
