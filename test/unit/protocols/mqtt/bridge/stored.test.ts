// What is stored for a remote broker: written on the publisher's worker, read by the bridge's, over a store in memory.
import { describe, expect, it } from 'vitest';
import { Run } from '../../../../../src/core/broker/run.ts';
import type { Cursors, OffsetCommit } from '../../../../../src/core/ports/cursors.ts';
import type { PacedStore, StreamPartition } from '../../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../../src/core/streams/storage-error.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { BridgeTap } from '../../../../../src/protocols/mqtt/bridge/bridge-door.ts';
import { BridgeCounters, bridgeMetrics } from '../../../../../src/protocols/mqtt/bridge/bridge-metrics.ts';
import { exactIdOf } from '../../../../../src/protocols/mqtt/bridge/exact-ids.ts';
import { OutgoingTap } from '../../../../../src/protocols/mqtt/bridge/outgoing-tap.ts';
import type { BridgeSettings } from '../../../../../src/protocols/mqtt/bridge/settings.ts';
import { type StoredEntry, StoredReader } from '../../../../../src/protocols/mqtt/bridge/stored-reader.ts';
import { openStoredStream, storedStreamSettings } from '../../../../../src/protocols/mqtt/bridge/stored-stream.ts';
import { StoredWriter } from '../../../../../src/protocols/mqtt/bridge/stored-writer.ts';
import { fillRunWithFrame } from '../../../../../src/protocols/mqtt/delivery/run-of-frame.ts';
import { generatePublish } from '../../../../../src/protocols/mqtt/packets/generate.ts';
import { CounterBlock, createCounters } from '../../../../../src/shm/counters.ts';
import { openPacedMemoryStore } from '../../../../support/mqtt/paced-memory-store.ts';

const name = '__bridge.b';
const limits = { bytesMax: 1_048_576, ageMaxS: 3_600 };

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** Cursors that live as long as the test. */
function memoryCursors(): { cursors: Cursors; places: Map<string, number> } {
  const places = new Map<string, number>();
  const metadata = new Map<string, string>();
  const cursors = {
    fetch: async (_group: string, streams: readonly string[]) =>
      streams.map((stream) => {
        const offset = places.get(stream);
        const more = { leaderEpoch: -1, metadata: metadata.get(stream) ?? '', time: 0 };
        const cursor = offset === undefined ? null : { offset, ...more };
        return { stream, cursor, isStaged: false };
      }),
    commit: async (_group: string, _generation: null, commits: readonly OffsetCommit[]) => {
      for (const { stream, offset, metadata: text = '' } of commits) {
        places.set(stream, offset);
        metadata.set(stream, text);
      }
    },
  } as unknown as Cursors;
  return { cursors, places };
}

function countersOf(): BridgeCounters {
  const layout = new MetricsLayout([bridgeMetrics([{ name: 'b' } as BridgeSettings])]);
  return new BridgeCounters(new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount))), 'b');
}

function runOf(topic: string, text: string, qos: 0 | 1 | 2): Run {
  const payload = Buffer.from(text);
  const fields = {
    topic,
    payload,
    qos,
    retain: false,
    packetId: qos === 0 ? 0 : 1,
    properties: { userProperties: [] },
  };
  const run = new Run();
  fillRunWithFrame(run, generatePublish(fields, 5), 5);
  run.topic = topic;
  return run;
}

async function rig(keepsQos0 = false, open?: () => Promise<StreamPartition>) {
  const { store, congest } = await openPacedMemoryStore();
  const counters = countersOf();
  const openStream = open ?? (() => openStoredStream(store, name, storedStreamSettings(limits)));
  const answered = (error: Error | null, records: number): void => {
    if (error !== null) counters.dropped('out', 'not-stored', records);
  };
  const writer = new StoredWriter({ store, open: openStream, answered });
  const rules = [
    { filter: 'a/#', qos: 1, removePrefix: '', addPrefix: 'far/' },
    { filter: 'a/zero', qos: 0, removePrefix: 'a/', addPrefix: '' },
    { filter: 'x/#', qos: 1, removePrefix: 'x/y/', addPrefix: '' },
  ];
  const tap = new OutgoingTap({ clientId: 'me', rules, hopsMax: 8, keepsQos0, writer, counters });
  return { store, congest, counters, writer, tap };
}

async function readerOf(store: PacedStore, cursors: Cursors) {
  const notes: string[] = [];
  const entries: StoredEntry[] = [];
  const reader = await StoredReader.open({
    bridge: 'b',
    cursors,
    window: 100,
    open: () => openStoredStream(store, name, storedStreamSettings(limits)),
    arrived: () => drain(),
    lost: (count) => notes.push(`lost ${count}`),
    troubled: (problem) => problem !== null && notes.push(problem),
  });
  const drain = (): void => {
    for (let entry = reader.take(); entry !== undefined; entry = reader.take()) entries.push(entry);
  };
  drain();
  const texts = (): string[] => entries.map(({ message }) => `${message?.topic} ${message?.payload}`);
  return { reader, entries, texts, notes };
}

describe('OutgoingTap', () => {
  it('stores what rules name with QoS 1 and more, under the remote names, and tells when it is durable', async () => {
    const { tap, store, counters } = await rig();
    const told: (Error | null)[] = [];
    const done = (error: Error | null) => told.push(error);
    expect(tap.copy(runOf('a/1', 'one', 2), done)).toBe(1);
    // The rule for a/zero goes another way.
    expect(tap.copy(runOf('a/zero', 'two', 1), done)).toBe(1);
    expect(tap.copy(runOf('a/1', 'never', 0), null)).toBe(0);
    expect(tap.copy(runOf('x/z', 'no name', 1), done)).toBe(0);
    expect(told).toEqual([]);
    await until(() => told.length === 2);
    expect(told).toEqual([null, null]);
    expect(counters.droppedCount('out')).toBe(1);
    const { texts, entries, reader } = await readerOf(store, memoryCursors().cursors);
    await until(() => entries.length === 2);
    expect(texts()).toEqual(['far/a/1 one', 'far/a/zero two']);
    expect(entries.map(({ message }) => message?.qos)).toEqual([1, 1]);
    await reader.stop();
  });

  it('stores QoS 0 where it is asked to, and drops it while there is no room', async () => {
    const { tap, store, congest, counters } = await rig(true);
    await until(() => tap.hasRoom);
    tap.copy(runOf('a/1', 'kept', 0), null);
    congest(true);
    tap.copy(runOf('a/1', 'dropped', 0), null);
    congest(false);
    const { texts, reader } = await readerOf(store, memoryCursors().cursors);
    await until(() => texts().length === 1);
    expect(texts()).toEqual(['far/a/1 kept']);
    expect(counters.droppedCount('out')).toBe(1);
    await reader.stop();
  });

  it('tells why a message is not stored, and goes on when the store is there again', async () => {
    const { store } = await openPacedMemoryStore();
    let failures = 2;
    const broken = async (): Promise<StreamPartition> => {
      if (failures-- > 0) throw new StorageError('STORAGE_UNAVAILABLE', 'away');
      return openStoredStream(store, name, storedStreamSettings(limits));
    };
    const { tap, counters } = await rig(false, broken);
    const told: (string | undefined)[] = [];
    const done = (error: Error | null) => told.push(error?.message);
    // Before it is known that it cannot be had, and afterwards.
    tap.copy(runOf('a/1', 'early', 1), done);
    await until(() => told.length === 1);
    tap.copy(runOf('a/1', 'late', 1), done);
    await until(() => told.length === 2);
    expect([told, counters.droppedCount('out')]).toEqual([['away', 'away'], 2]);
    await until(() => {
      tap.copy(runOf('a/1', 'again', 1), done);
      return told.includes(undefined);
    });
  });
});

describe('BridgeTap', () => {
  it('keeps what the broker itself publishes before the bridge is loaded, and holds others back', async () => {
    const { tap, store } = await rig();
    const settings = { out: [{ filter: 'a/#', qos: 1 }], store: { qos0: false } } as unknown as BridgeSettings;
    const door = new BridgeTap(settings);
    expect([door.wants('a/1'), door.wants('b'), door.hasRoom]).toEqual([true, false, false]);
    const told: unknown[] = [];
    expect(door.copy(runOf('a/1', 'will', 1), (error) => told.push(error))).toBe(1);
    expect(door.copy(runOf('x/z', 'nothing', 1), (error) => told.push(error))).toBe(1);
    door.whenRoom(() => told.push('room'));
    door.open(tap);
    await until(() => told.length === 3);
    expect(told).toEqual(expect.arrayContaining([null, null, 'room']));
    const { texts, reader } = await readerOf(store, memoryCursors().cursors);
    await until(() => texts().length === 1);
    expect(texts()).toEqual(['far/a/1 will']);
    await reader.stop();
  });
});

describe('StoredReader', () => {
  it('goes on where it was, and reads what comes later', async () => {
    const { tap, store } = await rig();
    const { cursors, places } = memoryCursors();
    for (let index = 0; index < 200; index++) tap.copy(runOf('a/1', `${index}`, 1), () => undefined);
    const first = await readerOf(store, cursors);
    await until(() => first.entries.length === 200);
    expect(first.reader.waiting).toBe(200);
    first.reader.confirm(150);
    expect(first.reader.waiting).toBe(50);
    await first.reader.stop();
    expect(places.get(name)).toBe(150);
    const second = await readerOf(store, cursors);
    await until(() => second.entries.length === 50);
    tap.copy(runOf('a/1', 'later', 1), () => undefined);
    await until(() => second.entries.length === 51);
    expect([second.entries[0]?.offset, second.texts().at(-1)]).toEqual([150, 'far/a/1 later']);
    await second.reader.stop();
  });

  it('counts what the store has let go of, at the start and on the way', async () => {
    const { tap, store } = await rig();
    const { cursors, places } = memoryCursors();
    let stored = 0;
    for (let index = 0; index < 10; index++) tap.copy(runOf('a/1', `${index}`, 1), () => stored++);
    await until(() => stored === 10);
    const partition = await store.open(name);
    await partition.deleteBefore(4);
    places.set(name, 1);
    const { entries, notes, reader } = await readerOf(store, cursors);
    await until(() => entries.length === 6);
    expect([entries[0]?.offset, notes]).toEqual([4, ['lost 3']]);
    await reader.stop();
  });

  it('passes records of somebody else on as such, so that they are passed over', async () => {
    const { store } = await rig();
    const { BatchBuilder } = await import('../../../../../src/core/batch/batch-builder.ts');
    const partition = await openStoredStream(store, name, storedStreamSettings(limits));
    const builder = new BatchBuilder();
    builder.add({ timestampMs: 1, value: Buffer.from('foreign') });
    await new Promise<void>((resolve) => partition.append(builder.build(), () => resolve()));
    const { entries, reader } = await readerOf(store, memoryCursors().cursors);
    await until(() => entries.length === 1);
    expect(entries).toEqual([{ offset: 0, message: null }]);
    await reader.stop();
  });

  it('keeps beside the place what was received and by which server, and says so when it is durable', async () => {
    const { tap, store } = await rig();
    const { cursors } = memoryCursors();
    let count = 0;
    for (let index = 0; index < 10; index++) tap.copy(runOf('a/1', `${index}`, 2), () => count++);
    await until(() => count === 10);
    const first = await readerOf(store, cursors);
    await until(() => first.entries.length === 10);
    // A new session there: nothing is to be released, but the server is written down first.
    expect(first.reader.prepare(7, false, new Set())).toEqual([]);
    expect(first.reader.isReadyFor(7)).toBe(false);
    await until(() => first.reader.isReadyFor(7));
    const told: number[] = [];
    for (const offset of [1, 3, 4]) first.reader.received(offset, () => told.push(offset));
    expect(told).toEqual([]);
    await until(() => told.length === 3);
    first.reader.confirm(2);
    await first.reader.stop();

    const second = await readerOf(store, cursors);
    const { reader } = second;
    expect([1, 2, 3, 4, 5].filter((offset) => reader.wasReceived(offset))).toEqual([3, 4]);
    expect([reader.isDoubtful(101), reader.isDoubtful(102)]).toEqual([true, false]);
    expect([reader.prepare(7, true, new Set()), reader.isReadyFor(7)]).toEqual([[], true]);
    // Another server has a session of which nothing is known: all identifiers are released there, and nothing is doubtful.
    const strange = reader.prepare(9, true, new Set([exactIdOf(4)]));
    expect([strange.length, reader.isReadyFor(9), reader.isDoubtful(5)]).toEqual([32_768, false, false]);
    // The connection was cut meanwhile: once more, but for what was begun.
    expect(reader.prepare(9, true, new Set([exactIdOf(4)]))).toHaveLength(32_767);
    reader.released();
    await until(() => reader.isReadyFor(9));
    expect(reader.wasReceived(4)).toBe(true);
    reader.prepare(9, false, new Set());
    expect(reader.wasReceived(4)).toBe(false);
    await reader.stop();
  });
});
