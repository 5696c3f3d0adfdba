/** Part of the contract of stream stores: random calls, compared with a model that is a few arrays. */
import { expect, it } from 'vitest';
import type { AppendAnswer, Isolation, StreamPartition, StreamStore } from '../../src/core/ports/stream-store.ts';
import { Random } from '../simulation/random.ts';
import {
  append,
  batch,
  batchesIn,
  codeOf,
  marker,
  ownBytes,
  type Producer,
  produced,
} from '../support/stream-batches.ts';
import type { ContractBench, OpenedStreamStore } from './stream-store.harness.ts';

interface ModelBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly bytes: string;
}

interface ModelProducer extends Producer {
  producerEpoch: number;
  sequence: number;
  /** Batches of this epoch, newest last. */
  sent: { readonly bytes: Buffer; readonly baseOffset: number }[];
  /** First offset of the transaction under way. */
  begin: number | null;
}

interface Expected {
  readonly bytes: Buffer;
  readonly baseOffset: number;
  readonly isDuplicate: boolean;
  readonly error: string | null;
}

/** What one partition should be. */
class Model {
  readonly batches: ModelBatch[] = [];
  readonly producers: ModelProducer[] = [1, 2, 3].map((producerId) => ({
    producerId,
    producerEpoch: 0,
    sequence: 0,
    sent: [],
    begin: null,
  }));
  readonly aborted: { readonly producerId: number; readonly firstOffset: number; readonly lastOffset: number }[] = [];
  start = 0;
  end = 0;
  #number = 0;

  get stable(): number {
    return Math.min(this.end, ...this.producers.flatMap(({ begin }) => (begin === null ? [] : [begin])));
  }

  /** One more append, whatever it is. */
  next(random: Random): Expected {
    const producer = this.producers[random.below(this.producers.length)];
    const drawn = random.below(10);
    if (drawn < 4) return this.#store(batch(this.#values(random)));
    if (drawn === 4 && producer.sent.length > 0) {
      const again = producer.sent[producer.sent.length - 1 - random.below(Math.min(5, producer.sent.length))];
      return { ...again, isDuplicate: true, error: null };
    }
    if (drawn === 5 && producer.begin !== null) return this.#decide(producer, random.chance(0.5));
    if (drawn === 6) {
      const wrong = produced(producer, producer.sequence + 1 + random.below(5), ['gap']);
      const error = producer.sequence > 0 ? 'STORAGE_SEQUENCE_OUT_OF_ORDER' : 'STORAGE_BATCH_INVALID';
      return producer.sequence > 0 ? refused(wrong, error) : refused(Buffer.from('no batch at all'), error);
    }
    if (drawn === 7 && producer.begin === null && producer.sent.length > 0) {
      producer.producerEpoch += 1;
      producer.sequence = 0;
      producer.sent = [];
    }
    return this.#produce(producer, random);
  }

  #produce(producer: ModelProducer, random: Random): Expected {
    // In a transaction all batches of a producer belong to it.
    const isTransactional = producer.begin !== null || random.chance(0.4);
    const values = this.#values(random);
    const bytes = produced(producer, producer.sequence, values, isTransactional);
    producer.sequence += values.length;
    if (isTransactional) producer.begin ??= this.end;
    const expected = this.#store(bytes);
    producer.sent.push({ bytes, baseOffset: expected.baseOffset });
    return expected;
  }

  #decide(producer: ModelProducer, isAbort: boolean): Expected {
    const firstOffset = producer.begin ?? 0;
    if (isAbort) this.aborted.push({ producerId: producer.producerId, firstOffset, lastOffset: this.end });
    producer.begin = null;
    return this.#store(marker(isAbort ? 'abort' : 'commit', producer));
  }

  #values(random: Random): string[] {
    this.#number += 1;
    return Array.from({ length: random.between(1, 4) }, (_, at) => `${this.#number}.${at}`.padEnd(random.below(300)));
  }

  #store(bytes: Buffer): Expected {
    const baseOffset = this.end;
    const lastOffset = baseOffset + bytes.readInt32BE(23);
    this.batches.push({ baseOffset, lastOffset, bytes: ownBytes(bytes) });
    this.end = lastOffset + 1;
    return { bytes, baseOffset, isDuplicate: false, error: null };
  }
}

function refused(bytes: Buffer, error: string): Expected {
  return { bytes, baseOffset: -1, isDuplicate: false, error };
}

function answered({ error, baseOffset, isDuplicate }: AppendAnswer): unknown[] {
  return [error?.code ?? null, baseOffset, isDuplicate];
}

async function checkRead(partition: StreamPartition, model: Model, random: Random): Promise<void> {
  const isolation = (['committed', 'stable', 'durable'] as const)[random.below(3)] satisfies Isolation;
  const offset = random.between(model.start, model.end);
  const bytesMax = random.chance(0.2) ? 1 : random.below(3000);
  const answer = await partition.read({ offset, bytesMax, isolation });
  const limit = isolation === 'stable' ? model.stable : model.end;
  const found = batchesIn(answer.slices);
  const expected = model.batches.filter(({ baseOffset, lastOffset }) => lastOffset >= offset && baseOffset < limit);
  const taken = expected.slice(0, found.length);
  expect(found.map(({ bytes }) => ownBytes(bytes))).toEqual(taken.map(({ bytes }) => bytes));
  expect(found.map(({ baseOffset }) => baseOffset)).toEqual(taken.map(({ baseOffset }) => baseOffset));
  if (offset < limit) expect(found.length).toBeGreaterThan(0);
  expect(answer.nextOffset).toBe(
    taken.at(-1)?.lastOffset === undefined ? offset : taken[taken.length - 1].lastOffset + 1,
  );
  if (found.length > 1) expect(answer.bytes).toBeLessThanOrEqual(bytesMax);
  expect(answer).toMatchObject({
    logStartOffset: model.start,
    highWatermark: model.end,
    lastStableOffset: model.stable,
  });
  if (isolation !== 'stable') return;
  const aborted = model.aborted.filter(
    ({ firstOffset, lastOffset }) => firstOffset < answer.nextOffset && lastOffset >= offset,
  );
  // More than those that were asked for do no harm, but those must be there.
  for (const item of answer.nextOffset > offset ? aborted : []) {
    expect(answer.aborted.map(({ producerId, firstOffset }) => `${producerId}/${firstOffset}`)).toContain(
      `${item.producerId}/${item.firstOffset}`,
    );
  }
}

class ModelRun {
  readonly #opened: OpenedStreamStore;
  readonly #random: Random;
  readonly #isDurable: boolean;
  readonly #models = new Map([0, 1, 2].map((at) => [`p-${at}`, new Model()]));
  #store: StreamStore;

  constructor(opened: OpenedStreamStore, seed: number, isDurable: boolean) {
    this.#opened = opened;
    this.#store = opened.store;
    this.#random = new Random(seed);
    this.#isDurable = isDurable;
  }

  async run(steps: number): Promise<void> {
    for (const name of this.#models.keys()) await this.#store.create(name, { segmentBytes: 4096 });
    for (let step = 0; step < steps; step += 1) await this.#step();
    for (const [name, model] of this.#models) {
      const places = await (await this.#store.open(name)).places();
      expect(places).toMatchObject({ logStartOffset: model.start, logEndOffset: model.end });
    }
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const name = `p-${random.below(3)}`;
    const model = this.#models.get(name) ?? new Model();
    const partition = await this.#store.open(name);
    const drawn = random.below(20);
    if (drawn === 0 && this.#isDurable) {
      const { reopen, crash = reopen } = this.#opened;
      this.#store = await (random.chance(0.5) ? crash() : reopen());
    } else if (drawn === 1) {
      const offset = random.between(model.start, model.end);
      expect(await partition.deleteBefore(offset)).toBe(offset);
      model.start = offset;
      if (offset > 0) {
        expect(await codeOf(partition.read({ offset: offset - 1, bytesMax: 1 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
      }
    } else if (drawn < 9) await checkRead(partition, model, random);
    else {
      const expected = Array.from({ length: random.between(1, 12) }, () => model.next(random));
      const answers = await Promise.all(expected.map(({ bytes }) => append(partition, bytes)));
      expect(answers.map(answered)).toEqual(
        expected.map(({ error, baseOffset, isDuplicate }) => [error, baseOffset, isDuplicate]),
      );
    }
  }
}

export function modelChecks(bench: ContractBench): void {
  const { modelRounds = 4, isDurable } = bench.capabilities;
  for (let seed = 1; seed <= modelRounds; seed += 1) {
    it(`does what a model of it does, seed ${seed}`, async () => {
      await new ModelRun(await bench.open(), seed, isDurable).run(80);
    });
  }
}
