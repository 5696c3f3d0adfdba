import { generate } from 'mqtt-packet';
import { beforeEach, describe, expect, it } from 'vitest';
import { RecordCursor } from '../../../../../src/core/batch/record-cursor.ts';
import { Route } from '../../../../../src/core/broker/route.ts';
import { Run } from '../../../../../src/core/broker/run.ts';
import type { ControlPlane } from '../../../../../src/core/ports/control-plane.ts';
import { createLogger } from '../../../../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../../../../src/observability/metrics.ts';
import { ReasonCode } from '../../../../../src/protocols/mqtt/codec/reason-code.ts';
import { fillRunWithFrame } from '../../../../../src/protocols/mqtt/delivery/run-of-frame.ts';
import { Bindings } from '../../../../../src/protocols/mqtt/streams/bindings.ts';
import type { BindingSetting } from '../../../../../src/protocols/mqtt/streams/settings.ts';
import { StreamMetrics, streamMetrics } from '../../../../../src/protocols/mqtt/streams/stream-metrics.ts';
import { CounterBlock, createCounters } from '../../../../../src/shm/counters.ts';
import { openPacedMemoryStore, type PacedMemoryStore } from '../../../../support/mqtt/paced-memory-store.ts';

const layout = new MetricsLayout([streamMetrics]);
const plain: BindingSetting = {
  ...{ filter: 'in/#', stream: 'out', partitions: 1, key: 'topic', qosMin: 0, publisher: false },
  ...{ retentionMs: 0, retentionBytes: 0 },
};
const publisher = { clientId: 'c1', user: 'u1' };

let paced: PacedMemoryStore;
const missed: ((from: number, payload: unknown) => void)[] = [];
const control: ControlPlane = {
  broadcast: (_, payload) => {
    for (const handler of missed) handler(1, payload);
  },
  onBroadcast: (_, handler) => missed.push(handler),
  onWorkerGone: () => undefined,
  onWorkerReady: () => undefined,
};

function open(bindings: readonly Partial<BindingSetting>[], workerIndex = 0): Bindings {
  const block = new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
  return new Bindings({
    bindings: bindings.map((each) => ({ ...plain, ...each })),
    workerIndex,
    store: paced.store,
    control,
    metrics: new StreamMetrics(block),
    log: createLogger({ level: 'error', format: 'text', write: () => undefined }),
  });
}

function runOf(topic: string, payloads: readonly string[], qos = 1): Run {
  const frames = payloads.map((payload) =>
    generate({ cmd: 'publish', topic, payload, qos, messageId: 1, retain: false, dup: false } as never),
  );
  const run = new Run();
  const buffer = Buffer.concat(frames);
  fillRunWithFrame(run, frames[0] as Buffer, 4);
  Object.assign(run, { buffer, start: 0, end: buffer.length, count: payloads.length });
  return Object.assign(run, { topic, topicBytes: Buffer.from(topic) });
}

function copy(bindings: Bindings, run: Run): Promise<number> {
  const bound = bindings.of(new Route(run.topic, run.topicBytes));
  if (bound === null) throw new Error(`Nothing is bound to ${run.topic}`);
  return new Promise((resolve, reject) => {
    if (!bindings.copy(bound, run, publisher, resolve)) reject(new Error('There is nothing to wait for'));
  });
}

function ready(bindings: Bindings, topic: string): Promise<void> {
  const bound = bindings.of(new Route(topic, Buffer.from(topic)));
  return new Promise((resolve) => {
    if (bound === null) throw new Error(`Nothing is bound to ${topic}`);
    bindings.whenRoom(bound, resolve);
  });
}

async function read(partition: string): Promise<{ key: string | null; value: string; names: string[] }[]> {
  const { slices } = await (await paced.store.open(partition)).read({ offset: 0, bytesMax: 1_000_000 });
  const cursor = new RecordCursor();
  return slices.flatMap((slice) => {
    const records = [];
    cursor.reset(slice);
    while (cursor.next()) {
      const names = cursor.headers().map(({ key }) => key.toString());
      records.push({ key: cursor.key?.toString() ?? null, value: String(cursor.value), names });
    }
    return records;
  });
}

describe('Bindings', () => {
  beforeEach(async () => {
    missed.length = 0;
    paced = await openPacedMemoryStore();
  });

  it('of() decides once for each route', () => {
    const bindings = open([{ filter: 'in/+' }]);
    const route = new Route('in/1', Buffer.from('in/1'));
    expect(bindings.of(route)?.bindings).toHaveLength(1);
    expect(bindings.of(route)).toBe(route.copies);
    const other = new Route('other', Buffer.from('other'));
    expect(bindings.of(other)).toBeNull();
    expect(other.copies).toBeNull();
  });

  it('copy() tells done when the records of the run are stored, in order', async () => {
    const bindings = open([{ publisher: true }]);
    await ready(bindings, 'in/a');
    expect(await copy(bindings, runOf('in/a', ['1', '2', '3']))).toBe(0);
    expect(await read('out-0')).toEqual(
      ['1', '2', '3'].map((value) => {
        return { key: 'in/a', value, names: ['mqtt-topic', 'mqtt-qos', 'mqtt-client-id', 'mqtt-user'] };
      }),
    );
  });

  it('copy() makes one batch of what comes in one turn', async () => {
    const bindings = open([{}]);
    await ready(bindings, 'in/a');
    await Promise.all(['1', '2', '3'].map((value) => copy(bindings, runOf('in/a', [value]))));
    const { slices } = await (await paced.store.open('out-0')).read({ offset: 0, bytesMax: 1_000_000 });
    expect(slices).toHaveLength(1);
  });

  it('copy() keeps the records of a key in one partition, and the topic together without a key', async () => {
    const bindings = open([{ partitions: 4, key: 'payload.id' }]);
    await ready(bindings, 'in/a');
    const payloads = Array.from({ length: 40 }, (_, index) => `{"id":"k${index % 8}","n":${index}}`);
    await copy(bindings, runOf('in/a', payloads));
    await copy(bindings, runOf('in/a', ['no key', 'none either']));
    const all = await Promise.all([0, 1, 2, 3].map((number) => read(`out-${number}`)));
    expect(all.flat()).toHaveLength(42);
    for (let key = 0; key < 8; key++) {
      const holders = all.filter((records) => records.some((each) => each.key === `k${key}`));
      expect(holders).toHaveLength(1);
      const numbers = holders[0]?.filter((each) => each.key === `k${key}`).map(({ value }) => JSON.parse(value).n);
      expect(numbers).toEqual([0, 8, 16, 24, 32].map((base) => base + key));
    }
    expect(all.filter((records) => records.some(({ key }) => key === null))).toHaveLength(1);
  });

  it('copy() leaves out what is below the lowest QoS', async () => {
    const bindings = open([{ qosMin: 1 }]);
    await ready(bindings, 'in/a');
    await expect(copy(bindings, runOf('in/a', ['low'], 0))).rejects.toThrow('nothing to wait for');
    await copy(bindings, runOf('in/a', ['high']));
    expect((await read('out-0')).map(({ value }) => value)).toEqual(['high']);
  });

  it('hasRoom() is false while the store is congested, and whenRoom() calls back afterwards', async () => {
    const bindings = open([{}]);
    await ready(bindings, 'in/a');
    const bound = bindings.of(new Route('in/a', Buffer.from('in/a'))) ?? { bindings: [], taps: [] };
    paced.congest(true);
    expect(bindings.hasRoom(bound)).toBe(false);
    const told = new Promise<void>((resolve) => bindings.whenRoom(bound, resolve));
    paced.congest(false);
    await told;
    expect(bindings.hasRoom(bound)).toBe(true);
  });

  it('copy() answers with a reason code when the stream is gone', async () => {
    const bindings = open([{}]);
    await ready(bindings, 'in/a');
    await paced.store.remove('out-0');
    expect(await copy(bindings, runOf('in/a', ['lost']))).toBe(ReasonCode.UNSPECIFIED_ERROR);
  });

  it('copy() goes on with a stream that was removed and is made again, also where others make it', async () => {
    const [maker, other] = [open([{}]), open([{}], 1)];
    await Promise.all([ready(maker, 'in/a'), ready(other, 'in/a')]);
    await new Promise((resolve) => setTimeout(resolve, 150));
    await paced.store.remove('out-0');
    expect(await copy(other, runOf('in/a', ['lost']))).toBe(ReasonCode.UNSPECIFIED_ERROR);
    await ready(other, 'in/a');
    expect(await copy(other, runOf('in/a', ['kept']))).toBe(0);
    expect((await read('out-0')).map(({ value }) => value)).toEqual(['kept']);
  });

  it('only the maker creates the stream; others wait for it, and refuse when it does not come', async () => {
    const other = open([{}], 1);
    await ready(other, 'in/a');
    expect(await copy(other, runOf('in/a', ['lost']))).toBeGreaterThanOrEqual(0x80);
    expect(await paced.store.names()).toEqual([]);
    const maker = open([{}]);
    await ready(maker, 'in/a');
    expect(await paced.store.names()).toEqual(['out-0']);
  });
});
