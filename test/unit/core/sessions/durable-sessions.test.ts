import { expect, test } from 'vitest';
import { messageOf, SessionWorld, TestClient } from './session-world.ts';

async function opened(given = {}, seed = 1): Promise<SessionWorld> {
  const world = new SessionWorld(seed, given);
  await world.open();
  return world;
}

async function away(world: SessionWorld, id: string, ...filters: string[]): Promise<TestClient> {
  const client = new TestClient(id, world);
  await world.attach(client);
  await world.subscribe(client, ...filters.map((filter) => ({ filter, grade: 2 as const })));
  await leave(world, client);
  return client;
}

async function leave(world: SessionWorld, client: TestClient): Promise<void> {
  const { online } = client;
  client.lose();
  await world.run(world.sessions.detach(online, null, false));
}

test('publish() reaches a session that is online, and a session that comes back', async () => {
  const world = await opened();
  const online = new TestClient('online', world);
  expect(await world.attach(online)).toBe(false);
  await world.subscribe(online, { filter: 'a/+' });
  const gone = await away(world, 'gone', 'a/#');
  await world.publish('a/b', 'one');
  await world.publish('a/c', 'two', { grade: 2 });
  await world.publish('b/c', 'other');
  expect(online.values).toEqual(['one', 'two']);
  expect(await world.attach(gone)).toBe(true);
  await world.world.pass(500);
  expect(gone.values).toEqual(['one', 'two']);
  expect(gone.given.map(({ grade }) => grade)).toEqual([1, 2]);
  expect(gone.releases).toHaveLength(1);
  expect(gone.online.isCaughtUp).toBe(true);
});

test('wants() says which topics are to be stored', async () => {
  const world = await opened();
  expect(world.sessions.wants('a/b')).toBe(false);
  const client = await away(world, 'c', 'a/+');
  expect(world.sessions.wants('a/b')).toBe(true);
  await world.attach(client);
  await world.run(world.sessions.unsubscribe(client.online, ['a/+', 'nothing']));
  expect(world.sessions.wants('a/b')).toBe(false);
});

test('open() after a crash has sessions, subscriptions and messages', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.publish('a', 'one');
  world.crash();
  await world.open();
  expect(world.sessions.has('c')).toBe(true);
  expect(world.sessions.wants('a')).toBe(true);
  await world.publish('a', 'two');
  expect(await world.attach(client)).toBe(true);
  await world.world.pass(500);
  expect(client.values).toEqual(['one', 'two']);
});

test('attach() sends what was not acknowledged again, with its packet id and the mark of a duplicate', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.attach(client);
  client.manner = 'keep';
  await world.publish('a', 'one');
  await world.publish('a', 'two', { grade: 2 });
  await world.world.pass(500);
  const first = client.seen.map(({ value, packetId }) => ({ value, packetId }));
  world.crash();
  client.lose();
  await world.open();
  await world.attach(client);
  await world.world.pass(500);
  const again = client.seen.slice(2);
  expect(again.map(({ value, packetId }) => ({ value, packetId }))).toEqual(first);
  expect(again.every(({ isDuplicate }) => isDuplicate)).toBe(true);
  expect(client.values).toEqual(['one', 'two', 'one']);
});

test('receive() releases after the record of the receipt, and again after a crash', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.attach(client);
  await world.publish('a', 'one', { grade: 2 });
  client.manner = 'keep';
  await world.publish('a', 'two', { grade: 2 });
  client.answerDue();
  expect(client.releases).toHaveLength(1);
  await world.world.pass(300);
  expect(client.releases).toHaveLength(2);
  const [, packetId] = client.releases;
  world.crash();
  client.lose();
  await world.open();
  await world.attach(client);
  await world.world.pass(300);
  expect(client.releases.at(-1)).toBe(packetId);
  expect(client.values).toEqual(['one', 'two']);
  client.answerDue();
  expect(client.online.complete(packetId)).toBe(false);
});

test('acknowledge() refuses packet ids that are not in flight', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.attach(client);
  client.manner = 'keep';
  await world.publish('a', 'one', { grade: 2 });
  expect(client.online.acknowledge(1)).toBe(false);
  expect(client.online.complete(1)).toBe(false);
  expect(client.online.receive(2)).toBe(false);
  expect(client.online.receive(1)).toBe(true);
});

test('a session with a full window falls behind and goes on in order', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a/#');
  await world.attach(client, { window: 2 });
  client.manner = 'keep';
  for (let index = 0; index < 20; index += 1) await world.publish(`a/${index % 3}`, `m${index}`);
  expect(client.values).toEqual(['m0', 'm1']);
  expect(client.online.isBehind).toBe(true);
  client.manner = 'answer';
  client.answerDue();
  await world.world.pass(300);
  expect(client.values).toEqual(Array.from({ length: 20 }, (_, index) => `m${index}`));
  expect(client.online.isBehind).toBe(false);
});

test('a session whose output is full goes on after resume()', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.attach(client);
  client.room = 1;
  for (const value of ['one', 'two', 'three']) await world.publish('a', value);
  expect(client.values).toEqual(['one']);
  client.room = 10;
  client.online.resume();
  await world.world.pass(100);
  expect(client.values).toEqual(['one', 'two', 'three']);
});

test('subscribe() keeps messages from before it away', async () => {
  const world = await opened();
  await away(world, 'other', 'a/#');
  await world.publish('a/x', 'before');
  const client = new TestClient('c', world);
  await world.attach(client);
  await world.subscribe(client, { filter: 'a/x' });
  await world.publish('a/x', 'after');
  await world.world.pass(100);
  expect(client.values).toEqual(['after']);
});

test('noLocal keeps a session from its own messages', async () => {
  const world = await opened();
  const client = new TestClient('c', world);
  await world.attach(client);
  await world.subscribe(client, { filter: 'a', noLocal: true });
  await world.publish('a', 'mine', { publisher: 'c' });
  await world.publish('a', 'theirs', { publisher: 'd' });
  expect(client.values).toEqual(['theirs']);
});

test('messages that have expired are not delivered', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.publish('a', 'short', { expiresAtMs: world.world.wall + 1000 });
  await world.publish('a', 'long', { expiresAtMs: world.world.wall + 100_000 });
  await world.world.pass(2000);
  await world.attach(client);
  await world.world.pass(100);
  expect(client.values).toEqual(['long']);
  expect(world.sessions.runtime.drops.expired).toBe(1);
});

test('a message that is too large for its client is settled and counted', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  client.bytesMax = 10;
  await world.attach(client);
  await world.publish('a', 'x'.repeat(100));
  await world.publish('a', 'x'.repeat(100), { grade: 2 });
  await world.publish('a', 'small');
  await world.world.pass(300);
  expect(client.values).toEqual(['small']);
  expect(world.sessions.runtime.drops.tooLarge).toBe(2);
});

test('attach() ends the connection that the session has', async () => {
  const world = await opened();
  const first = new TestClient('c', world);
  await world.attach(first);
  const second = new TestClient('c', world);
  expect(await world.attach(second)).toBe(true);
  expect(first.ends).toEqual(['SESSION_TAKEN_OVER']);
});

test('attach() with isClean forgets the session, its messages and its receipts', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.publish('a', 'old');
  expect(await world.attach(client, { isClean: true })).toBe(false);
  await world.world.pass(300);
  expect(client.values).toEqual([]);
  expect(world.sessions.wants('a')).toBe(false);
  world.crash();
  await world.open();
  expect(world.sessions.subscriptionsOf('c')).toEqual([]);
});

test('publish() of a session stores a message of grade 2 once, over a crash too', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  const publisher = new TestClient('p', world);
  await world.attach(publisher);
  const send = (value: string): Promise<string> => {
    let outcome = '';
    return world.run(
      new Promise((resolve, reject) => {
        const message = messageOf('a', value, { grade: 2, publisher: 'p' });
        outcome = publisher.online.publish(7, 'a', message, (error) =>
          error === null ? resolve(outcome) : reject(error),
        );
      }),
    );
  };
  expect(await send('one')).toBe('new');
  expect(await send('one')).toBe('duplicate');
  // Not even the progress was stored: the message itself proves it.
  world.crash();
  await world.open();
  await world.attach(publisher);
  expect(await send('one')).toBe('duplicate');
  await world.run(new Promise((resolve) => expect(publisher.online.release(7, resolve)).toBe(true)));
  world.crash();
  await world.open();
  await world.attach(publisher);
  expect(await send('two')).toBe('new');
  await world.attach(client);
  await world.world.pass(500);
  expect(client.values).toEqual(['one', 'two']);
});

test('publish() of a session keeps the receipt when nobody wants the message', async () => {
  const world = await opened();
  const publisher = new TestClient('p', world);
  await world.attach(publisher);
  const message = messageOf('nobody', 'x', { grade: 2 });
  await world.run(new Promise((resolve) => publisher.online.publish(1, 'nobody', message, resolve)));
  expect(publisher.online.hasReceipt(1)).toBe(true);
  world.crash();
  await world.open();
  await world.attach(publisher);
  expect(publisher.online.hasReceipt(1)).toBe(true);
  expect(world.world.records('__messages.0').every(({ key }) => key === null)).toBe(true);
});

test('tick() publishes wills and ends sessions when they are due', async () => {
  const world = await opened();
  const client = new TestClient('c', world);
  const will = { delayMs: 5000, content: Buffer.from('bye') };
  await world.attach(client, { expiryMs: 20_000, will });
  await world.run(world.sessions.detach(client.online, null, true));
  await world.world.pass(4000);
  world.sessions.tick();
  expect(world.wills).toEqual([]);
  await world.world.pass(2000);
  world.sessions.tick();
  world.sessions.tick();
  expect(world.wills).toEqual(['c:bye']);
  await world.world.pass(20_000);
  world.sessions.tick();
  expect(world.expired).toEqual(['c']);
  await world.world.settle();
  world.crash();
  await world.open();
  expect(world.sessions.size).toBe(0);
});

test('open() after a crash begins the absence of clients that were connected', async () => {
  const world = await opened();
  const client = new TestClient('c', world);
  await world.attach(client, { expiryMs: 10_000, will: { delayMs: 0, content: Buffer.from('bye') } });
  world.crash();
  await world.world.pass(60_000);
  await world.open();
  world.sessions.tick();
  expect(world.wills).toEqual(['c:bye']);
  expect(world.expired).toEqual([]);
  await world.world.pass(11_000);
  world.sessions.tick();
  expect(world.expired).toEqual(['c']);
});

test('detach() with a lifetime of 0 ends the session, its will first', async () => {
  const world = await opened();
  const client = new TestClient('c', world);
  await world.attach(client, { expiryMs: 1000, will: { delayMs: 60_000, content: Buffer.from('bye') } });
  await world.run(world.sessions.detach(client.online, 0, true));
  expect(world.wills).toEqual(['c:bye']);
  expect(world.sessions.has('c')).toBe(false);
});

test('open() fences the owner before', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.attach(client);
  const second = await world.run(world.opening());
  const refused = await world.publish('a', 'late').catch((error: Error & { code: string }) => error.code);
  expect(refused).toBe('SESSION_FENCED');
  expect(client.ends).toEqual(['SESSION_FENCED']);
  expect(world.failures).toContain('SESSION_FENCED');
  expect(second.has('c')).toBe(true);
});

test('handOver() and adopt() move a session with all that is under way', async () => {
  const world = await opened();
  const client = await away(world, 'c', 'a');
  await world.attach(client);
  client.manner = 'keep';
  await world.publish('a', 'one', { grade: 2 });
  await world.world.pass(300);
  const [{ packetId }] = client.seen;
  const first = world.sessions;
  const second = await world.run(world.opening({ slot: 1 }));
  const transfer = structuredClone(await world.run(first.handOver('c')));
  if (transfer === null) throw new Error('there is a session');
  await world.run(second.adopt(transfer));
  await world.publish('a', 'two');
  await world.run(first.forget(transfer));
  expect(first.has('c')).toBe(false);
  expect(client.ends).toEqual(['SESSION_TAKEN_OVER']);
  world.sessions = second;
  client.manner = 'answer';
  await world.attach(client);
  await world.world.pass(500);
  expect(client.seen.map(({ value }) => value)).toEqual(['one', 'one', 'two']);
  expect(client.seen[1].packetId).toBe(packetId);
  expect(client.values).toEqual(['one', 'two']);
});

test('attach() refuses names, windows and filters that cannot be', async () => {
  const world = await opened({ sessionsMax: 1, subscriptionsMax: 1 });
  const client = new TestClient('c', world);
  await expect(world.attach(new TestClient('', world))).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
  await expect(world.attach(client, { window: 0 })).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
  await world.attach(client);
  await expect(world.attach(new TestClient('d', world))).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
  await expect(world.subscribe(client, { filter: 'a/#/b' })).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
  await expect(world.subscribe(client, { filter: 'a' }, { filter: 'b' })).rejects.toMatchObject({
    code: 'SESSION_LIMIT',
  });
  expect(world.sessions.wants('a')).toBe(false);
});

test('messages are stored once, however many sessions want them', async () => {
  const world = await opened();
  for (let index = 0; index < 50; index += 1) await away(world, `c${index}`, 'a/#');
  await world.world.pass(500);
  const before = world.world.appends;
  for (let index = 0; index < 10; index += 1) await world.publish('a/b', `m${index}`);
  await world.world.pass(1000);
  expect(world.world.appends - before).toBe(10);
  expect(world.world.records('__messages.0').filter(({ key }) => key !== null)).toHaveLength(10);
});

test('the stream of sessions is written anew when it is long', async () => {
  const world = await opened({ rewriteBytesMin: 2000 });
  const client = await away(world, 'c', 'a');
  for (let index = 0; index < 100; index += 1) {
    await world.attach(client);
    await world.publish('a', `m${index}`, { grade: 2 });
    await world.world.pass(300);
    await leave(world, client);
  }
  await world.world.pass(500);
  expect(world.world.records('__sessions.0').length).toBeLessThan(150);
  world.crash();
  await world.open();
  await world.publish('a', 'last');
  await world.attach(client);
  await world.world.pass(500);
  expect(client.values).toEqual([...Array.from({ length: 100 }, (_, index) => `m${index}`), 'last']);
});

test('a client with a smaller window than the one before is sent again no more than that at a time', async () => {
  const world = await opened();
  const client = new TestClient('c', world);
  client.manner = 'keep';
  await world.attach(client, { window: 10 });
  await world.subscribe(client, { filter: 'a', grade: 1 });
  for (let at = 0; at < 6; at += 1) await world.publish('a', `${at}`);
  expect(client.values).toHaveLength(6);
  await leave(world, client);
  client.seen.length = 0;
  await world.attach(client, { window: 2 });
  await world.world.pass(500);
  expect(client.seen.map(({ value }) => value)).toEqual(['0', '1']);
  client.answerDue(1);
  await world.world.pass(500);
  expect(client.seen.map(({ value }) => value)).toEqual(['0', '1', '2']);
  client.manner = 'answer';
  client.answerDue();
  await world.world.pass(500);
  expect(client.seen.map(({ value }) => value)).toEqual(['0', '1', '2', '3', '4', '5']);
});

test('packet ids stay below those that are for the protocol', async () => {
  const world = await opened({ packetIdMax: 3 });
  const client = new TestClient('c', world);
  await world.attach(client, { window: 3 });
  await world.subscribe(client, { filter: 'a', grade: 1 });
  for (let at = 0; at < 5; at += 1) await world.publish('a', `${at}`);
  expect(client.seen.map(({ packetId }) => packetId)).toEqual([1, 2, 3, 1, 2]);
});

test('hasExpired() says that a session is over before tick() has ended it', async () => {
  const world = await opened();
  const client = new TestClient('c', world);
  const will = { delayMs: 60_000, content: Buffer.from('bye') };
  await world.attach(client, { expiryMs: 1_000, will });
  expect(world.sessions.hasExpired('c')).toBe(false);
  await world.run(world.sessions.detach(client.online, null, true));
  expect(world.sessions.hasExpired('c')).toBe(false);
  expect(world.sessions.willOf('c')).toEqual(will);
  await world.world.pass(1_100);
  expect(world.sessions.hasExpired('c')).toBe(true);
  expect(world.sessions.hasExpired('nobody')).toBe(false);
});

test('subscriptionCounts counts sessions that are away, after a crash too, and what a protocol stores beside once', async () => {
  const world = await opened({
    classOf: ({ filter }: { readonly filter: string }) =>
      filter === 'b' ? 'beside' : filter === 's' ? 'shared' : 'plain',
  });
  const client = await away(world, 'c', 'a', 'b', 's');
  const other = await away(world, 'd', ...Array.from({ length: 20 }, (_, index) => `t/${index}`));
  await away(world, 'none');
  const all = { subscriptions: 22, shared: 1, subscribers: 2 };
  expect(world.sessions.subscriptionCounts).toEqual(all);
  world.crash();
  await world.open();
  expect(world.sessions.subscriptionCounts).toEqual(all);
  await world.attach(client);
  await world.run(world.sessions.unsubscribe(client.online, ['s', 'b', 'nothing']));
  expect(world.sessions.subscriptionCounts).toEqual({ subscriptions: 21, shared: 0, subscribers: 2 });
  await world.attach(other, { isClean: true });
  expect(world.sessions.subscriptionCounts).toEqual({ subscriptions: 1, shared: 0, subscribers: 1 });
  await world.run(world.sessions.remove('c'));
  expect(world.sessions.subscriptionCounts).toEqual({ subscriptions: 0, shared: 0, subscribers: 0 });
});
