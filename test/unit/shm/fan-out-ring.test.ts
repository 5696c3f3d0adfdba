/** The ring's rules one by one, on one thread; `fan-out-ring-model` and `fan-out-ring-torture` do the rest. */
import { describe, expect, it } from 'vitest';
import { createDoorbells, Doorbell } from '../../../src/shm/doorbell.ts';
import { createRing, RingConsumer, RingProducer } from '../../../src/shm/fan-out-ring.ts';

function attach(ring: SharedArrayBuffer, index: number): RingConsumer {
  const consumer = new RingConsumer(ring, index);
  consumer.attach();
  return consumer;
}

function publish(producer: RingProducer, text: string, maskLow = -1, maskHigh = -1, kind = 0, word = 0): boolean {
  const payload = Buffer.from(text);
  const offset = producer.claim(payload.length);
  if (offset < 0) return false;
  payload.copy(producer.bytes, offset);
  producer.publish(maskLow, maskHigh, kind, word);
  return true;
}

function read(consumer: RingConsumer): string {
  return consumer.bytes.toString('utf8', consumer.offset, consumer.offset + consumer.length);
}

function readAll(consumer: RingConsumer): string[] {
  const texts: string[] = [];
  while (consumer.next()) texts.push(read(consumer));
  return texts;
}

/** Publishes until the ring refuses; how many records it took. */
function fill(producer: RingProducer, length: number): number {
  let count = 0;
  while (producer.claim(length) >= 0) {
    producer.publish(-1, -1, 0, count++);
  }
  return count;
}

describe('createRing', () => {
  it('createRing() accepts powers of two and 1 to 64 consumers only', () => {
    for (const capacity of [128, 300, 2 ** 31]) expect(() => createRing(capacity, 1)).toThrow('ring capacity');
    for (const count of [0, 65]) expect(() => createRing(256, count)).toThrow('ring consumer count');
    expect(() => new RingProducer(new SharedArrayBuffer(4096))).toThrow('buffer is not a ring');
    expect(() => new RingConsumer(createRing(256, 2), 2)).toThrow('consumer index out of range');
  });
});

describe('RingProducer', () => {
  it('publish() carries payload, kind and word to every consumer in the mask', () => {
    const ring = createRing(1024, 64);
    const producer = new RingProducer(ring);
    const indexes = [0, 1, 31, 32, 33, 63];
    const consumers = indexes.map((index) => attach(ring, index));
    publish(producer, 'hello', 1 | (1 << 31), 1 | (1 << 31), 0xffff, 0xffff_ffff);
    expect(consumers.map((consumer) => consumer.next())).toEqual([true, false, true, true, false, true]);
    for (const consumer of [consumers[0], consumers[2], consumers[3], consumers[5]]) {
      expect([read(consumer), consumer.kind, consumer.word]).toEqual(['hello', 0xffff, 0xffff_ffff]);
    }
  });

  it('claim() shows nothing before publish() and is forgotten by the next claim()', () => {
    const ring = createRing(256, 1);
    const producer = new RingProducer(ring);
    const consumer = attach(ring, 0);
    producer.bytes.write('lost', producer.claim(40));
    expect(consumer.next()).toBe(false);
    publish(producer, 'kept');
    expect(readAll(consumer)).toEqual(['kept']);
    expect(() => producer.publish(1, 0, 0, 0)).toThrow('nothing is claimed');
  });

  it('claim() accepts the longest record at every position of an empty ring', () => {
    for (let unit = 0; unit < 32; unit++) {
      const ring = createRing(256, 1, unit);
      const producer = new RingProducer(ring);
      const consumer = attach(ring, 0);
      const text = 'm'.repeat(producer.recordBytesMax);
      expect(publish(producer, text)).toBe(true);
      expect(readAll(consumer)).toEqual([text]);
    }
    const producer = new RingProducer(createRing(256, 1));
    for (const length of [-1, producer.recordBytesMax + 1, 1.5, Number.NaN]) {
      expect(() => producer.claim(length)).toThrow('record length out of range');
    }
  });

  it('claim() accepts everything at once while nobody is attached', () => {
    const producer = new RingProducer(createRing(256, 4));
    for (let count = 0; count < 1000; count++) expect(publish(producer, 'x'.repeat(count % 65))).toBe(true);
    expect(producer.fillBytes()).toBe(0);
    expect(producer.requestSpace()).toBe(true);
  });

  it('claim() is refused until the slowest consumer releases', () => {
    const ring = createRing(256, 3);
    const producer = new RingProducer(ring);
    const fast = attach(ring, 0);
    const slow = attach(ring, 2);
    expect(fill(producer, 8)).toBe(8);
    expect(producer.fillBytes()).toBe(256);
    expect(readAll(fast).length).toBe(8);
    fast.release();
    expect(producer.claim(8)).toBe(-1);
    expect(slow.next()).toBe(true);
    expect(producer.claim(8)).toBe(-1);
    slow.release();
    expect(producer.claim(8)).toBeGreaterThanOrEqual(0);
    expect(producer.claim(9)).toBe(-1);
    expect(producer.fillBytes()).toBe(256 - 32);
    expect(slow.backlogBytes()).toBe(256 - 32);
    expect(fast.backlogBytes()).toBe(0);
  });

  it('requestSpace() makes the release() that frees a quarter say so, once', () => {
    const ring = createRing(256, 2);
    const producer = new RingProducer(ring);
    const consumer = attach(ring, 1);
    fill(producer, 8);
    expect(producer.requestSpace()).toBe(false);
    expect([consumer.next(), consumer.release()]).toEqual([true, false]);
    expect([consumer.next(), consumer.release()]).toEqual([true, true]);
    expect([consumer.next(), consumer.release()]).toEqual([true, false]);
    expect(producer.claim(8)).toBeGreaterThanOrEqual(0);
  });

  it('requestSpace() returns true when the space is there already', () => {
    const ring = createRing(256, 1);
    const producer = new RingProducer(ring);
    const consumer = attach(ring, 0);
    fill(producer, 8);
    consumer.next();
    consumer.release();
    expect(producer.requestSpace()).toBe(true);
    consumer.next();
    expect(consumer.release()).toBe(false);
  });

  it('requestSpace() asks for all that the refused record needs, padding included', () => {
    for (let unit = 0; unit < 32; unit++) {
      const ring = createRing(256, 1, unit);
      const producer = new RingProducer(ring);
      const consumer = attach(ring, 0);
      fill(producer, 8);
      expect(producer.claim(64)).toBe(-1);
      expect(producer.requestSpace()).toBe(false);
      let told = false;
      while (!told && consumer.next()) told = consumer.release();
      expect(told).toBe(true);
      expect(producer.claim(64)).toBeGreaterThanOrEqual(0);
    }
  });

  it('wakeLaggards() rings the consumers that sleep although half of the ring is behind them', () => {
    const ring = createRing(4096, 64);
    const bells = createDoorbells(64);
    const own = new Doorbell(bells, 1);
    const states = new Int32Array(bells);
    const stateOf = (index: number): number => states[(index * bells.byteLength) / 64 / 4];
    const producer = new RingProducer(ring);
    const idle = [0, 31, 32, 63];
    for (const index of idle) {
      attach(ring, index);
      new Doorbell(bells, index).sleep();
    }
    // None of the records is for them.
    while (producer.fillBytes() < 1024) publish(producer, 'x'.repeat(40), 2, 0);
    producer.wakeLaggards(own);
    expect(idle.map(stateOf)).toEqual([1, 1, 1, 1]);
    while (producer.fillBytes() < 3072) publish(producer, 'x'.repeat(40), 2, 0);
    producer.wakeLaggards(own);
    expect(idle.map(stateOf)).toEqual([0, 0, 0, 0]);
  });

  it('wakeLaggards() after requestSpace() rings whoever is in the way, also less than half a ring behind', () => {
    // The longest record behind the longest padding takes 21 of 32 units; the sleeper holds 12.
    const ring = createRing(256, 2, 10);
    const bells = createDoorbells(2);
    const states = new Int32Array(bells);
    attach(ring, 1);
    new Doorbell(bells, 1).sleep();
    const producer = new RingProducer(ring);
    for (let count = 0; count < 3; count++) publish(producer, '8 bytes.', 0, 0);
    expect(producer.claim(64)).toBe(-1);
    expect(producer.requestSpace()).toBe(false);
    producer.wakeLaggards(new Doorbell(bells, 0));
    expect(states[bells.byteLength / 2 / 4]).toBe(0);
  });

  it('claim() finds sleeping laggards by itself while a quarter of the ring is still free', () => {
    const ring = createRing(4096, 2);
    const bells = createDoorbells(2);
    const own = new Doorbell(bells, 0);
    const states = new Int32Array(bells);
    attach(ring, 1);
    new Doorbell(bells, 1).sleep();
    const producer = new RingProducer(ring);
    let taken = 0;
    while (states[bells.byteLength / 2 / 4] === 1 && publish(producer, 'x'.repeat(40), 0, 0)) {
      taken += 64;
      producer.wakeLaggards(own);
    }
    expect(taken).toBeLessThanOrEqual(3072 + 64);
  });

  it('RingProducer() over the ring of a dead one goes on behind its last published record', () => {
    const ring = createRing(256, 1);
    const consumer = attach(ring, 0);
    const dead = new RingProducer(ring);
    publish(dead, 'first');
    dead.bytes.fill(0xff, dead.claim(64), 64);
    const successor = new RingProducer(ring);
    expect(successor.position()).toBe(dead.position());
    publish(successor, 'second');
    expect(readAll(consumer)).toEqual(['first', 'second']);
  });

  it('position() wraps at 2^32 and nothing else notices', () => {
    const ring = createRing(256, 1, 2 ** 32 - 40);
    const producer = new RingProducer(ring);
    const consumer = attach(ring, 0);
    const positions: number[] = [];
    for (let count = 0; count < 40; count++) {
      expect(publish(producer, `record ${count}`)).toBe(true);
      positions.push(producer.position());
      expect(readAll(consumer)).toEqual([`record ${count}`]);
      expect(consumer.position()).toBe(producer.position());
      consumer.release();
    }
    expect(Math.max(...positions)).toBeGreaterThan(2 ** 32 - 8);
    expect(positions.at(-1)).toBeLessThan(2 ** 20);
  });
});

describe('RingConsumer', () => {
  it('next() keeps the records before release() valid', () => {
    const ring = createRing(256, 1);
    const producer = new RingProducer(ring);
    const consumer = attach(ring, 0);
    publish(producer, 'one');
    consumer.next();
    const offset = consumer.offset;
    fill(producer, 8);
    while (consumer.next()) expect(producer.claim(40)).toBe(-1);
    expect(consumer.bytes.toString('utf8', offset, offset + 3)).toBe('one');
  });

  it('release() after next() found nothing gives back the records of others', () => {
    const ring = createRing(256, 2);
    const producer = new RingProducer(ring);
    const consumer = attach(ring, 0);
    while (publish(producer, 'for the other', 2, 0));
    expect(consumer.next()).toBe(false);
    expect(producer.claim(8)).toBe(-1);
    consumer.release();
    expect(producer.claim(8)).toBeGreaterThanOrEqual(0);
  });

  it('attach() begins with the next record, and a second one is refused', () => {
    const ring = createRing(256, 2);
    const producer = new RingProducer(ring);
    publish(producer, 'before');
    expect(() => new RingConsumer(ring, 0).next()).toThrow('consumer is not attached');
    const consumer = attach(ring, 0);
    publish(producer, 'after');
    expect(readAll(consumer)).toEqual(['after']);
    expect(() => new RingConsumer(ring, 0).attach()).toThrow('attached already');
  });

  it('attach() over a limit that the producer has cached is not overrun', () => {
    for (let count = 0; count < 40; count++) {
      const ring = createRing(256, 1);
      const producer = new RingProducer(ring);
      for (let before = 0; before < count; before++) publish(producer, 'x'.repeat(before % 30));
      const consumer = attach(ring, 0);
      const taken = fill(producer, 8);
      const words: number[] = [];
      while (consumer.next()) words.push(consumer.word);
      expect(words).toEqual(Array.from({ length: taken }, (_, index) => index));
    }
  });

  it('detach() frees the producer from a dead consumer, and a successor begins afresh', () => {
    const ring = createRing(256, 2);
    const producer = new RingProducer(ring);
    const dead = attach(ring, 0);
    dead.next();
    fill(producer, 8);
    RingConsumer.detach(ring, 0);
    expect(producer.requestSpace()).toBe(true);
    expect(publish(producer, 'meanwhile')).toBe(true);
    const successor = attach(ring, 0);
    publish(producer, 'again');
    expect(readAll(successor)).toEqual(['again']);
  });

  it('next() stops the thread on a corrupt ring', () => {
    const corruptions: [string, (records: DataView) => void][] = [
      ['ring record is not where it says', (records) => records.setInt32(0, 8, true)],
      ['ring record length out of range', (records) => records.setInt32(4, 65, true)],
      ['ring record length out of range', (records) => records.setInt32(4, -2, true)],
      ['ring record ends behind the published ones', (records) => records.setInt32(4, 64, true)],
    ];
    for (const [message, corrupt] of corruptions) {
      const ring = createRing(256, 1);
      const consumer = attach(ring, 0);
      publish(new RingProducer(ring), 'fine');
      corrupt(new DataView(ring, ring.byteLength - 256));
      expect(() => consumer.next()).toThrow(message);
    }
  });

  it('next() stops the thread on a padding that hides published records', () => {
    const ring = createRing(256, 1);
    const consumer = attach(ring, 0);
    publish(new RingProducer(ring), 'fine');
    new DataView(ring, ring.byteLength - 256).setInt32(4, -1, true);
    expect(() => consumer.next()).toThrow('ring record ends behind the published ones');
  });
});
