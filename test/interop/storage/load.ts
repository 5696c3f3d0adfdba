/**
 * Producers that never stop, and what they were told; and the proof that what was told is true. Used by the tests that break the
 * server below a store. Thread of the test.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamPartition, StreamStore } from '../../../src/core/ports/stream-store.ts';
import { append, batch, readValues } from '../../support/stream-batches.ts';

const windowSize = 8;
const hastyProducers = 3;
const patientProducers = 2;
const pauseMs = 20;

/** What became of the values of one partition. */
interface Ledger {
  /** Value → offset. */
  readonly acknowledged: Map<string, number>;
  readonly uncertain: Set<string>;
  readonly refused: Set<string>;
}

export class Load {
  /** Codes of errors, and how often each was told. */
  readonly errors = new Map<string, number>();
  readonly #ledgers = new Map<string, Ledger>();
  readonly #producers: Promise<void>[] = [];
  #isOver = false;

  constructor(partitions: readonly StreamPartition[]) {
    for (const [at, partition] of partitions.entries()) {
      const ledger = {
        acknowledged: new Map<string, number>(),
        uncertain: new Set<string>(),
        refused: new Set<string>(),
      };
      this.#ledgers.set(partition.name, ledger);
      for (let number = 0; number < hastyProducers * windowSize; number += 1) {
        this.#producers.push(this.#hasty(partition, ledger, `hasty-${number}`));
      }
      for (let number = 0; number < patientProducers; number += 1) {
        this.#producers.push(this.#patient(partition, ledger, `patient-${number}`, at * 100 + number));
      }
    }
  }

  get acknowledgedCount(): number {
    let count = 0;
    for (const { acknowledged } of this.#ledgers.values()) count += acknowledged.size;
    return count;
  }

  /** Resolves when `more` further records are acknowledged. */
  async progress(more: number): Promise<void> {
    const aim = this.acknowledgedCount + more;
    while (this.acknowledgedCount < aim && !this.#isOver) await sleep(5);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#producers);
  }

  /**
   * All that was acknowledged is there once, at its place; nothing that was refused is; offsets are dense and in the order of each
   * producer. `others`: what somebody else stored.
   */
  async verify(store: StreamStore, others: readonly string[] = []): Promise<void> {
    for (const [name, ledger] of this.#ledgers) {
      const records = await readValues(await store.open(name));
      const places = new Map<string, number>();
      const newest = new Map<string, number>();
      for (const [at, record] of records.entries()) {
        const [offset, value] = split(record);
        assert.equal(offset, at, `${name}: an offset is missing`);
        assert.ok(!places.has(value), `${value} is stored twice`);
        places.set(value, offset);
        if (others.includes(value)) continue;
        const [producer, number] = value.split('/');
        assert.ok(Number(number) > (newest.get(producer) ?? -1), `${value} is out of order`);
        newest.set(producer, Number(number));
      }
      for (const [value, offset] of ledger.acknowledged)
        assert.equal(places.get(value), offset, `${value} was acknowledged`);
      for (const value of ledger.refused) assert.ok(!places.has(value), `${value} was refused`);
      for (const value of places.keys()) {
        const isTold = ledger.acknowledged.has(value) || ledger.uncertain.has(value) || others.includes(value);
        assert.ok(isTold, `${value} was never told`);
      }
    }
  }

  /** Goes on with the next record whatever it is told. */
  async #hasty(partition: StreamPartition, ledger: Ledger, name: string): Promise<void> {
    for (let number = 0; !this.#isOver; number += 1) {
      const value = `${name}/${number}`;
      const { error, baseOffset } = await append(partition, batch([value]));
      if (error === null) ledger.acknowledged.set(value, baseOffset);
      else {
        this.#note(error.code);
        (error.code === 'STORAGE_UNCERTAIN' ? ledger.uncertain : ledger.refused).add(value);
        if (error.code === 'STORAGE_LEADER_FENCED') return;
        await sleep(pauseMs);
      }
    }
  }

  /** Sends the same batch until it is told where it is. */
  async #patient(partition: StreamPartition, ledger: Ledger, name: string, producerId: number): Promise<void> {
    for (let number = 0; !this.#isOver; ) {
      const values = [`${name}/${number}`, `${name}/${number + 1}`];
      // The time matters: producers that were not heard of for long are forgotten.
      const timestampMs = Date.now();
      const bytes = batch(values, { producerId, producerEpoch: 0, baseSequence: number, timestampMs });
      for (const value of values) ledger.uncertain.add(value);
      const { error, baseOffset } = await append(partition, bytes);
      if (error !== null) {
        this.#note(error.code);
        if (error.code === 'STORAGE_LEADER_FENCED') return;
        await sleep(pauseMs);
        continue;
      }
      for (const [at, value] of values.entries()) ledger.acknowledged.set(value, baseOffset + at);
      number += 2;
    }
  }

  #note(code: string): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }
}

function split(record: string): [offset: number, value: string] {
  const at = record.indexOf(':');
  return [Number(record.slice(0, at)), record.slice(at + 1)];
}
