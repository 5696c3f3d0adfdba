/** A session that goes from one node to another: two services, each over a store of its own. */
import { expect, test } from 'vitest';
import type { SessionArrival } from '../../../../src/core/sessions/session-arrival.ts';
import { itemsOf } from '../../../../src/core/sessions/session-move.ts';
import { type Given, SessionWorld, TestClient } from './session-world.ts';

async function opened(seed: number, given: Given = {}): Promise<SessionWorld> {
  const world = new SessionWorld(seed, given);
  await world.open();
  return world;
}

/** Both go on until the promise is settled. */
async function run<T>(worlds: readonly SessionWorld[], promise: Promise<T>): Promise<T> {
  let isDone = false;
  const watched = promise.finally(() => {
    isDone = true;
  });
  watched.catch(() => undefined);
  for (let count = 0; count < 2000 && !isDone; count += 1) {
    for (const { world } of worlds) {
      await world.settle();
      if (!isDone) await world.pass(60);
    }
  }
  if (!isDone) throw new Error('nothing happens any more');
  return watched;
}

async function carry(from: SessionWorld, to: SessionWorld, id: string, epoch: number): Promise<SessionArrival> {
  const departure = await from.sessions.depart(id);
  if (departure === null) throw new Error('there is a session');
  const arrival = await to.sessions.arrive(id);
  for (let chunk = await departure.next(); chunk !== null; chunk = await departure.next()) {
    await arrival.take(structuredClone(chunk));
  }
  await arrival.finish(epoch);
  return arrival;
}

/** All of a move that nothing disturbs. */
async function move(from: SessionWorld, to: SessionWorld, id: string, epoch: number): Promise<void> {
  await run([from, to], carry(from, to, id, epoch));
  to.sessions.settleArrival(id, epoch);
  const departure = await run([from, to], from.sessions.depart(id));
  if (departure !== null) await run([from, to], from.sessions.departed(departure));
}

async function away(world: SessionWorld, id: string, ...filters: string[]): Promise<TestClient> {
  const client = new TestClient(id, world);
  await world.attach(client);
  for (const filter of filters) await world.subscribe(client, { filter, grade: 2, identifier: 7 });
  await world.run(world.sessions.detach(client.online, null, true));
  return client;
}

test('depart() and arrive() move what waits, in order, and nothing of others', async () => {
  const a = await opened(1, { partitions: 2 });
  const b = await opened(2, { partitions: 3 });
  const client = await away(a, 'c', 'a/#', 'b');
  const other = await away(b, 'other', '#');
  for (let at = 0; at < 40; at += 1)
    await a.publish(at % 3 === 0 ? 'b' : `a/${at % 4}`, `${at}`, { grade: at % 2 === 0 ? 1 : 2 });
  await b.publish('b', 'before');
  await move(a, b, 'c', 5);
  expect(a.sessions.has('c')).toBe(false);
  expect(b.sessions.subscriptionsOf('c').map(({ filter }) => filter)).toEqual(['a/#', 'b']);
  await b.publish('b', 'after');
  const there = new TestClient('c', b);
  expect(await b.attach(there)).toBe(true);
  await b.world.pass(2000);
  for (const topic of ['b', 'a/0', 'a/1', 'a/2', 'a/3']) {
    const got = there.given.filter((seen) => seen.topic === topic).map(({ value }) => value);
    const grades = [1, 2].map((grade) => there.given.filter((seen) => seen.topic === topic && seen.grade === grade));
    for (const each of grades) {
      const order = each.map(({ value }) => (value === 'after' ? 99 : Number(value)));
      expect(order).toEqual([...order].sort((x, y) => x - y));
    }
    if (topic === 'b')
      expect([...got].sort()).toEqual([
        '0',
        '12',
        '15',
        '18',
        '21',
        '24',
        '27',
        '3',
        '30',
        '33',
        '36',
        '39',
        '6',
        '9',
        'after',
      ]);
  }
  expect(there.given).toHaveLength(41);
  const elsewhere = new TestClient('other', b);
  await b.attach(elsewhere);
  await b.world.pass(1000);
  expect(elsewhere.values).toEqual(['before', 'after']);
  expect(client.ends).toEqual([]);
  expect(other.ends).toEqual([]);
});

test('arrive() takes what is in flight with packet ids, and receipts, and gives each message of grade 2 once', async () => {
  const a = await opened(3);
  const b = await opened(4);
  const client = new TestClient('c', a);
  client.manner = 'keep';
  await a.attach(client);
  await a.subscribe(client, { filter: 't', grade: 2 });
  for (const grade of [1, 2, 1, 2] as const) await a.publish('t', `${grade}${client.seen.length}`, { grade });
  await a.world.pass(500);
  expect(client.seen).toHaveLength(4);
  const [one, two] = client.seen;
  client.online.receive(client.seen[3].packetId);
  await a.world.pass(500);
  expect(client.releases).toEqual([client.seen[3].packetId]);
  const done: unknown[] = [];
  const message = {
    topicBytes: Buffer.from('nobody'),
    body: Buffer.from('x'),
    header: Buffer.alloc(0),
    grade: 2 as const,
  };
  client.online.publish(9, 'nobody', { ...message, expiresAtMs: 0, publisher: 'c' }, (error) => done.push(error));
  await a.world.pass(500);
  expect(done).toEqual([null]);
  client.room = 0;
  await a.publish('t', 'waits', { grade: 2 });

  await move(a, b, 'c', 1);
  expect(client.ends).toEqual(['SESSION_TAKEN_OVER']);
  const there = new TestClient('c', b);
  // What the client knows by itself.
  for (const packetId of client.held) there.held.add(packetId);
  await b.attach(there);
  expect(there.online.hasReceipt(9)).toBe(true);
  await b.world.pass(1000);
  expect(there.seen.slice(0, 3).map(({ value, packetId, isDuplicate }) => [value, packetId, isDuplicate])).toEqual([
    [one.value, one.packetId, true],
    [two.value, two.packetId, true],
    [client.seen[2].value, client.seen[2].packetId, true],
  ]);
  expect(there.values.filter((value) => value === 'waits')).toHaveLength(1);
  expect(there.releases).toContain(client.seen[3].packetId);

  // Nothing of the move is left when all of it was delivered.
  await b.run(b.sessions.detach(there.online, null, true));
  await move(b, a, 'c', 2);
  const back = new TestClient('c', a);
  await a.attach(back);
  await a.publish('t', 'new', { grade: 2 });
  await a.world.pass(1000);
  expect(back.values).toEqual(['new']);
});

test('settleArrival() tells after a crash whether a session that has arrived is at home', async () => {
  for (const [seed, epoch, isHome] of [
    [5, 7, true],
    [6, 8, false],
  ] as const) {
    const a = await opened(seed);
    const b = await opened(seed + 10);
    await away(a, 'c', 't');
    await a.publish('t', 'one', { grade: 2 });
    await run([a, b], carry(a, b, 'c', 7));
    b.crash();
    await b.open();
    expect(b.sessions.isArriving('c')).toBe(true);
    const early = new TestClient('c', b);
    await expect(b.attach(early)).rejects.toMatchObject({ code: 'SESSION_MOVING' });
    b.sessions.settleArrival('c', epoch);
    expect(b.sessions.has('c')).toBe(isHome);
    expect(await b.attach(early)).toBe(isHome);
    await b.world.pass(1000);
    expect(early.values).toEqual(isHome ? ['one'] : []);
    // And it stays so.
    b.crash();
    await b.open();
    expect(b.sessions.isArriving('c')).toBe(false);
  }
});

test('stay() takes a session back, with what came meanwhile', async () => {
  const a = await opened(7);
  const b = await opened(8);
  await away(a, 'c', 't');
  await a.publish('t', 'one');
  const departure = await a.run(a.sessions.depart('c'));
  if (departure === null) throw new Error('there is a session');
  await a.run(departure.next());
  await a.publish('t', 'two');
  const client = new TestClient('c', a);
  await expect(a.attach(client)).rejects.toMatchObject({ code: 'SESSION_MOVING' });
  a.sessions.stay(departure);
  await a.attach(client);
  await a.world.pass(500);
  expect(client.values).toEqual(['one', 'two']);
  await b.run(b.sessions.close());
});

function endOf(chunk: Buffer): string | undefined {
  try {
    return [...itemsOf(chunk)].at(-1)?.type;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

test('take() refuses what is no part of the session', async () => {
  const a = await opened(9);
  const b = await opened(10);
  await away(a, 'c', 't');
  await a.publish('t', 'one');
  const departure = await a.run(a.sessions.depart('c'));
  const chunk = await a.run((departure as NonNullable<typeof departure>).next());
  if (chunk === null) throw new Error('there is a chunk');
  const corrupted = { code: 'SESSION_STATE_CORRUPTED' };
  const wrong = await b.run(b.sessions.arrive('d'));
  await expect(b.run(wrong.take(chunk))).rejects.toMatchObject(corrupted);
  const short = await b.run(b.sessions.arrive('c'));
  await expect(b.run(short.finish(1))).rejects.toMatchObject(corrupted);
  for (let length = 0; length < chunk.length; length += 1) {
    expect(endOf(chunk.subarray(0, length))).not.toBe('end');
  }
  await b.run(short.take(chunk));
  await expect(b.run(short.take(chunk))).rejects.toMatchObject(corrupted);
  expect(b.sessions.size).toBe(0);
});

test('moves of a session with hundreds of subscriptions and messages of all sizes lose nothing', async () => {
  const worlds = [await opened(20), await opened(21)];
  const filters = Array.from({ length: 300 }, (_, at) => `f/${at}`);
  await away(worlds[0], 'c', ...filters.slice(0, 300));
  const bodies = [0, 10, 1_000, 100_000, 300_000].map((size, at) => `${at}:${'x'.repeat(size)}`);
  for (const [at, body] of bodies.entries()) await worlds[0].publish(`f/${at * 70}`, body, { grade: 2 });
  for (let round = 1; round <= 3; round += 1) await move(worlds[(round - 1) % 2], worlds[round % 2], 'c', round);
  const client = new TestClient('c', worlds[1]);
  await worlds[1].attach(client);
  expect(worlds[1].sessions.subscriptionsOf('c')).toHaveLength(300);
  await worlds[1].world.pass(1000);
  expect([...client.values].sort()).toEqual([...bodies].sort());
  expect(worlds[1].sessions.subscriptionsOf('c')[0]).toMatchObject({ identifier: 7, grade: 2 });
});
