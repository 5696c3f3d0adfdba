import { setImmediate as turn } from 'node:timers/promises';
import { generate } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BatchBuilder } from '../../../../../src/core/batch/batch-builder.ts';
import type { Router } from '../../../../../src/core/broker/router.ts';
import type { AccessControl, Identity } from '../../../../../src/core/ports/access.ts';
import type { StreamPartition } from '../../../../../src/core/ports/stream-store.ts';
import { createLogger } from '../../../../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { decodePublish, PublishView } from '../../../../../src/protocols/mqtt/codec/publish.ts';
import { DelayedMetrics, delayedMetrics } from '../../../../../src/protocols/mqtt/delayed/delayed-metrics.ts';
import { duePartition, recordOfDelayed } from '../../../../../src/protocols/mqtt/delayed/due-message.ts';
import { DueReader } from '../../../../../src/protocols/mqtt/delayed/due-reader.ts';
import type { OwnMessage, OwnPublisher } from '../../../../../src/protocols/mqtt/handlers/own-publisher.ts';
import { CounterBlock, createCounters } from '../../../../../src/shm/counters.ts';
import { TimingWheel } from '../../../../../src/std/timing-wheel.ts';
import { openMemoryStore } from '../../../../../src/storage/memory/memory-store.ts';

type Told = (error: Error | null) => void;

const layout = new MetricsLayout([delayedMetrics]);
const identity: Identity = {
  ...{ tenant: 'default', user: 'u1', clientId: 'c1', address: '127.0.0.1', isLocal: true, isSuperuser: false },
  ...{ groups: ['g'], mechanism: 'password', certificateName: '' },
};

let partition: StreamPartition;
let block: ThreadMetrics;
let reader: DueReader;
let timers: TimingWheel;
const published: { message: OwnMessage; told: Told }[] = [];
const asked: Identity[] = [];
let denied: string | null = null;

function recordsOf(topic: string, payloads: readonly string[], more: object = {}, nowMs = Date.now()): BatchBuilder {
  const builder = new BatchBuilder();
  for (const payload of payloads) {
    const packet = { cmd: 'publish', topic, payload, qos: 1, messageId: 1, retain: false, dup: false, ...more };
    const frame = generate(packet as never, { protocolVersion: 5 });
    const view = new PublishView();
    decodePublish(frame, 0, frame.length, 5, view);
    builder.add(recordOfDelayed(frame, view, Buffer.from(topic), identity, nowMs, nowMs));
  }
  return builder;
}

function append(builder: BatchBuilder): Promise<void> {
  return new Promise((resolve, reject) => {
    partition.append(builder.build(), ({ error }) => (error === null ? resolve() : reject(error)));
  });
}

function open(position: number): DueReader {
  const router = { whenRoom: (callback: () => void) => setImmediate(callback) } as unknown as Router;
  const ownPublisher = {
    publish: (message: OwnMessage, told: Told) => published.push({ message, told }),
  } as unknown as OwnPublisher;
  const access = {
    permissionsOf: (given: Identity) => {
      asked.push(given);
      return { identity: given, mayPublish: (topic: string) => topic !== denied, maySubscribe: () => true };
    },
    audit: () => undefined,
  } as unknown as AccessControl;
  const log = createLogger({ level: 'error', format: 'text', write: () => undefined });
  const metrics = new DelayedMetrics(block);
  return new DueReader({
    ...{ partition, position, router, ownPublisher, access, timers, metrics, log },
    onGone: () => undefined,
  });
}

function counted(outcome: string): number {
  return block.get(block.slot('ringmq_mqtt_delayed_messages_total', { outcome }));
}

async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), 5_000);
}

describe('DueReader', () => {
  beforeEach(async () => {
    published.length = 0;
    asked.length = 0;
    denied = null;
    partition = await (await openMemoryStore({ bytesMax: 16 * 1024 * 1024 })).create(duePartition);
    block = new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
    timers = new TimingWheel(10);
    reader = open(0);
  });
  afterEach(() => reader.close());

  it('publishes what comes, in order, as whom it was accepted', async () => {
    await append(recordsOf('a/b', ['1', '2'], { qos: 2, retain: true, properties: { userProperties: { x: 'y' } } }));
    await until(() => published.length === 2);
    expect(published.map(({ message }) => String(message.payload))).toEqual(['1', '2']);
    expect(published[0]?.message).toMatchObject({
      topic: 'a/b',
      qos: 2,
      retain: true,
      properties: { userProperties: [['x', 'y']] },
    });
    expect(asked[0]).toEqual(identity);
  });

  it('asks the rules of now, and drops what they deny', async () => {
    denied = 'secret';
    await append(recordsOf('secret', ['1']));
    await append(recordsOf('open', ['2']));
    await until(() => published.length === 1);
    expect(published[0]?.message.topic).toBe('open');
    expect(counted('denied')).toBe(1);
  });

  it('drops what has expired meanwhile, and passes on what is left of a life', async () => {
    const properties = { messageExpiryInterval: 60 };
    await append(recordsOf('old', ['1'], { properties }, Date.now() - 61_000));
    await append(recordsOf('young', ['2'], { properties }, Date.now() - 30_000));
    await until(() => published.length === 1);
    expect(published[0]?.message.topic).toBe('young');
    expect(published[0]?.message.properties.expiryS).toBeLessThanOrEqual(30);
    expect(counted('expired')).toBe(1);
  });

  it('passes over what is no message of this broker', async () => {
    const builder = new BatchBuilder();
    builder.add({ timestampMs: 1, value: Buffer.from('?') });
    await append(builder);
    await append(recordsOf('a', ['1']));
    await until(() => published.length === 1);
    expect(counted('unreadable')).toBe(1);
  });

  it('forgets what is acknowledged and nothing behind it', async () => {
    await append(recordsOf('a', ['1', '2', '3']));
    await until(() => published.length === 3);
    const start = async (): Promise<number> => (await partition.places()).logStartOffset;
    published[0]?.told(null);
    published[2]?.told(null);
    timers.advance(2_000);
    await turn();
    await vi.waitFor(async () => expect(await start()).toBe(1));
    published[1]?.told(null);
    timers.advance(5_000);
    await vi.waitFor(async () => expect(await start()).toBe(3));
    expect(counted('published')).toBe(3);
  });

  it('publishes again what could not be stored', async () => {
    await append(recordsOf('a', ['1']));
    await until(() => published.length === 1);
    published[0]?.told(new Error('the store is away'));
    await until(() => published.length === 2);
    published[1]?.told(null);
    expect(counted('published')).toBe(1);
  });

  it('its successor goes on where the stream begins', async () => {
    await append(recordsOf('a', ['1', '2']));
    await until(() => published.length === 2);
    published[0]?.told(null);
    timers.advance(2_000);
    await vi.waitFor(async () => expect((await partition.places()).logStartOffset).toBe(1));
    reader.close();
    published.length = 0;
    reader = open((await partition.places()).logStartOffset);
    await until(() => published.length === 1);
    expect(String(published[0]?.message.payload)).toBe('2');
  });
});
