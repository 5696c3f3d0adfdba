import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { sealBatch } from '../../../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../../../src/core/batch/record-cursor.ts';
import { EntryTable, nothing } from '../../../../src/core/queues/entry-table.ts';
import { KeyLocks } from '../../../../src/core/queues/key-locks.ts';
import { messageEvents, messageStates, messageTransitions } from '../../../../src/core/queues/message-state.ts';
import { openBatch } from '../../../../src/core/queues/open-batch.ts';
import { centredLevel, clampedLevel } from '../../../../src/core/queues/priority.ts';
import { queueSettings } from '../../../../src/core/queues/queue-settings.ts';
import { ReadyQueue } from '../../../../src/core/queues/ready-queue.ts';
import { redeliveryDelayMs } from '../../../../src/core/queues/redelivery.ts';
import { readSetRecord, SetRecordWriter } from '../../../../src/core/queues/set-records.ts';
import { SetReplay } from '../../../../src/core/queues/set-replay.ts';
import { SlotWheel } from '../../../../src/core/queues/slot-wheel.ts';
import { batchOf, Chance, World } from './fixture.ts';

test('messageTransitions is total, and settled is final', () => {
  expect(Object.keys(messageTransitions).sort()).toEqual([...messageStates].sort());
  for (const state of messageStates) {
    expect(Object.keys(messageTransitions[state]).sort()).toEqual([...messageEvents].sort());
  }
  expect(new Set(Object.values(messageTransitions.settled))).toEqual(new Set([null]));
  // Only a consumer that has the message can acknowledge it, and only a stored letter ends a dying one.
  const settling = messageStates.flatMap((state) =>
    messageEvents.flatMap((event) => (messageTransitions[state][event] === 'settled' ? [`${state} ${event}`] : [])),
  );
  expect(settling.filter((each) => each.endsWith('acknowledge'))).toEqual(['inFlight acknowledge']);
  expect(settling.filter((each) => each.startsWith('dying'))).toEqual(['dying gone', 'dying buried']);
});

test('EntryTable finds what is there, in random runs', () => {
  const chance = new Chance(11);
  const table = new EntryTable(2, 4);
  const known = new Map<string, number>();
  const next = [0, 0xffff_fff0];
  for (let step = 0; step < 8000; step += 1) {
    const partition = chance.below(2);
    if (chance.hit(0.52)) {
      next[partition] += 1 + (chance.hit(0.1) ? chance.below(1_000_000) : 0);
      known.set(`${partition} ${next[partition]}`, table.add(partition, next[partition], 0, null));
    } else if (known.size > 0) {
      const [place, slot] = [...known.entries()][chance.below(Math.min(known.size, 40))];
      table.remove(slot);
      known.delete(place);
    }
    if (step % 500 !== 0) continue;
    expect(table.size).toBe(known.size);
    for (const [place, slot] of known) {
      const [of, offset] = place.split(' ').map(Number);
      expect(table.find(of, offset)).toBe(slot);
    }
    for (const of of [0, 1]) {
      const offsets: number[] = [];
      for (let slot = table.firstOf(of); slot !== nothing; slot = table.nextByOffset[slot]) {
        offsets.push(table.offset[slot]);
      }
      expect(offsets).toEqual([...offsets].sort((one, other) => one - other));
      expect(offsets).toHaveLength(table.countOf(of));
    }
    expect(table.find(0, 0xffff_ffff_ffff)).toBe(nothing);
    expect(table.find(9, 0)).toBe(nothing);
  }
});

test('SlotWheel meets each deadline once, never early, and at most a tick late', () => {
  const chance = new Chance(5);
  const table = new EntryTable(1, 8);
  let now = 12_345;
  const wheel = new SlotWheel(table, 10, now);
  const deadlines = new Map<number, number>();
  for (let step = 0; step < 1500; step += 1) {
    if (deadlines.size < 200) {
      const slot = table.add(0, step, 0, null);
      const at = now + chance.pick([0, 5, 100, 10_000, 50_000]) * chance.share();
      deadlines.set(slot, at);
      wheel.start(slot, at);
    }
    if (chance.hit(0.2)) {
      const slot = chance.pick([...deadlines.keys()]);
      wheel.cancel(slot);
      deadlines.delete(slot);
      table.remove(slot);
    }
    expect(wheel.nextAt()).toBeGreaterThanOrEqual(Math.min(Infinity, ...deadlines.values()) - 0.001);
    now += chance.pick([1, 7, 30, 20_000]) * (chance.hit(0.98) ? chance.share() : 1);
    wheel.advance(now, (slot) => {
      const at = deadlines.get(slot) ?? Infinity;
      expect(at).toBeLessThanOrEqual(now);
      deadlines.delete(slot);
      table.remove(slot);
    });
    for (const at of deadlines.values()) expect(at).toBeGreaterThan(now - 20);
    expect(wheel.count).toBe(deadlines.size);
  }
});

test('ReadyQueue gives old places back and lets nobody starve behind its guard', () => {
  const table = new EntryTable(2, 64);
  const queue = new ReadyQueue(table, [0, 3], 3);
  const low = [1, 2].map((offset) => table.add(0, offset, 0, null));
  for (const slot of low) queue.pushFresh(slot);
  const high = Array.from({ length: 12 }, (_, offset) => table.add(1, offset, 0, null));
  for (const slot of high) queue.pushFresh(slot);
  const first = queue.shift();
  expect(first).toBe(high[0]);
  queue.pushAgain(first);
  const order = Array.from({ length: 14 }, () => queue.shift());
  expect(order.filter((slot) => high.includes(slot))).toEqual(high);
  expect(order.indexOf(low[0])).toBeLessThanOrEqual(3);
  expect(order.indexOf(low[1])).toBeLessThanOrEqual(7);
  expect([queue.count, queue.shift()]).toEqual([0, nothing]);
});

test('KeyLocks keeps keys apart whose hashes are equal, and orders their messages', () => {
  const table = new EntryTable(1, 4);
  const locks = new KeyLocks(table, 1);
  // All keys in one chain.
  Object.defineProperty(locks, 'hashOf', { value: () => 7 });
  const slots = Array.from({ length: 300 }, (_, offset) => table.add(0, offset, 0, null));
  const owners = slots.filter((slot, index) => locks.acquire(Buffer.from(`k${index % 100}`), slot));
  expect(owners).toEqual(slots.slice(0, 100));
  expect(locks.count).toBe(100);
  expect(locks.release(slots[105])).toBe(nothing);
  expect(locks.release(slots[5])).toBe(slots[205]);
  expect(locks.release(slots[205])).toBe(nothing);
  expect(locks.release(slots[6])).toBe(slots[106]);
  expect(locks.count).toBe(99);
});

test('SetRecordWriter and SetReplay agree with sets of offsets, in random runs', () => {
  for (let seed = 1; seed < 30; seed += 1) {
    const chance = new Chance(seed);
    const writer = new SetRecordWriter();
    const replay = new SetReplay(100_000);
    const counts = new Map<number, number>();
    let end = 100;
    writer.reset(0, 100);
    for (let step = 0; step < 300; step += 1) {
      const open = [...counts.keys()];
      const kind = chance.below(10);
      if (kind < 4) {
        for (let more = chance.below(5); more >= 0; more -= 1) {
          counts.set(end, 1);
          writer.deliver(0, end, 1);
          end += 1;
        }
      } else if (kind < 7 && open.length > 0) {
        const offset = chance.pick(open);
        counts.delete(offset);
        writer.settle(0, offset);
      } else if (kind < 8 && open.length > 0) {
        const offset = chance.pick(open);
        counts.set(offset, 9);
        writer.return(0, offset, 1, 9, 0, 5);
      } else if (kind < 9) {
        const length = chance.hit(0.1) ? 1e9 : chance.below(10);
        writer.skip(0, end, length);
        end += length;
      } else {
        const record = writer.take();
        if (record !== null) expect(readSetRecord(record, replay)).toBe(true);
      }
    }
    expect(readSetRecord(writer.take() ?? Buffer.alloc(0), replay)).toBe(true);
    const state = replay.partitions.get(0);
    expect(state?.end).toBe(end);
    const found = [...(state?.entries ?? [])].map(([offset, { count }]) => [offset, count]);
    expect(found.sort((one, other) => one[0] - other[0])).toEqual([...counts].sort((one, other) => one[0] - other[0]));
  }
  expect(readSetRecord(Buffer.from([99]), new SetReplay(1))).toBe(false);
});

test('centredLevel() keeps the middle apart, clampedLevel() cuts above', () => {
  expect([0, 3, 9, 255].map((priority) => clampedLevel(priority, 4))).toEqual([0, 3, 3, 3]);
  expect([0, 4, 5, 9, 255].map((priority) => centredLevel(priority, 2))).toEqual([0, 0, 1, 1, 1]);
  expect([0, 3, 4, 5, 9].map((priority) => centredLevel(priority, 3))).toEqual([0, 0, 1, 2, 2]);
  expect([0, 4, 9, 255].map((priority) => centredLevel(priority, 10))).toEqual([0, 4, 9, 9]);
});

test('redeliveryDelayMs() grows to its bound, and jitter only shortens it', () => {
  const settings = { baseMs: 100, factor: 3, maxMs: 1000, jitter: 0.5 };
  expect([1, 2, 3, 4].map((count) => redeliveryDelayMs(settings, count, 0))).toEqual([100, 300, 900, 1000]);
  expect(redeliveryDelayMs(settings, 1, 0.999)).toBe(50);
  expect(redeliveryDelayMs(settings, 10_000, 0)).toBe(1000);
  expect(redeliveryDelayMs({ ...settings, baseMs: 0 }, 5, 0)).toBe(0);
});

test('queueSettings() names the setting that is out of range', () => {
  expect(() => queueSettings({ guardEvery: 0 })).toThrow('guardEvery');
  expect(() => queueSettings({ ttlMs: Number.NaN })).toThrow('ttlMs');
  expect(() => queueSettings({ order: 'constructor' as 'key' })).toThrow('order');
});

test('openBatch() opens what Node can decompress and asks for the rest', () => {
  const plain = batchOf(new World(), ['one', 'two']);
  for (const [compression, compress] of [
    [1, gzipSync],
    [4, zstdCompressSync],
    [2, (bytes: Buffer) => Buffer.from(bytes).reverse()],
  ] as const) {
    const records = compress(plain.subarray(61));
    const batch = Buffer.concat([plain.subarray(0, 61), records]);
    batch.writeInt32BE(batch.length - 12, 8);
    batch.writeInt16BE(compression, 21);
    sealBatch(batch, 0, batch.length);
    const { bytes, at } = openBatch(batch, 0, (_, each) => Buffer.from(each).reverse());
    const cursor = new RecordCursor().reset(bytes, at);
    const values: string[] = [];
    while (cursor.next()) values.push(cursor.value?.toString() ?? '');
    expect([values, cursor.isSound]).toEqual([['one', 'two'], true]);
    if (compression === 2) expect(() => openBatch(batch, 0, null)).toThrow('there is no decompressor');
    batch.fill(0, 61);
    expect(() => openBatch(batch, 0, null)).toThrow('Cannot open a batch');
  }
});
