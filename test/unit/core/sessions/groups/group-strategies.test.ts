import { expect, test } from 'vitest';
import type { GroupStrategy } from '../../../../../src/core/broker/group-strategies.ts';
import type { DurableGroupsOptions } from '../../../../../src/core/sessions/groups/group-options.ts';
import type { TestClient } from '../session-world.ts';
import { clientOf, GroupWorld } from './group-world.ts';

interface Members {
  readonly world: GroupWorld;
  readonly clients: readonly TestClient[];
}

/** Members on the slots in turn. */
async function membersOf(
  strategy: GroupStrategy,
  count: number,
  { slots = 1, ...options }: DurableGroupsOptions & { readonly slots?: number } = {},
): Promise<Members> {
  const world = await new GroupWorld(3, slots, {}, options).openAll();
  const clients = Array.from({ length: count }, (_, index) => clientOf(world, `c${index}`));
  for (const [index, client] of clients.entries()) {
    await world.attach(index % slots, client);
    await world.join(index % slots, client, { strategy });
  }
  return { world, clients };
}

test('sticky gives everything to one member until that goes', async () => {
  const { world, clients } = await membersOf('sticky', 3);
  for (let index = 0; index < 6; index += 1) await world.publish(0, 'a/b', `v${index}`);
  await world.world.pass(300);
  const chosen = clients.find(({ given }) => given.length > 0);
  if (chosen === undefined) throw new Error('nobody was chosen');
  expect(chosen.given).toHaveLength(6);
  await world.leave(0, chosen);
  for (let index = 6; index < 9; index += 1) await world.publish(0, 'a/b', `v${index}`);
  await world.world.pass(300);
  expect(
    clients
      .filter((each) => each !== chosen)
      .map(({ given }) => given.length)
      .sort(),
  ).toEqual([0, 3]);
});

test('least-inflight spares a member that does not answer', async () => {
  const { world, clients } = await membersOf('least-inflight', 2);
  clients[0].manner = 'keep';
  for (let index = 0; index < 10; index += 1) {
    await world.publish(0, 'a/b', `v${index}`);
    await world.world.pass(50);
  }
  expect(clients[0].given.length).toBeLessThan(3);
  expect(clients[0].given.length + clients[1].given.length).toBe(10);
});

test('local-first prefers members on the slot of the owner', async () => {
  const { world, clients } = await membersOf('local-first', 4, { slots: 2 });
  for (let index = 0; index < 8; index += 1) await world.publish(0, 'a/b', `v${index}`);
  await world.world.pass(300);
  const bySlot = [clients[0].given.length + clients[2].given.length, clients[1].given.length + clients[3].given.length];
  expect(bySlot.sort()).toEqual([0, 8]);
});

test('hash-topic lets others pass what a slow member has no room for, up to a bound, and keeps its order', async () => {
  const { world, clients } = await membersOf('hash-topic', 2, { waitingMax: 10, creditMax: 2 });
  await world.publish(0, 'a/0', 'v0');
  await world.world.pass(200);
  const slow = clients.find(({ given }) => given.length > 0);
  const quick = clients.find(({ given }) => given.length === 0);
  if (slow === undefined || quick === undefined) throw new Error('it has one of two members');
  slow.manner = 'keep';
  for (let index = 1; index <= 6; index += 1) await world.publish(0, 'a/0', `v${index}`);
  // Some topic is the other member's.
  for (let index = 1; index <= 8; index += 1) await world.publish(0, `a/${index}`, `w${index}`);
  await world.world.pass(300);
  expect(quick.given.length).toBeGreaterThan(0);
  expect(world.slot(0).groups.info()[0].waiting).toBeLessThanOrEqual(10);
  slow.manner = 'answer';
  slow.answerDue();
  await world.world.pass(1000);
  const ofTopic = slow.given.filter(({ topic }) => topic === 'a/0').map(({ value }) => value);
  expect(ofTopic).toEqual(['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6']);
  expect(slow.given.length + quick.given.length).toBe(15);
  expect(world.slot(0).groups.info()[0]).toMatchObject({ open: 0, waiting: 0, isCaughtUp: true });
});

test('hash-key asks the protocol for the key', async () => {
  const { world, clients } = await membersOf('hash-key', 3, {
    keyHashOf: ({ bytes, bodyStart }) => Math.imul(bytes[bodyStart], 0x9e3779b9),
  });
  for (let index = 0; index < 40; index += 1) await world.publish(0, `a/${index}`, `${'pqrstuvw'[index % 8]}${index}`);
  await world.world.pass(500);
  const owners = new Map<string, Set<string>>();
  for (const { given, id } of clients) {
    for (const { value } of given) owners.set(value[0], (owners.get(value[0]) ?? new Set()).add(id));
  }
  expect(owners.size).toBe(8);
  expect([...owners.values()].every(({ size }) => size === 1)).toBe(true);
});

test('openMax bounds what a group has seen and nobody has settled', async () => {
  const { world, clients } = await membersOf('round-robin', 2, { openMax: 3 });
  for (const client of clients) client.manner = 'keep';
  for (let index = 0; index < 10; index += 1) await world.publish(0, 'a/b', `v${index}`);
  await world.world.pass(300);
  expect(world.slot(0).groups.info()[0].open).toBe(3);
  for (const client of clients) {
    client.manner = 'answer';
    client.answerDue();
  }
  await world.world.pass(500);
  expect(clients.flatMap(({ values }) => values)).toHaveLength(10);
});

test('retire() lets a member without a stored session end what it has', async () => {
  const { world, clients } = await membersOf('round-robin', 1);
  await world.leave(0, clients[0]);
  const got: { partition: number; offset: number }[] = [];
  const { groups } = world.slot(0);
  const spec = {
    name: 'g',
    filter: 'a/#',
    strategy: 'round-robin',
    grade: 2,
    seed: 1,
    detail: 0,
    identifier: 0,
  } as const;
  const member = groups.joinTransient('t', spec, 2, {
    hasRoom: () => true,
    deliver: ({ partition, offset }) => got.push({ partition, offset }) > 0,
  });
  await world.publish(0, 'a/b', 'v0', 2);
  await world.world.pass(300);
  member.retire();
  await world.publish(0, 'a/b', 'v1', 2);
  await world.attach(0, clients[0]);
  await world.world.pass(300);
  expect(got).toHaveLength(1);
  expect(clients[0].values).toEqual(['v1']);
  let isStored = false;
  expect(
    member.receive(got[0].partition, got[0].offset, () => {
      isStored = true;
    }),
  ).toBe(true);
  await world.world.pass(300);
  member.leave();
  await world.world.pass(300);
  expect(isStored).toBe(true);
  expect(clients[0].values).toEqual(['v1']);
  expect(groups.info()[0]).toMatchObject({ open: 0, members: 1 });
});
