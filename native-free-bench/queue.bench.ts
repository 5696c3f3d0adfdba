/**
 * Benchmarks of the acknowledgement set alone, over partitions that only keep buffers: read, deliver with a stored count, acknowledge
 * and confirm. The time of one operation is that of `batchMessages` messages on one thread. `native-free-bench/run.ts` collects and
 * runs it.
 */
import { Bench } from 'tinybench';
import { BatchBuilder } from '../src/core/batch/batch-builder.ts';
import { AcknowledgementSet } from '../src/core/queues/acknowledgement-set.ts';
import type { ConsumerOptions } from '../src/core/queues/queue-consumer.ts';
import { systemContext } from '../src/core/queues/queue-context.ts';
import { type QueueSettings, queueSettings } from '../src/core/queues/queue-settings.ts';
import { serviceProducerBase } from '../src/core/queues/state-log.ts';
import { BarePartition } from './bare-partition.ts';

const batchMessages = 1000;

/** Adds the tasks. */
export default async function suite(options: { smoke: boolean }): Promise<Bench> {
  const bench = new Bench({
    name: `queue, ${batchMessages} messages of 64 B per operation`,
    ...(options.smoke ? { time: 1, iterations: 2, warmup: false } : { time: 1000, warmupTime: 300 }),
  });
  await addTask(bench, 'append, deliver, acknowledge, confirm', {}, (set, deliveries) => {
    for (const delivery of deliveries) set.acknowledge(delivery);
  });
  await addTask(bench, 'the same backwards: no ranges', {}, (set, deliveries) => {
    for (let at = deliveries.length - 1; at >= 0; at -= 2) set.acknowledge(deliveries[at]);
    for (let at = deliveries.length - 2; at >= 0; at -= 2) set.acknowledge(deliveries[at]);
  });
  await addTask(bench, 'the same with order by key', { order: 'key' }, (set, deliveries) => {
    for (const delivery of deliveries) set.acknowledge(delivery);
  });
  await addTask(
    bench,
    'the same, counts and settlements async',
    { deliveryCount: 'async', settlement: 'async' },
    (set, all) => {
      for (const delivery of all) set.acknowledge(delivery);
    },
  );
  return bench;
}

type Deliveries = Parameters<ConsumerOptions['onMessages']>[0];

async function addTask(
  bench: Bench,
  name: string,
  settings: Partial<QueueSettings>,
  settle: (set: AcknowledgementSet, deliveries: Deliveries) => void,
): Promise<void> {
  const context = systemContext({ now: () => Date.now(), monotonic: () => performance.now() });
  const stream = new BarePartition('bench');
  const set = await AcknowledgementSet.open({
    queue: 'bench',
    group: 'default',
    partitions: [{ stream, level: 0 }],
    state: new BarePartition('state'),
    producerBase: serviceProducerBase,
    deadLetters: null,
    settings: queueSettings({ ...settings, deliveriesMax: 5 }),
    context,
    start: 'earliest',
    onFloors: ([floor]) => void stream.deleteBefore(floor),
  });
  const builder = new BatchBuilder();
  for (let index = 0; index < batchMessages; index += 1) {
    builder.add({ timestampMs: Date.now(), key: Buffer.from(`key-${index}`), value: Buffer.alloc(64, 'x') });
  }
  const batch = builder.build();
  let settled = 0;
  let wake: () => void = () => undefined;
  const consumer = set.addConsumer({
    name: 'bench',
    credit: 1e9,
    inFlightMax: 1e6,
    onMessages: (deliveries) => {
      settle(set, deliveries);
      settled += deliveries.length;
      if (settled >= batchMessages) wake();
    },
  });
  bench.add(`queue: ${name}`, async () => {
    settled = 0;
    const done = new Promise<void>((resolve) => {
      wake = resolve;
    });
    stream.append(batch, ({ error }) => {
      if (error !== null) throw error;
    });
    await done;
    await set.whenStored();
    context.timers.advance(Math.floor(performance.now() / 10));
    if (consumer.inFlight.count > 0) throw new Error('Cannot trust the benchmark: messages are left');
  });
}
