/**
 * Two threads and one tiny ring that is full or empty all the time: the writer sleeps until there is space, the reader
 * until there is a record, and nobody else ever wakes them. One lost wake-up and both sleep for ever. Random pauses
 * before falling asleep move the wake-up into the critical moment. Used by `doorbell.test.ts`.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Doorbell } from '../../../src/shm/doorbell.ts';
import { RingConsumer, RingProducer } from '../../../src/shm/fan-out-ring.ts';

export interface WakeWorkerData {
  role: 'writer' | 'reader';
  ring: SharedArrayBuffer;
  doorbells: SharedArrayBuffer;
  /** Word 0: records read so far. */
  progress: SharedArrayBuffer;
  records: number;
  /** The planted defect: falls asleep without a look at what came before the announcement, when something did come. */
  blind: boolean;
}

const writerIndex = 0;
const readerIndex = 1;
const blindSequence = 100;

const data = workerData as WakeWorkerData;
const bell = new Doorbell(data.doorbells, data.role === 'writer' ? writerIndex : readerIndex);
const progress = new Int32Array(data.progress);
let randomState = data.role === 'writer' ? 1 : 2;
let spinSink = 0;

function pause(): void {
  randomState = (Math.imul(randomState, 1664525) + 1013904223) >>> 0;
  for (let rounds = (randomState >>> 8) % 40_000; rounds > 0; rounds--) spinSink = (spinSink + rounds) | 0;
}

function done(): void {
  bell.close();
  parentPort?.postMessage('done');
  parentPort?.close();
}

function startWriter(): void {
  const producer = new RingProducer(data.ring);
  let sequence = 0;
  const turn = (): void => {
    for (;;) {
      while (sequence < data.records && producer.claim(sequence % 17) >= 0) {
        producer.publish(1 << readerIndex, 0, 0, sequence++);
        bell.ring(readerIndex);
      }
      if (sequence === data.records) {
        done();
        return;
      }
      if (producer.requestSpace()) continue;
      const blind = data.blind && sequence > blindSequence;
      if (blind) while (producer.fillBytes() > 0);
      else pause();
      bell.sleep();
      if (blind || !producer.requestSpace()) return;
      bell.awake();
    }
  };
  bell.listen(turn);
  turn();
}

function startReader(consumer: RingConsumer): void {
  let sequence = 0;
  const turn = (): void => {
    for (;;) {
      while (consumer.next()) {
        if (consumer.word !== sequence) throw new Error(`Cannot read record ${sequence}: ${consumer.word} came`);
        sequence++;
        if (consumer.release()) bell.ring(writerIndex);
        Atomics.store(progress, 0, sequence);
      }
      if (sequence === data.records) {
        done();
        return;
      }
      const blind = data.blind && sequence > blindSequence;
      if (blind) while (consumer.backlogBytes() === 0);
      else pause();
      bell.sleep();
      if (blind || consumer.backlogBytes() === 0) return;
      bell.awake();
    }
  };
  bell.listen(turn);
  turn();
}

// Attached before the writer is started: records that nobody is attached for are gone at once. The listener keeps the
// sleeping thread alive, which a doorbell does not.
if (data.role === 'writer') {
  parentPort?.on('message', startWriter);
} else {
  const consumer = new RingConsumer(data.ring, readerIndex);
  consumer.attach();
  parentPort?.on('message', () => startReader(consumer));
}
parentPort?.postMessage('ready');
