/**
 * Benchmarks of shared memory: the fan-out ring on one thread (what a record costs both sides, without contention) and
 * the parts around it. `native-free-bench/run.ts` collects and runs it.
 */
import { Bench } from 'tinybench';
import { CounterBlock, createCounters } from '../src/shm/counters.ts';
import { createDoorbells, Doorbell } from '../src/shm/doorbell.ts';
import { createRing, RingConsumer, RingProducer } from '../src/shm/fan-out-ring.ts';

/** Records per task call, so that the clock is read once per batch as a worker releases once per batch. */
const batchRecords = 1000;

/** Adds the tasks; each one reports the time of `batchRecords` records. */
export default async function suite(options: { smoke: boolean }): Promise<Bench> {
  const bench = new Bench({
    name: `ring, ${batchRecords} records per operation`,
    ...(options.smoke ? { time: 1, iterations: 2, warmup: false } : { time: 500, warmupTime: 100 }),
  });
  addRecordTask(bench, 'claim, publish, next and release, no payload copied', 64, 0, 1);
  addRecordTask(bench, '64 B copied in', 64, 64, 1);
  addRecordTask(bench, '1 KiB copied in', 1024, 1024, 1);
  addRecordTask(bench, '64 B copied in, 8 consumers', 64, 64, 8);
  addProduceTask(bench);
  addSkipTask(bench);
  addSmallTasks(bench);
  return bench;
}

function addRecordTask(bench: Bench, name: string, length: number, copyBytes: number, consumerCount: number): void {
  const ring = createRing(4 * 1024 * 1024, 8);
  const producer = new RingProducer(ring);
  const consumers = attachConsumers(ring, consumerCount);
  const payload = Buffer.alloc(1024, 'x');
  bench.add(`ring: ${name}`, () => {
    produce(producer, payload, length, copyBytes, 0xff);
    for (const consumer of consumers) expectRecords(consume(consumer), batchRecords);
  });
}

/** The producer's half alone: nobody listens. */
function addProduceTask(bench: Bench): void {
  const producer = new RingProducer(createRing(4 * 1024 * 1024, 8));
  const payload = Buffer.alloc(64, 'x');
  bench.add('ring: claim and publish, nobody attached', () => produce(producer, payload, 64, 0, 1));
}

/** A consumer that none of the records is for. */
function addSkipTask(bench: Bench): void {
  const ring = createRing(4 * 1024 * 1024, 8);
  const producer = new RingProducer(ring);
  const consumers = attachConsumers(ring, 1);
  const payload = Buffer.alloc(64, 'x');
  bench.add('ring: claim, publish, skip and release', () => {
    produce(producer, payload, 64, 0, 0xfe);
    for (const consumer of consumers) expectRecords(consume(consumer), 0);
  });
}

function addSmallTasks(bench: Bench): void {
  const bell = new Doorbell(createDoorbells(2), 0);
  bench.add('doorbell: ring of a thread that is awake', () => {
    for (let index = 0; index < batchRecords; index++) bell.ring(1);
  });
  const counters = new CounterBlock(createCounters(16));
  bench.add('counter: increment', () => {
    for (let index = 0; index < batchRecords; index++) counters.increment(index & 15);
  });
}

function attachConsumers(ring: SharedArrayBuffer, count: number): RingConsumer[] {
  return Array.from({ length: count }, (_, index) => {
    const consumer = new RingConsumer(ring, index);
    consumer.attach();
    return consumer;
  });
}

function produce(producer: RingProducer, payload: Buffer, length: number, copyBytes: number, mask: number): void {
  for (let index = 0; index < batchRecords; index++) {
    const offset = producer.claim(length);
    if (offset < 0) throw new Error('Cannot claim: the ring is full although all was released');
    if (copyBytes > 0) payload.copy(producer.bytes, offset, 0, copyBytes);
    producer.publish(mask, 0, 1, index);
  }
}

function consume(consumer: RingConsumer): number {
  let count = 0;
  while (consumer.next()) count += consumer.kind;
  consumer.release();
  return count;
}

function expectRecords(count: number, expected: number): void {
  if (count !== expected) throw new Error(`Cannot trust the benchmark: ${count} records instead of ${expected}`);
}
