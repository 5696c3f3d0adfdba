/** The rules of the byte ring one by one, a model of it, and two threads that use it at the same time. */
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteRingConsumer, ByteRingProducer, createByteRing } from '../../../src/shm/byte-ring.ts';

function publish(producer: ByteRingProducer, text: string, kind = 0, word = 0, tag = 0): boolean {
  const payload = Buffer.from(text);
  const offset = producer.claim(payload.length);
  if (offset < 0) return false;
  payload.copy(producer.bytes, offset);
  producer.publish(kind, word, tag);
  return true;
}

function read(consumer: ByteRingConsumer): string {
  return consumer.bytes.toString('latin1', consumer.offset, consumer.offset + consumer.length);
}

describe('createByteRing()', () => {
  it('accepts powers of two in its range only', () => {
    for (const capacity of [128, 300, 2 ** 31]) expect(() => createByteRing(capacity)).toThrow('ring capacity');
    expect(() => new ByteRingProducer(new SharedArrayBuffer(4096))).toThrow('buffer is not a ring');
  });
});

describe('ByteRing', () => {
  it('publish() carries payload and the three numbers, in order', () => {
    const ring = createByteRing(1024);
    const producer = new ByteRingProducer(ring);
    const consumer = new ByteRingConsumer(ring);
    expect(consumer.next()).toBe(false);
    publish(producer, 'hello', 7, 0xffff_ffff, 1);
    publish(producer, '', 8, 2, 0xffff_fffe);
    expect(consumer.next()).toBe(true);
    expect([read(consumer), consumer.kind, consumer.word, consumer.tag]).toEqual(['hello', 7, 0xffff_ffff, 1]);
    expect(consumer.next()).toBe(true);
    expect([read(consumer), consumer.kind, consumer.word, consumer.tag]).toEqual(['', 8, 2, 0xffff_fffe]);
    expect(consumer.hasNext).toBe(false);
  });

  it('claim() refuses what was not given back, and the release says that the producer waits', () => {
    const ring = createByteRing(256);
    const producer = new ByteRingProducer(ring);
    const consumer = new ByteRingConsumer(ring);
    let count = 0;
    while (publish(producer, 'x'.repeat(40))) count += 1;
    expect(count).toBe(4);
    expect(producer.requestSpace()).toBe(false);
    expect(producer.fillBytes).toBe(256);
    consumer.next();
    const first = consumer.position;
    consumer.next();
    expect(consumer.releaseTo(first)).toBe(true);
    expect(consumer.release()).toBe(false);
    expect(consumer.heldBytes).toBe(128);
    expect(publish(producer, 'y')).toBe(true);
    expect(() => consumer.releaseTo(first)).toThrow('in order');
  });

  it('requestSpace() says so when there is space meanwhile', () => {
    const ring = createByteRing(256);
    const producer = new ByteRingProducer(ring);
    const consumer = new ByteRingConsumer(ring);
    while (publish(producer, 'x'.repeat(40)));
    while (consumer.next());
    consumer.release();
    expect(producer.requestSpace()).toBe(true);
    expect(publish(producer, 'y')).toBe(true);
  });

  it('doubles are the numbers of a payload', () => {
    const ring = createByteRing(256);
    const producer = new ByteRingProducer(ring);
    const consumer = new ByteRingConsumer(ring);
    const offset = producer.claim(16);
    producer.doubles[offset >>> 3] = 2 ** 52 + 1;
    producer.doubles[(offset >>> 3) + 1] = -1;
    producer.publish(0, 0, 0);
    consumer.next();
    expect([...consumer.doubles.subarray(consumer.offset >>> 3, (consumer.offset >>> 3) + 2)]).toEqual([
      2 ** 52 + 1,
      -1,
    ]);
  });

  it('keeps every record, in order, whatever the sizes and however late they are given back', () => {
    const step = fc.oneof(
      fc.record({ type: fc.constant('publish' as const), length: fc.nat({ max: 64 }) }),
      fc.record({ type: fc.constant('take' as const), length: fc.nat({ max: 4 }) }),
      fc.record({ type: fc.constant('release' as const), length: fc.nat({ max: 6 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer(), (steps, start) => {
        const ring = createByteRing(256, start);
        const producer = new ByteRingProducer(ring);
        const consumer = new ByteRingConsumer(ring);
        const published: string[] = [];
        const held: { readonly text: string; readonly offset: number; readonly position: number }[] = [];
        let taken = 0;
        for (const { type, length } of steps) {
          if (type === 'publish') {
            const text = String.fromCharCode(33 + (published.length % 90)).repeat(length);
            if (publish(producer, text, 0, 0, published.length)) published.push(text);
          } else if (type === 'take') {
            for (let count = 0; count < length && consumer.next(); count += 1) {
              expect(consumer.tag).toBe(taken);
              expect(read(consumer)).toBe(published[taken]);
              held.push({ text: published[taken], offset: consumer.offset, position: consumer.position });
              taken += 1;
            }
          } else {
            const last = held.splice(0, length).at(-1);
            if (last !== undefined) consumer.releaseTo(last.position);
          }
          // What is held stays as it is.
          for (const { text, offset } of held) {
            expect(consumer.bytes.toString('latin1', offset, offset + text.length)).toBe(text);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('carries 200,000 records between two threads without loss', async () => {
    const ring = createByteRing(4096);
    const flags = new Int32Array(new SharedArrayBuffer(8));
    const worker = new Worker(new URL('../../support/shm/byte-ring.worker.ts', import.meta.url), {
      workerData: { ring, flags, count: 200_000 },
    });
    const consumer = new ByteRingConsumer(ring);
    let expected = 0;
    let wrong = 0;
    while (expected < 200_000) {
      while (consumer.next()) {
        const length = expected % 97;
        if (consumer.tag !== expected || consumer.length !== length) wrong += 1;
        else if (length > 0 && consumer.bytes[consumer.offset + length - 1] !== expected % 251) wrong += 1;
        expected += 1;
      }
      if (consumer.release()) Atomics.notify(flags, 0);
      if (!consumer.hasNext) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(wrong).toBe(0);
    await worker.terminate();
  });
});
