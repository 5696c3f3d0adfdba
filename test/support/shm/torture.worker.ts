/**
 * One thread of the ring torture: produces to its own ring and checks what comes on the rings of the others, either
 * spinning (`poll`) or on the event loop with doorbells, as the broker's workers do (`events`). It has no timer that
 * looks at rings, so that a lost wake-up is a thread that hangs. Started by `torture.ts`.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Doorbell } from '../../../src/shm/doorbell.ts';
import { RingConsumer, RingProducer } from '../../../src/shm/fan-out-ring.ts';
import { fillPayload, isFor, lengthOf, StreamChecker, tortureIndexes } from './torture-records.ts';

/**
 * Deliberate defects; each must be found. `release-early`: the reader gives a record back and then reads it.
 * `publish-early`: the writer shows a record and then fills it. `read-unpublished`: the reader goes on behind the
 * published cursor. `lose-record`: the writer leaves one out. `wrong-mask`: one record goes to all.
 */
export type TortureFault =
  | 'release-early'
  | 'publish-early'
  | 'read-unpublished'
  | 'lose-record'
  | 'wrong-mask'
  | 'none';

export interface TortureWorkerData {
  thread: number;
  threadCount: number;
  rings: SharedArrayBuffer[];
  doorbells: SharedArrayBuffer;
  /** See `countWord` and the words after it. */
  control: SharedArrayBuffer;
  mode: 'poll' | 'events';
  fault: TortureFault;
  incarnation: number;
  /** The thread joined a torture that is under way. */
  late: boolean;
  /** Stops for ever in the middle of writing this record, to be terminated; -1: never. */
  holdAtSequence: number;
}

export interface TortureReport {
  thread: number;
  published: number;
  checked: number;
  sleeps: number;
  refused: number;
}

export const incarnationsMax = 32;
export const countWord = (thread: number, incarnation: number): number => thread * incarnationsMax + incarnation;
const incarnationWord = (thread: number): number => 4 * incarnationsMax + thread;
const doneWord = (thread: number): number => 4 * incarnationsMax + 4 + thread;
export const heldWord = (thread: number): number => 4 * incarnationsMax + 8 + thread;
/** Records that the present incarnation of `thread` has checked of `source`. */
export const checkedWord = (thread: number, source: number): number => 4 * incarnationsMax + 12 + thread * 4 + source;
/** 1: producers stop, and all end when they have read everything. */
export const stopWord = 4 * incarnationsMax + 28;
export const controlBytes = 4 * (stopWord + 1);

const burstRecords = 64;

class TortureThread {
  private readonly data: TortureWorkerData;
  private readonly control: Int32Array;
  private readonly producer: RingProducer;
  private readonly consumers: RingConsumer[] = [];
  private readonly checkers: StreamChecker[] = [];
  private readonly sources: number[] = [];
  private readonly bell: Doorbell;
  private readonly scratch: Int32Array;
  private readonly scratchBytes: Buffer;
  private sequence = 0;
  private sleeps = 0;
  private refused = 0;
  private blocked = false;
  private produceScheduled = false;
  private finished = false;
  private readonly idle = new Int32Array(new SharedArrayBuffer(4));
  private randomState: number;

  constructor(data: TortureWorkerData) {
    this.data = data;
    this.control = new Int32Array(data.control);
    this.randomState = data.thread * 7919 + data.incarnation + 1;
    Atomics.store(this.control, incarnationWord(data.thread), data.incarnation);
    this.bell = new Doorbell(data.doorbells, tortureIndexes[data.thread]);
    this.producer = new RingProducer(data.rings[data.thread]);
    this.scratch = new Int32Array((this.producer.recordBytesMax >>> 2) + 1);
    this.scratchBytes = Buffer.from(this.scratch.buffer);
    for (let source = 0; source < data.threadCount; source++) {
      if (source === data.thread) continue;
      const consumer = new RingConsumer(data.rings[source], tortureIndexes[data.thread]);
      if (consumer.attach()) this.bell.ring(tortureIndexes[source]);
      this.consumers.push(consumer);
      this.sources.push(source);
      Atomics.store(this.control, checkedWord(data.thread, source), 0);
      this.checkers.push(new StreamChecker(source, data.thread, this.producer.recordBytesMax, data.late));
    }
  }

  /** The spinning form: returns when everything was published and checked. */
  poll(): void {
    while (!this.mustStop()) {
      const full = this.produce(1 + (this.random() % burstRecords));
      // Now and then one thread stands still, so that its cursor gates the others.
      if (this.random() % 512 === 0) spin(200_000);
      // With more threads than cores, spinning on would only keep the one off the core that has to move.
      if (this.consume(Number.POSITIVE_INFINITY) === 0 && full) Atomics.wait(this.idle, 0, 0, 0.05);
    }
    this.finishProducing();
    while (!this.sourcesAreDone()) this.consume(Number.POSITIVE_INFINITY);
    this.consume(Number.POSITIVE_INFINITY);
    this.report();
  }

  /** The event-loop form. */
  start(): void {
    this.bell.listen(() => this.consumeTurn());
    this.scheduleProduce(0);
    this.consumeTurn();
  }

  private consumeTurn(): void {
    const sourcesWereDone = this.sourcesAreDone();
    const consumed = this.consume(256);
    if (this.finished && sourcesWereDone && consumed === 0) {
      this.bell.close();
      this.report();
      return;
    }
    if (consumed === 0 && this.fallsAsleep()) return;
    setImmediate(() => this.consumeTurn());
  }

  /** Announces sleep and looks at everything that could have come before the announcement. */
  private fallsAsleep(): boolean {
    this.sleeps++;
    const listening = this.bell.sleep();
    if (!listening) throw new Error('Cannot sleep: nobody listens');
    let more = this.consumers.some((consumer) => consumer.backlogBytes() > 0);
    if (this.finished && this.sourcesAreDone()) more = true;
    // Once more under the announcement: a ring while this thread was awake has used up the earlier request.
    if (this.blocked && this.producer.requestSpace()) {
      this.blocked = false;
      this.scheduleProduce(0);
    }
    if (this.blocked) this.producer.wakeLaggards(this.bell);
    if (more) this.bell.awake();
    return !more;
  }

  private scheduleProduce(delayMs: number): void {
    if (this.produceScheduled || this.finished) return;
    this.produceScheduled = true;
    const turn = (): void => {
      this.produceScheduled = false;
      this.produceTurn();
    };
    if (delayMs === 0) setImmediate(turn);
    else setTimeout(turn, delayMs);
  }

  private produceTurn(): void {
    if (this.mustStop()) {
      this.finishProducing();
      this.ringAll();
      return;
    }
    const full = this.produce(1 + (this.random() % burstRecords));
    if (!full) {
      this.scheduleProduce(this.random() % 4 === 0 ? 1 : 0);
    } else if (this.producer.requestSpace()) {
      this.scheduleProduce(0);
    } else {
      this.blocked = true;
      this.producer.wakeLaggards(this.bell);
    }
  }

  /** Publishes up to `count` records; whether the ring was full. */
  private produce(count: number): boolean {
    const { thread, incarnation, threadCount } = this.data;
    const bytesMax = this.producer.recordBytesMax;
    let ringLow = 0;
    let ringHigh = 0;
    let full = false;
    for (; count > 0 && !full; count--) {
      const sequence = this.sequence;
      const length = lengthOf(thread, incarnation, sequence, bytesMax);
      const offset = this.producer.claim(length);
      full = offset < 0;
      if (full) {
        this.refused++;
        break;
      }
      let maskLow = 0;
      let maskHigh = 0;
      for (let target = 0; target < threadCount; target++) {
        if (!isFor(target, thread, incarnation, sequence)) continue;
        const index = tortureIndexes[target];
        if (index < 32) maskLow |= 1 << index;
        else maskHigh |= 1 << (index - 32);
      }
      this.write(offset, length, sequence, maskLow, maskHigh);
      ringLow |= maskLow;
      ringHigh |= maskHigh;
      this.sequence = sequence + 1;
      Atomics.store(this.control, countWord(thread, incarnation), this.sequence);
    }
    this.ringMask(ringLow, ringHigh);
    this.producer.wakeLaggards(this.bell);
    return full;
  }

  private write(offset: number, length: number, sequence: number, maskLow: number, maskHigh: number): void {
    const { thread, incarnation, fault, holdAtSequence } = this.data;
    const kind = incarnation;
    // The planted defects show up from the middle of the run on, when all is in full swing.
    const faulty = sequence > 500;
    if (fault === 'lose-record' && sequence === 500) return;
    if (fault === 'wrong-mask' && faulty) {
      maskLow = -1;
      maskHigh = -1;
    }
    fillPayload(this.scratch, length, thread, incarnation, sequence);
    if (fault === 'publish-early' && faulty) {
      this.producer.publish(maskLow, maskHigh, kind, sequence);
      this.standStill();
      this.scratchBytes.copy(this.producer.bytes, offset, 0, length);
      return;
    }
    if (sequence === holdAtSequence) {
      this.producer.bytes.fill(0xee, offset, offset + (length >>> 1));
      Atomics.store(this.control, heldWord(thread), 1);
      for (;;) spin(1000);
    }
    this.scratchBytes.copy(this.producer.bytes, offset, 0, length);
    this.producer.publish(maskLow, maskHigh, kind, sequence);
  }

  /** Checks up to `limit` records per source; how many there were. */
  private consume(limit: number): number {
    let total = 0;
    for (let index = 0; index < this.consumers.length; index++) {
      const consumer = this.consumers[index];
      let count = 0;
      const passed = consumer.position();
      while (count < limit && this.advance(consumer)) {
        this.check(index, consumer);
        count++;
      }
      Atomics.store(this.control, checkedWord(this.data.thread, this.sources[index]), this.checkers[index].records);
      // Records for others only are progress too: the caller must not take them for silence.
      if (count === 0 && consumer.position() !== passed) count = 1;
      if (consumer.release()) this.bell.ring(tortureIndexes[this.sources[index]]);
      total += count;
    }
    return total;
  }

  private advance(consumer: RingConsumer): boolean {
    if (this.data.fault === 'read-unpublished') Reflect.set(consumer, 'publishedSeen', (consumer.position() + 64) | 0);
    return consumer.next();
  }

  private check(index: number, consumer: RingConsumer): void {
    if (this.data.fault === 'release-early') {
      if (consumer.release()) this.bell.ring(tortureIndexes[this.sources[index]]);
      this.standStill();
    }
    const source = this.sources[index];
    const publishedOf = (incarnation: number): number => this.publishedOf(source, incarnation);
    this.checkers[index].accept(
      consumer.kind,
      consumer.word,
      consumer.bytes,
      consumer.offset,
      consumer.length,
      publishedOf,
    );
  }

  private publishedOf(source: number, incarnation: number): number {
    return Atomics.load(this.control, countWord(source, incarnation));
  }

  private finishProducing(): void {
    this.finished = true;
    this.blocked = false;
    Atomics.store(this.control, doneWord(this.data.thread), 1);
  }

  private sourcesAreDone(): boolean {
    return this.sources.every((source) => Atomics.load(this.control, doneWord(source)) === 1);
  }

  private report(): void {
    let checked = 0;
    for (let index = 0; index < this.checkers.length; index++) {
      const source = this.sources[index];
      const last = Atomics.load(this.control, incarnationWord(source));
      this.checkers[index].finishAll(last, (incarnation) => this.publishedOf(source, incarnation));
      checked += this.checkers[index].records;
      // Others may still be at work, or asleep after their last record: let them go on without this reader.
      RingConsumer.detach(this.data.rings[source], tortureIndexes[this.data.thread]);
    }
    this.ringAll();
    const { thread } = this.data;
    const report: TortureReport = {
      thread,
      published: this.sequence,
      checked,
      sleeps: this.sleeps,
      refused: this.refused,
    };
    parentPort?.postMessage(report);
    parentPort?.close();
  }

  private ringAll(): void {
    for (const source of this.sources) this.bell.ring(tortureIndexes[source]);
  }

  private ringMask(low: number, high: number): void {
    for (const source of this.sources) {
      const index = tortureIndexes[source];
      if (((index < 32 ? low >>> index : high >>> (index - 32)) & 1) === 1) this.bell.ring(index);
    }
  }

  private mustStop(): boolean {
    return Atomics.load(this.control, stopWord) === 1;
  }

  /** Off the core, so that the others certainly get on. */
  private standStill(): void {
    Atomics.wait(this.idle, 0, 0, 1);
  }

  private random(): number {
    this.randomState = (Math.imul(this.randomState, 1664525) + 1013904223) >>> 0;
    return this.randomState >>> 8;
  }
}

let spinSink = 0;

function spin(rounds: number): void {
  for (let round = 0; round < rounds; round++) spinSink = (spinSink + round) | 0;
}

if (parentPort !== null) {
  const data = workerData as TortureWorkerData;
  const thread = new TortureThread(data);
  // All are attached before anybody publishes, except for those that join late. The listener stays: nothing else keeps
  // a sleeping thread alive.
  parentPort.on('message', () => {
    if (data.mode === 'poll') thread.poll();
    else thread.start();
  });
  parentPort.postMessage('attached');
}
