/** The ring against a plain array: the same calls to both must give the same answers, at every offset of the buffer. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRing, RingConsumer, RingProducer } from '../../../src/shm/fan-out-ring.ts';

interface ModelRecord {
  /** Units since the start, without wrap. */
  start: number;
  end: number;
  mask: bigint;
  kind: number;
  word: number;
  text: string;
}

/** What a ring means, in unbounded numbers and one growing array. */
class Model {
  published: number;
  readonly records: ModelRecord[] = [];
  /** Per attached consumer: what it has passed and what it has released. */
  readonly read = new Map<number, number>();
  readonly released = new Map<number, number>();
  readonly positionStart: number;
  private readonly capacityUnits: number;

  constructor(capacityBytes: number, positionStart: number) {
    this.positionStart = positionStart;
    this.capacityUnits = capacityBytes / 8;
    this.published = positionStart;
  }

  /** Start of a record of `length` bytes, or -1 when it does not fit. */
  claim(length: number): number {
    const units = 3 + Math.ceil(length / 8);
    const unitsToEnd = this.capacityUnits - (this.published % this.capacityUnits);
    const start = units > unitsToEnd ? this.published + unitsToEnd : this.published;
    return start + units - Math.min(this.published, ...this.released.values()) > this.capacityUnits ? -1 : start;
  }

  next(consumer: number): ModelRecord | undefined {
    const position = this.read.get(consumer) ?? 0;
    const record = this.records.find((each) => each.start >= position && ((each.mask >> BigInt(consumer)) & 1n) === 1n);
    this.read.set(consumer, record?.end ?? this.published);
    return record;
  }
}

interface Real {
  ring: SharedArrayBuffer;
  producer: RingProducer;
  consumers: Map<number, RingConsumer>;
  recordCount: number;
}

/** What the runs have met: a property that saw no full ring and no lap has shown nothing. */
const met = { published: 0, refused: 0, read: 0, unitsMax: 0 };

const indexes = [0, 5, 31, 32, 40, 63];
const indexArbitrary = fc.constantFrom(...indexes);

class PublishCommand implements fc.Command<Model, Real> {
  readonly length: number;
  readonly targets: number[];
  readonly gives: boolean;

  constructor(length: number, targets: number[], gives: boolean) {
    this.length = length;
    this.targets = targets;
    this.gives = gives;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, real: Real): void {
    const start = model.claim(this.length);
    const offset = real.producer.claim(this.length);
    expect(offset >= 0).toBe(start >= 0);
    if (offset < 0) met.refused++;
    // A refused or given up claim leaves no trace.
    if (offset < 0 || !this.gives) return;
    const count = real.recordCount++;
    const text = `${count}:`.padEnd(this.length, String.fromCharCode(97 + (count % 26))).slice(0, this.length);
    real.producer.bytes.write(text, offset, 'latin1');
    const mask = this.targets.reduce((bits, target) => bits | (1n << BigInt(target)), 0n);
    const kind = (count * 7919) & 0xffff;
    const word = Math.imul(count, 0x9e3779b1) >>> 0;
    real.producer.publish(Number(mask & 0xffff_ffffn), Number(mask >> 32n), kind, word);
    const end = start + 3 + Math.ceil(this.length / 8);
    model.records.push({ start, end, mask, kind, word, text });
    model.published = end;
    met.published++;
    met.unitsMax = Math.max(met.unitsMax, end - model.positionStart);
    expect(real.producer.position()).toBe(end % 2 ** 32);
  }

  toString(): string {
    return `${this.gives ? 'publish' : 'claim'}(${this.length} to ${this.targets.join(' ')})`;
  }
}

class NextCommand implements fc.Command<Model, Real> {
  readonly consumer: number;
  readonly count: number;

  constructor(consumer: number, count: number) {
    this.consumer = consumer;
    this.count = count;
  }

  check(model: Model): boolean {
    return model.read.has(this.consumer);
  }

  run(model: Model, real: Real): void {
    const consumer = real.consumers.get(this.consumer)!;
    for (let round = 0; round < this.count; round++) {
      const expected = model.next(this.consumer);
      expect(consumer.next()).toBe(expected !== undefined);
      expect(consumer.position()).toBe(model.read.get(this.consumer)! % 2 ** 32);
      if (expected === undefined) return;
      met.read++;
      const { offset, length, kind, word } = consumer;
      expect(consumer.bytes.toString('latin1', offset, offset + length)).toBe(expected.text);
      expect([kind, word, offset % 8]).toEqual([expected.kind, expected.word, 0]);
    }
  }

  toString(): string {
    return `next(${this.consumer} x ${this.count})`;
  }
}

class ReleaseCommand implements fc.Command<Model, Real> {
  readonly consumer: number;

  constructor(consumer: number) {
    this.consumer = consumer;
  }

  check(model: Model): boolean {
    return model.read.has(this.consumer);
  }

  run(model: Model, real: Real): void {
    const consumer = real.consumers.get(this.consumer)!;
    consumer.release();
    model.released.set(this.consumer, model.read.get(this.consumer)!);
    expect(consumer.backlogBytes()).toBe((model.published - model.read.get(this.consumer)!) * 8);
    expect(real.producer.fillBytes()).toBe((model.published - Math.min(...model.released.values())) * 8);
  }

  toString(): string {
    return `release(${this.consumer})`;
  }
}

class AttachCommand implements fc.Command<Model, Real> {
  readonly consumer: number;

  constructor(consumer: number) {
    this.consumer = consumer;
  }

  check(): boolean {
    return true;
  }

  /** Attaches, or puts a successor in the place of the one that is attached. */
  run(model: Model, real: Real): void {
    if (real.consumers.has(this.consumer)) RingConsumer.detach(real.ring, this.consumer);
    const consumer = new RingConsumer(real.ring, this.consumer);
    consumer.attach();
    real.consumers.set(this.consumer, consumer);
    model.read.set(this.consumer, model.published);
    model.released.set(this.consumer, model.published);
  }

  toString(): string {
    return `attach(${this.consumer})`;
  }
}

class DetachCommand implements fc.Command<Model, Real> {
  readonly consumer: number;

  constructor(consumer: number) {
    this.consumer = consumer;
  }

  check(model: Model): boolean {
    return model.read.has(this.consumer);
  }

  run(model: Model, real: Real): void {
    RingConsumer.detach(real.ring, this.consumer);
    real.consumers.delete(this.consumer);
    model.read.delete(this.consumer);
    model.released.delete(this.consumer);
  }

  toString(): string {
    return `detach(${this.consumer})`;
  }
}

class SucceedCommand implements fc.Command<Model, Real> {
  check(): boolean {
    return true;
  }

  run(_model: Model, real: Real): void {
    real.producer = new RingProducer(real.ring);
  }

  toString(): string {
    return 'producer dies and is replaced';
  }
}

describe('fan-out ring against its model', () => {
  it('RingProducer and RingConsumer give the answers of an array, for any calls, at any position', () => {
    const publish = fc
      .tuple(fc.nat(128), fc.uniqueArray(indexArbitrary), fc.integer({ min: 0, max: 9 }))
      .map(([length, targets, dice]) => new PublishCommand(length, targets, dice > 0));
    const next = fc.tuple(indexArbitrary, fc.integer({ min: 1, max: 20 })).map((args) => new NextCommand(...args));
    const release = indexArbitrary.map((index) => new ReleaseCommand(index));
    const attach = indexArbitrary.map((index) => new AttachCommand(index));
    const detach = indexArbitrary.map((index) => new DetachCommand(index));
    // Calls that move data come several times, so that most runs get around the buffer.
    const commands = fc.commands(
      [
        publish,
        publish,
        publish,
        publish,
        next,
        next,
        next,
        release,
        release,
        attach,
        detach,
        fc.constant(new SucceedCommand()),
      ],
      { maxCommands: 200, size: 'max' },
    );
    // Close to the wrap at 2^32 as well as close to the start.
    const positionStart = fc.oneof(
      fc.nat(64),
      fc.integer({ min: 2 ** 32 - 200, max: 2 ** 32 - 1 }),
      fc.constant(2 ** 31 - 50),
    );
    fc.assert(
      fc.property(commands, positionStart, (list, position) => {
        const ring = createRing(512, 64, position);
        const setup = () => ({
          model: new Model(512, position),
          real: { ring, producer: new RingProducer(ring), consumers: new Map(), recordCount: 0 },
        });
        fc.modelRun(setup, list);
      }),
      { interruptAfterTimeLimit: 2500, numRuns: 2000, markInterruptAsFailure: false },
    );
    expect(met.published).toBeGreaterThan(1000);
    expect(met.refused).toBeGreaterThan(100);
    expect(met.read).toBeGreaterThan(1000);
    // Several times around.
    expect(met.unitsMax).toBeGreaterThan(3 * 64);
  });

  it('claim() and next() agree for every pair of lengths at every offset', () => {
    const pattern = Buffer.from(Array.from({ length: 64 }, (_, index) => index + 1));
    const wrong: string[] = [];
    let pairs = 0;
    const offer = (producer: RingProducer, length: number): void => {
      pattern.copy(producer.bytes, producer.claim(length), 0, length);
      producer.publish(1, 0, length, 1);
    };
    const take = (consumer: RingConsumer, length: number): boolean => {
      if (!consumer.next() || consumer.length !== length || consumer.kind !== length) return false;
      return pattern.compare(consumer.bytes, consumer.offset, consumer.offset + length, 0, length) === 0;
    };
    for (let unit = 0; unit < 32; unit++) {
      for (let first = 0; first <= 64; first++) {
        // A record takes whole units: one length on each side of every border, and the border.
        for (let second = 0; second <= 64; second += second % 8 === 1 ? 6 : 1) {
          const ring = createRing(256, 1, 2 ** 32 - 32 + unit);
          const producer = new RingProducer(ring);
          const consumer = new RingConsumer(ring, 0);
          consumer.attach();
          offer(producer, first);
          const firstIsRight = take(consumer, first);
          consumer.release();
          offer(producer, second);
          const isRight = firstIsRight && take(consumer, second) && !consumer.next();
          if (!isRight) wrong.push(`${first} and ${second} at ${unit}`);
          pairs++;
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(pairs).toBe(32 * 65 * 25);
  });
});
