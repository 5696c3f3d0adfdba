/**
 * Rounds of kill -9 of the process that holds the journal, at random moments under load of producers with and without an id. After
 * each one it is started again, everything that changed is read and compared with what was answered. Thread of the test.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BatchBuilder } from '../../src/core/batch/batch-builder.ts';
import { rememberedBatches } from '../../src/core/streams/producer-state.ts';
import { Random } from '../fuzz/random.ts';
import { PartitionLedger, type Sent } from './partition-ledger.ts';
import { type Answer, partitionNames } from './store-lines.ts';
import { StoreProcess } from './store-process.ts';

export interface RoundsOptions {
  readonly folder: string;
  readonly rounds: number;
  readonly seed: number;
  /** The process lives at most so long under load; the moment of the kill is random. */
  readonly loadMsMax: number;
  say(line: string): void;
}

export interface RoundsResult {
  rounds: number;
  answered: number;
  repetitions: number;
  foundUnanswered: number;
  recordsRead: number;
  tornTails: number;
  problems: string[];
}

const producersPerPartition = 3;
/** Requests on their way at any time, over all partitions. */
const inFlightMax = 48;
/** Every so many rounds all is read from the start of the log, instead of what is new. */
const fullReadEvery = 20;
/** Older records are deleted beyond this, so that rounds do not get longer and longer. */
const keptRecords = 4_000;

export async function killRounds(options: RoundsOptions): Promise<RoundsResult> {
  const rounds = new KillRounds(options);
  try {
    for (let round = 1; round <= options.rounds; round += 1) await rounds.run(round);
  } catch (error) {
    rounds.result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    await rounds.end();
  }
  return rounds.finish();
}

class KillRounds {
  readonly result: RoundsResult = {
    rounds: 0,
    answered: 0,
    repetitions: 0,
    foundUnanswered: 0,
    recordsRead: 0,
    tornTails: 0,
    problems: [],
  };
  readonly #options: RoundsOptions;
  readonly #random: Random;
  readonly #ledgers = partitionNames.map((name) => new PartitionLedger(name));
  /** The next sequence of each producer, by partition and producer. */
  readonly #sequences = new Map<string, number>();
  readonly #refusals: string[] = [];
  #value = 0;
  #process: StoreProcess | null = null;

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  async run(round: number): Promise<void> {
    const store = new StoreProcess(this.#options.folder, (text) => this.#onEvent(text));
    this.#process = store;
    await store.ready();
    for (const ledger of this.#ledgers) await this.#check(store, ledger, round % fullReadEvery === 0);
    for (const ledger of this.#ledgers) this.#sendAgain(store, ledger);
    await this.#load(store, this.#random.below(this.#options.loadMsMax) + 1);
    await store.kill();
    const [refusal] = this.#refusals;
    if (refusal !== undefined) throw new Error(`Round ${round}: a sound append was refused: ${refusal}`);
    this.result.rounds = round;
    if (round % 10 === 0) this.#options.say(`round ${round}: ${this.finish().answered} batches acknowledged`);
  }

  /** A last look, after an orderly stop. */
  async end(): Promise<void> {
    await this.#process?.kill();
    if (this.result.problems.length > 0) return;
    try {
      for (const isLast of [false, true]) {
        const store = new StoreProcess(this.#options.folder, (text) => this.#onEvent(text));
        this.#process = store;
        await store.ready();
        for (const ledger of this.#ledgers) await this.#check(store, ledger, true);
        if (!isLast) for (const ledger of this.#ledgers) this.#sendAgain(store, ledger);
        while (store.inFlight > 0 && !store.isOver) await sleep(5);
        await store.stop();
      }
    } catch (error) {
      this.result.problems.push(error instanceof Error ? error.message : String(error));
      await this.#process?.kill();
    }
  }

  finish(): RoundsResult {
    const sum = (of: (ledger: PartitionLedger) => number): number =>
      this.#ledgers.reduce((total, ledger) => total + of(ledger), 0);
    this.result.answered = sum(({ answered }) => answered);
    this.result.repetitions = sum(({ repetitions }) => repetitions);
    this.result.foundUnanswered = sum(({ foundUnanswered }) => foundUnanswered);
    return this.result;
  }

  #onEvent(text: string): void {
    const event = JSON.parse(text) as { readonly type: string };
    if (event.type === 'torn-tail') this.result.tornTails += 1;
    else this.result.problems.push(`The journal reports: ${text}`);
  }

  async #check(store: StoreProcess, ledger: PartitionLedger, isFull: boolean): Promise<void> {
    const places = await store.ask({ type: 'places', partition: ledger.name });
    if (places.type !== 'places') throw new Error('an answer of another kind');
    const from = Math.max(places.logStartOffset, isFull ? 0 : ledger.end);
    const slices: Buffer[] = [];
    for (let offset = from; offset < places.logEndOffset; ) {
      const read = await store.ask({ type: 'read', partition: ledger.name, offset, isolation: 'committed' });
      if (read.type !== 'read') throw new Error('an answer of another kind');
      if (read.nextOffset <= offset) throw new Error(`Partition "${ledger.name}" cannot be read beyond ${offset}`);
      slices.push(...read.slices.map((slice) => Buffer.from(slice, 'base64')));
      offset = read.nextOffset;
    }
    this.result.recordsRead += places.logEndOffset - from;
    ledger.check(from, slices, places.logStartOffset, places.logEndOffset);
  }

  #sendAgain(store: StoreProcess, ledger: PartitionLedger): void {
    for (const batch of ledger.takeLost()) this.#append(store, ledger, batch);
  }

  async #load(store: StoreProcess, loadMs: number): Promise<void> {
    const end = performance.now() + loadMs;
    while (performance.now() < end && !store.isOver) {
      while (store.inFlight < inFlightMax) {
        const ledger = this.#random.pick(this.#ledgers);
        if (this.#random.oneIn(2_000)) this.#delete(store, ledger);
        else this.#append(store, ledger, this.#newBatch(ledger));
      }
      await sleep(1);
    }
  }

  #newBatch(ledger: PartitionLedger): Omit<Sent, 'number'> {
    const random = this.#random;
    const producer = random.below(producersPerPartition + 1) - 1;
    const ownId = producer < 0 ? -1 : this.#ledgers.indexOf(ledger) * producersPerPartition + producer;
    // No more are remembered, so no more can be sent again.
    const producerId = ownId >= 0 && ledger.openOf(ownId) < rememberedBatches ? ownId : -1;
    const sequenceKey = `${ledger.name}/${producerId}`;
    const sequence = this.#sequences.get(sequenceKey) ?? 0;
    const values = Array.from({ length: random.oneIn(4) ? random.between(2, 40) : 1 }, () => {
      this.#value += 1;
      return `${this.#value} ${'x'.repeat(random.oneIn(50) ? random.below(60_000) : random.below(400))}`;
    });
    const builder = new BatchBuilder(producerId < 0 ? {} : { producerId, producerEpoch: 0, baseSequence: sequence });
    for (const value of values) builder.add({ timestampMs: Date.now(), key: null, value: Buffer.from(value) });
    if (producerId >= 0) this.#sequences.set(sequenceKey, sequence + values.length);
    return { bytes: builder.build(), values, producerId };
  }

  #append(store: StoreProcess, ledger: PartitionLedger, batch: Omit<Sent, 'number'>): void {
    const bytes = batch.bytes.toString('base64');
    const number = store.send({ type: 'append', partition: ledger.name, bytes }, (answer) =>
      this.#onAnswer(ledger, answer),
    );
    ledger.sent({ ...batch, number });
  }

  #onAnswer(ledger: PartitionLedger, answer: Answer): void {
    if (answer.type === 'append') {
      try {
        ledger.onAnswer(answer.number, answer.baseOffset, answer.lastOffset, answer.isDuplicate);
      } catch (error) {
        this.#refusals.push(String(error));
      }
    } else if (answer.type === 'error') {
      ledger.onRefusal(answer.number);
      this.#refusals.push(`${answer.code}: ${answer.message}`);
    }
  }

  #delete(store: StoreProcess, ledger: PartitionLedger): void {
    const offset = ledger.end - keptRecords;
    if (offset <= ledger.logStart) return;
    ledger.deleting(offset);
    store.send({ type: 'delete-before', partition: ledger.name, offset }, (answer) => {
      if (answer.type === 'delete-before') ledger.deleted(answer.logStartOffset);
      else if (answer.type === 'error') this.#refusals.push(`${answer.code}: ${answer.message}`);
    });
  }
}
