/**
 * What goes between this worker and the others: records in this worker's ring, written once for all whom they concern, and
 * the records that the others wrote for this one. The router decides what is sent and what an arriving record means.
 *
 * Cost of a record: one copy of topic and frames; consumers that sleep are rung once per turn. Nothing is allocated.
 * Thread: one connection worker. Who waits for whom: whoever sends waits for room, that is, for the slowest other worker to
 * consume; consuming never waits for anything.
 */
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { Doorbell } from '../../shm/doorbell.ts';
import { RingConsumer, RingProducer } from '../../shm/fan-out-ring.ts';
import { assert } from '../../std/assert.ts';
import type { RouterShared } from './router-shared.ts';
import type { Run } from './run.ts';

/** Bytes consumed of one ring before the sockets of this worker get a turn. */
const drainBudgetBytes = 1_048_576;
/** Bytes published after which the consumers are woken within the turn. */
const unannouncedBytesMax = 262_144;

/** What a record is: routed by topic, a retained value that comes or goes, or for one member of a shared group. */
export const recordKinds = { publish: 1, retain: 2, forget: 3, member: 4 } as const;
export type RecordKind = (typeof recordKinds)[keyof typeof recordKinds];

/** Head of a record: layout, topic length, count, four details, one word that depends on the kind. */
const headWords = 8;
const headBytes = headWords * 4;

/** The workers that a record is for, a bit each. */
export interface WorkerMask {
  readonly low: number;
  readonly high: number;
}

export function maskOf(worker: number): WorkerMask {
  return worker < 32 ? { low: 1 << worker, high: 0 } : { low: 0, high: 1 << (worker - 32) };
}

/** All of `workerCount` workers but one. */
export function maskOfOthers(own: number, workerCount: number): WorkerMask {
  const low = workerCount >= 32 ? -1 : (1 << workerCount) - 1;
  const high = workerCount <= 32 ? 0 : workerCount === 64 ? -1 : (1 << (workerCount - 32)) - 1;
  const mask = maskOf(own);
  return { low: low & ~mask.low, high: high & ~mask.high };
}

/**
 * Receives a record: `run` without topic and sequence, the topic at `run.start - topicLength`, and the word of its kind. The
 * memory is valid during the call.
 */
export type RecordReceiver = (kind: RecordKind, run: Run, topicLength: number, word: number) => void;

export interface WorkerRingsOptions {
  readonly workerIndex: number;
  readonly workerCount: number;
  readonly shared: RouterShared;
  readonly metrics: ThreadMetrics;
  /** Filled and given to `receive` for every arriving record. */
  readonly incoming: Run;
  readonly receive: RecordReceiver;
}

export class WorkerRings {
  private readonly workerCount: number;
  private readonly producer: RingProducer;
  private readonly producerWords: Int32Array;
  private readonly consumers: (RingConsumer | null)[];
  private readonly consumerWords: Int32Array[];
  private readonly doorbell: Doorbell;
  private readonly incoming: Run;
  private readonly receive: RecordReceiver;
  private readonly metrics: ThreadMetrics;
  private readonly fillSlot: number;
  private waiting: (() => void)[] = [];
  private continuing = false;
  /** Workers that were sent something and not rung yet. */
  private sleepersLow = 0;
  private sleepersHigh = 0;
  private unannouncedBytes = 0;
  private wakeScheduled = false;
  private readonly wakeNow = (): void => {
    this.wakeScheduled = false;
    this.wake();
  };
  private stopped = false;

  constructor({ workerIndex, workerCount, shared, metrics, incoming, receive }: WorkerRingsOptions) {
    this.workerCount = workerCount;
    this.incoming = incoming;
    this.receive = receive;
    this.metrics = metrics;
    this.fillSlot = metrics.slot('ringmq_ring_fill_bytes');
    this.doorbell = new Doorbell(shared.doorbells, workerIndex);
    this.producer = new RingProducer(shared.rings[workerIndex] as SharedArrayBuffer);
    this.producerWords = wordsOf(this.producer.bytes);
    this.consumers = shared.rings.map((ring, index) =>
      index === workerIndex ? null : new RingConsumer(ring, workerIndex),
    );
    this.consumerWords = this.consumers.map((consumer) =>
      wordsOf(consumer === null ? this.producer.bytes : consumer.bytes),
    );
  }

  /** Begins to consume what other workers send. */
  start(): void {
    for (const [index, consumer] of this.consumers.entries()) if (consumer?.attach()) this.doorbell.ring(index);
    if (this.workerCount === 1) return;
    this.doorbell.listen(() => this.onDoorbell());
    this.onDoorbell();
  }

  /** Ends listening; this worker's cursors are taken back by the supervisor. */
  stop(): void {
    this.wake();
    this.stopped = true;
    this.doorbell.close();
  }

  // ---- sending

  /** Longest run in bytes that can be sent, for a topic of `topicLength` bytes. */
  runBytesMax(topicLength: number): number {
    return this.producer.recordBytesMax - headBytes - topicLength;
  }

  /** Room for `bytes` in any number of records; for the longest record there is, when that is less. */
  hasRoom(bytes: number): boolean {
    return this.producer.claim(Math.min(headBytes + bytes, this.producer.recordBytesMax)) >= 0;
  }

  /** Calls back once when the ring may have room again. */
  whenRoom(callback: () => void): void {
    this.waiting.push(callback);
    if (this.waiting.length === 1 && this.roomCame()) setImmediate(() => this.resumeWaiting());
  }

  /** Writes one record for the workers of the mask; false when the ring has no room. `word` belongs to the kind. */
  send(kind: RecordKind, maskLow: number, maskHigh: number, topic: Buffer, run: Run, word: number): boolean {
    const frames = run.end - run.start;
    const offset = this.producer.claim(headBytes + topic.length + frames);
    if (offset < 0) return false;
    const { producerWords: words } = this;
    const at = offset >>> 2;
    words[at] = run.layout;
    words[at + 1] = topic.length;
    words[at + 2] = run.count;
    words[at + 3] = run.detailA;
    words[at + 4] = run.detailB;
    words[at + 5] = run.detailC;
    words[at + 6] = run.detailD;
    words[at + 7] = word;
    const { bytes } = this.producer;
    topic.copy(bytes, offset + headBytes);
    run.buffer.copy(bytes, offset + headBytes + topic.length, run.start, run.end);
    this.producer.publish(maskLow, maskHigh, kind, run.epoch);
    this.wakeLater(maskLow, maskHigh, headBytes + topic.length + frames);
    return true;
  }

  /** Asks the consumers for room; true when there is some already. Otherwise this thread's bell will ring. */
  private roomCame(): boolean {
    if (this.producer.requestSpace()) return true;
    this.producer.wakeLaggards(this.doorbell);
    return false;
  }

  /** Bells ring once per turn, or when much was published: a wake-up costs more than a record. */
  private wakeLater(maskLow: number, maskHigh: number, bytes: number): void {
    this.sleepersLow |= maskLow;
    this.sleepersHigh |= maskHigh;
    this.unannouncedBytes += bytes;
    if (this.unannouncedBytes >= unannouncedBytesMax) {
      this.wake();
    } else if (!this.wakeScheduled) {
      this.wakeScheduled = true;
      setImmediate(this.wakeNow);
    }
  }

  private wake(): void {
    for (let mask = this.sleepersLow; mask !== 0; mask &= mask - 1) this.doorbell.ring(31 - Math.clz32(mask & -mask));
    for (let mask = this.sleepersHigh; mask !== 0; mask &= mask - 1) this.doorbell.ring(63 - Math.clz32(mask & -mask));
    this.sleepersLow = 0;
    this.sleepersHigh = 0;
    this.unannouncedBytes = 0;
    this.producer.wakeLaggards(this.doorbell);
  }

  // ---- receiving

  /** Sees everything that other workers had sent when it was called. */
  catchUp(): void {
    for (let index = 0; index < this.consumers.length; index++) {
      const consumer = this.consumers[index];
      if (consumer !== null && consumer !== undefined) this.drain(index, consumer, Number.MAX_SAFE_INTEGER);
    }
  }

  private onDoorbell(): void {
    if (this.stopped) return;
    this.doorbell.awake();
    this.resumeWaiting();
    if (!this.drainSome()) {
      this.continueLater();
      return;
    }
    this.doorbell.sleep();
    // A record that was published before the announcement rang no bell, and neither did room; so look once more.
    if (this.hasBacklog() || (this.waiting.length > 0 && this.roomCame())) {
      this.doorbell.awake();
      this.continueLater();
    }
  }

  private continueLater(): void {
    if (this.continuing) return;
    this.continuing = true;
    setImmediate(() => {
      this.continuing = false;
      this.onDoorbell();
    });
  }

  private hasBacklog(): boolean {
    for (const consumer of this.consumers) if (consumer !== null && consumer.backlogBytes() > 0) return true;
    return false;
  }

  private resumeWaiting(): void {
    if (this.waiting.length === 0) return;
    const waiting = this.waiting;
    this.waiting = [];
    for (const callback of waiting) callback();
  }

  /** Consumes up to the budget of each ring; true when every ring was emptied. */
  private drainSome(): boolean {
    let emptied = true;
    for (let index = 0; index < this.consumers.length; index++) {
      const consumer = this.consumers[index];
      if (consumer !== null && consumer !== undefined && !this.drain(index, consumer, drainBudgetBytes))
        emptied = false;
    }
    this.metrics.set(this.fillSlot, this.producer.fillBytes());
    return emptied;
  }

  private drain(index: number, consumer: RingConsumer, budgetBytes: number): boolean {
    let budget = budgetBytes;
    const words = this.consumerWords[index] as Int32Array;
    while (consumer.next()) {
      this.consume(consumer, words);
      budget -= consumer.length;
      if (budget <= 0) break;
    }
    if (consumer.release()) this.doorbell.ring(index);
    return budget > 0;
  }

  private consume(consumer: RingConsumer, words: Int32Array): void {
    const { bytes, offset, length } = consumer;
    const at = offset >>> 2;
    const topicLength = words[at + 1] as number;
    const run = this.incoming;
    run.layout = words[at] as number;
    run.buffer = bytes;
    run.start = offset + headBytes + topicLength;
    run.end = offset + length;
    run.count = words[at + 2] as number;
    run.detailA = words[at + 3] as number;
    run.detailB = words[at + 4] as number;
    run.detailC = words[at + 5] as number;
    run.detailD = words[at + 6] as number;
    run.publisher = null;
    run.epoch = consumer.word;
    assert(run.start <= run.end, 'a ring record holds its topic');
    this.receive(consumer.kind as RecordKind, run, topicLength, words[at + 7] as number);
  }
}

function wordsOf(bytes: Buffer): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}
