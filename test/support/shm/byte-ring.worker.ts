/** Publishes numbered records into a byte ring as fast as it takes them; used by the test of the ring. */
import { workerData } from 'node:worker_threads';
import { ByteRingProducer } from '../../../src/shm/byte-ring.ts';

const { ring, flags, count } = workerData as {
  readonly ring: SharedArrayBuffer;
  readonly flags: Int32Array;
  readonly count: number;
};
const producer = new ByteRingProducer(ring);
for (let number = 0; number < count; number += 1) {
  const length = number % 97;
  let offset = producer.claim(length);
  while (offset < 0) {
    // The reader notifies after it gave space back; the time limit covers a notification that came before the wait.
    if (!producer.requestSpace()) Atomics.wait(flags, 0, 0, 1);
    offset = producer.claim(length);
  }
  producer.bytes.fill(number % 251, offset, offset + length);
  producer.publish(0, 0, number);
}
