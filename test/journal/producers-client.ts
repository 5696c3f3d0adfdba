/**
 * Plain partitions under load of producers with and without an id, which send again what was not answered; what must hold is in
 * `PartitionLedger`. Thread of the test.
 */
import { BatchBuilder } from '../../src/core/batch/batch-builder.ts';
import { rememberedBatches } from '../../src/core/streams/producer-state.ts';
import type { Random } from '../fuzz/random.ts';
import { type Client, type Link, together } from './link.ts';
import { PartitionLedger, type Sent } from './partition-ledger.ts';
import { partitionNames } from './store-lines.ts';

const producersPerPartition = 3;
/** Below the ids of services, above those that the registry gives out in a run. */
const firstProducerId = 2 ** 40;
/** Appends on their way at any time, over all partitions. */
const inFlightMax = 32;
/** Appends at once. */
const appendsMax = 16;
/** Older records are deleted beyond this, so that rounds do not get longer and longer. */
const keptRecords = 4_000;

export class ProducersClient implements Client {
  readonly name = 'producers';
  readonly needs = ['answered', 'repetitions', 'recordsRead'];
  readonly progress = ['answered'];
  readonly #random: Random;
  readonly #ledgers = partitionNames.map((name) => new PartitionLedger(name));
  /** The next sequence of each producer, by partition and producer. */
  readonly #sequences = new Map<string, number>();
  #number = 0;
  #value = 0;
  #inFlight = 0;
  #recordsRead = 0;
  #failure: Error | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  get counts(): Readonly<Record<string, number>> {
    const sum = (of: (ledger: PartitionLedger) => number): number =>
      this.#ledgers.reduce((total, ledger) => total + of(ledger), 0);
    return {
      answered: sum(({ answered }) => answered),
      repetitions: sum(({ repetitions }) => repetitions),
      foundUnanswered: sum(({ foundUnanswered }) => foundUnanswered),
      recordsRead: this.#recordsRead,
    };
  }

  async check(link: Link, isFull: boolean): Promise<void> {
    await together(this.#ledgers.map((ledger) => this.#check(link, ledger, isFull)));
    for (const ledger of this.#ledgers) for (const batch of ledger.takeLost()) this.#append(link, ledger, batch);
  }

  async live(link: Link): Promise<void> {
    for (;;) {
      for (let left = this.#random.below(appendsMax); left > 0 && this.#inFlight < inFlightMax; left -= 1) {
        const ledger = this.#random.pick(this.#ledgers);
        if (this.#random.oneIn(2_000)) this.#delete(link, ledger);
        else this.#append(link, ledger, this.#newBatch(ledger, link.now()));
      }
      await link.pause(1);
      if (this.#failure !== null) throw this.#failure;
    }
  }

  onPush(): void {
    // Nothing is pushed to producers.
  }

  onCrash(): void {
    this.#inFlight = 0;
    if (this.#failure !== null) throw this.#failure;
  }

  async finish(link: Link): Promise<void> {
    while (this.#inFlight > 0) await link.pause(1);
    if (this.#failure !== null) throw this.#failure;
  }

  async #check(link: Link, ledger: PartitionLedger, isFull: boolean): Promise<void> {
    const places = await link.ask('places', { partition: ledger.name });
    const from = Math.max(places.logStartOffset, isFull ? 0 : ledger.end);
    const slices: Buffer[] = [];
    for (let offset = from; offset < places.logEndOffset; ) {
      const read = await link.ask('read', { partition: ledger.name, offset, isolation: 'committed' });
      if (read.nextOffset <= offset) throw new Error(`Partition "${ledger.name}" cannot be read beyond ${offset}`);
      slices.push(...read.slices.map((slice) => Buffer.from(slice, 'base64')));
      offset = read.nextOffset;
    }
    this.#recordsRead += places.logEndOffset - from;
    ledger.check(from, slices, places.logStartOffset, places.logEndOffset);
  }

  #newBatch(ledger: PartitionLedger, timestampMs: number): Omit<Sent, 'number'> {
    const random = this.#random;
    const producer = random.below(producersPerPartition + 1) - 1;
    const ownId = firstProducerId + this.#ledgers.indexOf(ledger) * producersPerPartition + producer;
    // No more are remembered, so no more can be sent again.
    const producerId = producer >= 0 && ledger.openOf(ownId) < rememberedBatches ? ownId : -1;
    const sequenceKey = `${ledger.name}/${producerId}`;
    const sequence = this.#sequences.get(sequenceKey) ?? 0;
    const values = Array.from({ length: random.oneIn(4) ? random.between(2, 40) : 1 }, () => {
      this.#value += 1;
      return `${this.#value} ${'x'.repeat(random.oneIn(50) ? random.below(60_000) : random.below(400))}`;
    });
    const builder = new BatchBuilder(producerId < 0 ? {} : { producerId, producerEpoch: 0, baseSequence: sequence });
    for (const value of values) builder.add({ timestampMs, key: null, value: Buffer.from(value) });
    if (producerId >= 0) this.#sequences.set(sequenceKey, sequence + values.length);
    return { bytes: builder.build(), values, producerId };
  }

  #append(link: Link, ledger: PartitionLedger, batch: Omit<Sent, 'number'>): void {
    this.#number += 1;
    const number = this.#number;
    this.#inFlight += 1;
    ledger.sent({ ...batch, number });
    const given = { partition: ledger.name, bytes: batch.bytes.toString('base64') };
    link.send('append', given, (failure, answer) => {
      this.#inFlight -= 1;
      if (failure === null) this.#try(() => ledger.onAnswer(number, answer));
      else {
        ledger.onRefusal(number);
        this.#failure ??= new Error(`A sound append was refused: ${failure.code}: ${failure.message}`);
      }
    });
  }

  #delete(link: Link, ledger: PartitionLedger): void {
    const offset = ledger.end - keptRecords;
    if (offset <= ledger.logStart) return;
    ledger.deleting(offset);
    link.send('deleteBefore', { partition: ledger.name, offset }, (failure, answer) => {
      if (failure === null) ledger.deleted(answer.logStartOffset);
      else this.#failure ??= new Error(`A sound deletion was refused: ${failure.code}: ${failure.message}`);
    });
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }
}
