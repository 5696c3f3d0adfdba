import { expect, test } from 'vitest';
import { SessionWorld, TestClient } from './session-world.ts';

async function opened(given = {}): Promise<SessionWorld> {
  const world = new SessionWorld(1, given);
  await world.open();
  return world;
}

async function away(world: SessionWorld, id: string, ...filters: string[]): Promise<TestClient> {
  const client = new TestClient(id, world);
  await world.attach(client);
  await world.subscribe(client, ...filters.map((filter) => ({ filter })));
  await leave(world, client);
  return client;
}

async function leave(world: SessionWorld, client: TestClient): Promise<void> {
  const { online } = client;
  client.lose();
  await world.run(world.sessions.detach(online, null, false));
}

async function publishAll(world: SessionWorld, count: number, topicOf: (index: number) => string = () => 'a/x') {
  for (let index = 0; index < count; index += 1) await world.publish(topicOf(index), `m${index}`);
}

async function comeBack(world: SessionWorld, client: TestClient): Promise<readonly string[]> {
  await world.attach(client);
  await world.world.pass(500);
  return client.values;
}

function values(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => `m${from + index}`);
}

test('drop-oldest keeps exactly the newest messages', async () => {
  const world = await opened({ limits: { countMax: 10 } });
  const client = await away(world, 'c', 'a/#');
  const other = await away(world, 'other', 'a/y');
  await publishAll(world, 30, (index) => (index % 3 === 0 ? 'a/y' : 'a/x'));
  expect(await comeBack(world, client)).toEqual(values(20, 30));
  expect(world.sessions.runtime.drops.limited).toBe(20);
  expect(await comeBack(world, other)).toHaveLength(10);
  expect(world.sessions.runtime.drops.limited).toBe(20);
});

test('drop-oldest counts bytes', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a/x');
  await publishAll(world, 10);
  const { records } = await recordSizes(world);
  await world.run(world.sessions.close());
  world.world.crash();
  await world.open({ limits: { bytesMax: records * 3 + 1 } });
  expect(await comeBack(world, client)).toEqual(values(7, 10));
});

/** About how long one record is: all of them are. */
async function recordSizes(world: SessionWorld): Promise<{ readonly records: number }> {
  const { sizeBytes } = await (await world.world.store.open('__messages.0')).places();
  const count = world.world.records('__messages.0').filter(({ key }) => key !== null).length;
  return { records: Math.floor(sizeBytes / count) - 61 };
}

test('refuse-newest keeps the oldest messages, and takes new ones when there is room again', async () => {
  const world = await opened({ limits: { countMax: 10, overflow: 'refuse-newest' } });
  const client = await away(world, 'c', 'a/#');
  await publishAll(world, 30);
  world.sessions.upkeep();
  expect(world.sessions.runtime.drops.limited).toBe(20);
  expect(await comeBack(world, client)).toEqual(values(0, 10));
  await world.publish('a/x', 'later');
  expect(client.values.at(-1)).toBe('later');
});

test('refuse-newest survives a crash', async () => {
  const world = await opened({ limits: { countMax: 2, overflow: 'refuse-newest' } });
  const client = await away(world, 'c', 'a/#');
  await publishAll(world, 5);
  // One is in flight then: it does not wait any more.
  client.manner = 'keep';
  await world.attach(client, { window: 1 });
  await world.world.pass(500);
  await leave(world, client);
  client.manner = 'answer';
  world.crash();
  await world.open();
  await world.publish('a/x', 'm5');
  const got = await comeBack(world, client);
  expect(new Set(got)).toEqual(new Set(['m0', 'm1', 'm5']));
});

test('messages above the age are not delivered, and trimmed', async () => {
  const world = await opened({ limits: { ageMsMax: 10_000 } });
  const client = await away(world, 'c', 'a/#');
  await publishAll(world, 3);
  await world.world.pass(8000);
  await world.publish('a/x', 'young');
  await world.world.pass(4000);
  await world.run(world.sessions.trim(world.sessions.upkeep()));
  expect((await (await world.world.store.open('__messages.0')).places()).logStartOffset).toBeGreaterThan(3);
  expect(await comeBack(world, client)).toEqual(['young']);
});

test('trim() forgets what no session needs, and nothing else', async () => {
  const world = await opened();
  const first = await away(world, 'first', 'a/#');
  const second = await away(world, 'second', 'b/#');
  await publishAll(world, 10);
  const log = await world.world.store.open('__messages.0');
  await world.run(world.sessions.trim(world.sessions.upkeep()));
  const pinned = (await log.places()).logStartOffset;
  await publishAll(world, 5, () => 'b/x');
  expect(await comeBack(world, first)).toEqual(values(0, 10));
  await leave(world, first);
  await world.run(world.sessions.trim(world.sessions.upkeep()));
  // What the second one needs begins behind what only the first one did.
  expect((await log.places()).logStartOffset).toBe(pinned + 10);
  expect(await comeBack(world, second)).toEqual(values(0, 5));
});

test('trim() by the bound of the log does not wait for sessions', async () => {
  const world = await opened({ logBytesMax: 3000 });
  const client = await away(world, 'c', 'a/#');
  await publishAll(world, 100);
  await world.run(world.sessions.trim(world.sessions.upkeep()));
  const got = await comeBack(world, client);
  expect(got.length).toBeGreaterThan(5);
  expect(got).toEqual(values(100 - got.length, 100));
});

test('a message in flight that a bound has dropped is settled; of grade 2 the packet id is released first', async () => {
  const world = await opened({ logBytesMax: 1 });
  const client = new TestClient('c', world);
  await world.attach(client);
  await world.subscribe(client, { filter: 'a', grade: 2 });
  client.manner = 'keep';
  await world.publish('a', 'one');
  await world.publish('a', 'two', { grade: 2 });
  await world.world.pass(300);
  await world.publish('a', 'three');
  await world.run(world.sessions.trim(world.sessions.upkeep()));
  world.crash();
  client.lose();
  await world.open();
  client.manner = 'answer';
  await world.attach(client);
  await world.world.pass(500);
  expect(client.values.filter((value) => value !== 'three')).toEqual(['one', 'two']);
  expect(client.held.size).toBe(0);
  expect(world.sessions.runtime.drops.gone).toBeGreaterThan(0);
});

test('many sessions that come back read the log once', async () => {
  const world = await opened();
  const clients: TestClient[] = [];
  for (let index = 0; index < 40; index += 1) clients.push(await away(world, `c${index}`, 'a/#'));
  await publishAll(world, 50);
  world.crash();
  await world.open();
  await world.world.pass(300);
  for (const client of clients) await world.attach(client, { window: 100 });
  await world.world.pass(1000);
  for (const client of clients) expect(client.values).toEqual(values(0, 50));
  expect(world.sessions.runtime.feeds[0].cache.reads).toBeLessThan(10);
});

test('a session finds its messages without an index, too', async () => {
  const world = await opened({ indexBytesMax: 400 });
  const client = await away(world, 'c', 'a/7', 'b/+');
  await away(world, 'all', '#');
  await publishAll(world, 200, (index) => `a/${index % 20}`);
  expect(world.sessions.runtime.feeds[0].index.covering(1, 150)).toBe(null);
  expect(await comeBack(world, client)).toEqual([7, 27, 47, 67, 87, 107, 127, 147, 167, 187].map((at) => `m${at}`));
});
