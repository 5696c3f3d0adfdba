import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { BatchCache, StoredBatch } from '../../../../src/core/sessions/batch-cache.ts';
import { SessionWorld, TestClient } from './session-world.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What only weak references hold is gone afterwards. */
async function collect(): Promise<void> {
  for (let round = 0; round < 3; round += 1) {
    // A reference that was looked at is held to the end of the turn.
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
  }
}

async function opened(given = {}): Promise<SessionWorld> {
  const world = new SessionWorld(1, given);
  await world.open();
  return world;
}

/** A client that came, was given a message, and left; nothing here holds it any more. */
async function visit(world: SessionWorld, id: string): Promise<WeakRef<TestClient>> {
  const client = new TestClient(id, world);
  await world.attach(client);
  await world.subscribe(client, { filter: 'a/+', grade: 1 });
  await world.publish('a/b', 'one');
  expect(client.values).toEqual(['one']);
  const { online } = client;
  client.lose();
  await world.run(world.sessions.detach(online, null, false));
  return new WeakRef(client);
}

test('detach() lets the connection go although nobody publishes to its topics any more', async () => {
  const world = await opened();
  const visitor = await visit(world, 'c');
  await collect();
  expect(visitor.deref()).toBeUndefined();
  expect(world.sessions.has('c')).toBe(true);
});

test('upkeep() lets spans of the index go although nobody publishes to their topics any more', async () => {
  const world = await opened({ indexBytesMax: 64 * 1024 });
  await visit(world, 'c');
  const [feed] = world.sessions.runtime.feeds;
  const last = (feed?.tail ?? 0) - 1;
  const oldest = new WeakRef(feed?.index.spanAt(last) as object);
  for (let topic = 0; topic < 300; topic += 1) await world.publish(`a/${topic}`, 'x');
  expect(feed?.index.spanAt(last)).toBeNull();
  world.sessions.upkeep();
  await collect();
  expect(oldest.deref()).toBeUndefined();
});

function batchAt(baseOffset: number, records: number, valueBytes: number): Buffer {
  const builder = new BatchBuilder({});
  for (let index = 0; index < records; index += 1)
    builder.add({ timestampMs: 1, value: Buffer.alloc(valueBytes, 'x') });
  const bytes = builder.build();
  bytes.writeBigInt64BE(BigInt(baseOffset), 0);
  return bytes;
}

test('StoredBatch keeps nothing else in memory than its bytes', () => {
  const small = batchAt(0, 3, 100);
  const slab = Buffer.from(new SharedArrayBuffer(1024 * 1024)).subarray(4096, 4096 + small.length);
  small.copy(slab);
  for (const bytes of [small, slab]) {
    const batch = new StoredBatch(bytes, 0);
    expect(batch.bytes.equals(small)).toBe(true);
    expect(batch.bytes.buffer.byteLength).toBe(small.length);
    expect(batch.startOf(2)).toBeGreaterThan(0);
  }
  // What is most of its buffer is not copied.
  const large = batchAt(0, 1, 60_000);
  expect(new StoredBatch(large, 0).bytes).toBe(large);
});

test('BatchCache.forgetBefore() forgets batches that end before the offset, and counts them off', () => {
  const cache = new BatchCache({} as ConstructorParameters<typeof BatchCache>[0], 1024 * 1024);
  const batches = [0, 3, 6].map((baseOffset) => new StoredBatch(batchAt(baseOffset, 3, 10), 0));
  for (const batch of batches) cache.put(batch);
  cache.forgetBefore(0);
  cache.forgetBefore(2);
  expect(cache.find(0)).toBe(batches[0]);
  cache.forgetBefore(5);
  expect([0, 3, 6].map((offset) => cache.find(offset))).toEqual([null, batches[1], batches[2]]);
  expect(cache.bytes).toBe((batches[1]?.size ?? 0) + (batches[2]?.size ?? 0));
  cache.forgetBefore(100);
  expect(cache.find(6)).toBeNull();
  expect(cache.bytes).toBe(0);
});
