/**
 * The load of the soak: producers that can be checked, and consumers that check them. Every record carries the number of its producer
 * and its place in what that producer sent, so a consumer sees what is missing, doubled, out of order or not what was sent.
 */

import { BatchBuilder } from '../../src/core/batch/batch-builder.ts';
import { batchSizeAt } from '../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../src/core/batch/record-cursor.ts';
import { LatencyCounts } from '../../src/journal/bench/latency-counts.ts';
import type { StreamPartition, StreamStore } from '../../src/main/index.ts';

/** Counted over the whole run; problems end up in the judgement. */
export class SoakCounts {
  readonly problems: string[] = [];
  acknowledged = 0;
  repeated = 0;
  verified = 0;
  coldVerified = 0;
  /** A consumer was slower than the retention and began again at the start of the log. */
  overtaken = 0;
  churned = 0;
  latency = new LatencyCounts();

  problem(text: string): void {
    // The first ones say what is wrong.
    if (this.problems.length < 100) this.problems.push(text);
  }
}

const recordsPerBatch = 100;
const valueBytes = 256;
/** Appends of one producer without an answer. */
const inFlightMax = 8;
/** A producer waits while the consumer of its stream is so far behind: the run is about memory, not about who is quicker. */
const aheadMax = 200_000;
/** One of so many batches of an idempotent producer is sent twice. */
const repeatEvery = 50;

/** Value of a record: producer, place, and bytes that follow from both. */
function fillValue(value: Buffer, producer: number, place: number): void {
  value.fill((producer * 31 + place) & 255, 16);
  value.writeDoubleLE(producer, 0);
  value.writeDoubleLE(place, 8);
}

function isWhole(value: Buffer, producer: number, place: number): boolean {
  const expected = (producer * 31 + place) & 255;
  return value.length === valueBytes && value[16] === expected && value[valueBytes - 1] === expected;
}

export interface SoakProducerOptions {
  readonly number: number;
  readonly isIdempotent: boolean;
  readonly counts: SoakCounts;
  /** Offset up to which the stream was consumed. */
  consumed(): number;
}

export class SoakProducer {
  readonly #partition: StreamPartition;
  readonly #options: SoakProducerOptions;
  readonly #value = Buffer.alloc(valueBytes);
  #place = 0;
  #batches = 0;
  #inFlight = 0;
  #end = 0;
  #isStopped = false;
  #timer: NodeJS.Timeout | null = null;
  #onIdle: () => void = () => undefined;

  constructor(partition: StreamPartition, options: SoakProducerOptions) {
    this.#partition = partition;
    this.#options = options;
  }

  start(): void {
    this.#send();
  }

  /** Resolves when everything is answered. */
  stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      if (this.#inFlight === 0) resolve();
    });
  }

  #send(): void {
    this.#timer = null;
    while (!this.#isStopped && this.#inFlight < inFlightMax) {
      if (this.#end - this.#options.consumed() > aheadMax) {
        this.#timer ??= setTimeout(() => this.#send(), 2);
        return;
      }
      const batch = this.#build();
      this.#append(batch);
      this.#batches += 1;
      if (this.#options.isIdempotent && this.#batches % repeatEvery === 0) this.#append(batch, true);
    }
  }

  #build(): Buffer {
    const { number, isIdempotent } = this.#options;
    const producer = { producerId: number, producerEpoch: 0, baseSequence: this.#place & 0x7fff_ffff };
    const builder = new BatchBuilder(isIdempotent ? producer : {}, recordsPerBatch * (valueBytes + 16));
    const timestampMs = Date.now();
    for (let record = 0; record < recordsPerBatch; record += 1) {
      fillValue(this.#value, number, this.#place);
      builder.add({ timestampMs, value: this.#value });
      this.#place += 1;
    }
    return builder.build();
  }

  #append(batch: Buffer, isRepetition = false): void {
    const { counts, number } = this.#options;
    const sentMs = performance.now();
    this.#inFlight += 1;
    this.#partition.append(batch, ({ error, lastOffset, isDuplicate }) => {
      this.#inFlight -= 1;
      if (error !== null) counts.problem(`append of producer ${number}: ${error.code} ${error.message}`);
      else if (isDuplicate !== isRepetition) counts.problem(`append of producer ${number}: repetition ${isDuplicate}`);
      else if (isDuplicate) counts.repeated += 1;
      else {
        counts.acknowledged += recordsPerBatch;
        counts.latency.add((performance.now() - sentMs) * 1000, recordsPerBatch);
        this.#end = lastOffset + 1;
      }
      if (error !== null) this.#isStopped = true;
      if (this.#isStopped) {
        if (this.#inFlight === 0) this.#onIdle();
      } else this.#send();
    });
  }
}

export interface SoakConsumerOptions {
  readonly counts: SoakCounts;
  readonly isCold: boolean;
  /** Of one read. */
  readonly bytesMax: number;
}

/** Reads one stream in order. Records of a producer that it has seen must go on where they were. */
export class SoakConsumer {
  /** The next offset. */
  offset = 0;
  readonly #partition: StreamPartition;
  readonly #options: SoakConsumerOptions;
  readonly #places = new Map<number, number>();
  readonly #cursor = new RecordCursor();
  #isStopped = false;
  #done: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;
  #unsubscribe: () => void = () => undefined;

  constructor(partition: StreamPartition, options: SoakConsumerOptions) {
    this.#partition = partition;
    this.#options = options;
  }

  /** A consumer of the tail reads for ever, a cold one from the start of the log to its end and again. */
  start(): void {
    if (!this.#options.isCold) this.#unsubscribe = this.#partition.onCommitted(() => this.#wake());
    this.#done = this.#run();
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    this.#unsubscribe();
    this.#wake();
    return this.#done;
  }

  async #run(): Promise<void> {
    const { counts, isCold, bytesMax } = this.#options;
    while (!this.#isStopped) {
      try {
        const answer = await this.#partition.read({ offset: this.offset, bytesMax });
        const isAtEnd = answer.nextOffset === this.offset;
        for (const slice of answer.slices) this.#check(slice);
        if (this.offset !== answer.nextOffset) {
          counts.problem(`${this.#partition.name}: read to ${this.offset}, the answer says ${answer.nextOffset}`);
          return;
        }
        if (isAtEnd && isCold) await this.#restart();
        else if (isAtEnd) await this.#committed();
      } catch (error) {
        if (this.#isStopped) return;
        const { code, message } = error as { readonly code?: string; readonly message: string };
        if (code !== 'STORAGE_OFFSET_OUT_OF_RANGE') {
          counts.problem(`read of ${this.#partition.name} at ${this.offset}: ${code ?? ''} ${message}`);
          return;
        }
        counts.overtaken += 1;
        await this.#restart();
      }
    }
  }

  async #restart(): Promise<void> {
    this.#places.clear();
    this.offset = (await this.#partition.places()).logStartOffset;
    // Nothing may be there yet.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Until there is something new, or somebody stops it; a word that came before it was waited for is made up for by the timer. */
  #committed(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 20);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #check(slice: Buffer): void {
    const { counts, isCold } = this.#options;
    for (let at = 0; at < slice.length; at += batchSizeAt(slice, at)) {
      this.#cursor.reset(slice, at);
      while (this.#cursor.next()) {
        const { offset, value } = this.#cursor;
        // The first batch may begin before what was asked for.
        if (offset < this.offset) continue;
        if (offset !== this.offset)
          counts.problem(`${this.#partition.name}: offset ${offset} after ${this.offset - 1}`);
        this.offset = offset + 1;
        this.#checkValue(offset, value ?? Buffer.alloc(0));
        if (isCold) counts.coldVerified += 1;
        else counts.verified += 1;
      }
    }
  }

  #checkValue(offset: number, value: Buffer): void {
    const { name } = this.#partition;
    const producer = value.length < 16 ? -1 : value.readDoubleLE(0);
    const place = value.length < 16 ? -1 : value.readDoubleLE(8);
    const expected = this.#places.get(producer) ?? place;
    this.#places.set(producer, place + 1);
    if (place === expected && isWhole(value, producer, place)) return;
    this.#options.counts.problem(
      `${name} at ${offset}: record ${place} of producer ${producer}, expected ${expected}, ${value.length} bytes`,
    );
  }
}

/** Makes a stream, writes to it, reads it, removes it. Rejects with what goes wrong. */
export async function churn(store: StreamStore, number: number, counts: SoakCounts): Promise<void> {
  const name = `churn-${number}`;
  const partition = await store.create(name, { segmentBytes: 1024 * 1024 });
  const builder = new BatchBuilder({}, 4096);
  for (let record = 0; record < 10; record += 1) {
    builder.add({ timestampMs: Date.now(), value: Buffer.from(`${name} ${record}`) });
  }
  const batch = builder.build();
  const answers = Array.from({ length: 20 }, () => new Promise((resolve) => partition.append(batch, resolve)));
  await Promise.all(answers);
  let offset = 0;
  for (;;) {
    const { nextOffset } = await partition.read({ offset, bytesMax: 65_536 });
    if (nextOffset === offset) break;
    offset = nextOffset;
  }
  if (offset !== 200) counts.problem(`${name}: ${offset} records can be read, 200 were acknowledged`);
  await store.remove(name);
  counts.churned += 1;
}
