/**
 * Named producers that consume a stream, transform it, and produce to several partitions, in transactions with the cursor of what they
 * consumed: they commit, abort, take too long, are fenced, and go on after each crash where their cursor says. What must hold:
 *   - a transaction whose commit was answered is wholly visible to readers of decided records; one that was aborted, or was not
 *     asked to commit, never; one whose commit was not answered is there as a whole or not at all
 *   - the cursor is set if and only if the output is there; of no input there are two outputs, and none is left out
 *   - who was fenced writes nothing
 * Thread of the test.
 */
import { BatchBuilder } from '../../src/core/batch/batch-builder.ts';
import { batchAttributes } from '../../src/core/batch/batch-format.ts';
import type { Random } from '../fuzz/random.ts';
import { type Client, codeOf, type Link, together } from './link.ts';
import { transactionInput, transactionOutputs } from './store-lines.ts';
import { type ReadRecord, StreamReader } from './stream-reader.ts';

const producerCount = 8;
const timeoutMs = 10_000;
const shortTimeoutMs = 60;
const keptRecords = 2_000;

interface Identity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

interface Transaction {
  readonly id: string;
  /** `asked`: to commit, and nobody knows. */
  fate: 'open' | 'asked' | 'committed' | 'aborted';
  /** Values that were acknowledged. */
  readonly written: string[];
  seen: number;
  /** Where the cursor is before and behind it. */
  readonly from: number;
  to: number;
}

/** One producer by its name, over all its lives. */
class Producer {
  readonly name: string;
  identity: Identity | null = null;
  /** Its time-out is short, and it may take longer. */
  isSlow = false;
  /** What it was, before it was fenced. */
  former: Identity | null = null;
  /** All input below it is consumed, as far as is known. */
  cursor = 0;
  /** Of the newest transaction and those that are not checked yet. */
  unchecked: Transaction[] = [];
  readonly sequences = new Map<string, number>();
  /** Transaction by input, of what was seen in the output. */
  readonly consumed = new Map<number, string>();
  /** All input below it has its output. */
  checkedTo = 0;

  constructor(name: string) {
    this.name = name;
  }

  use(identity: Identity | null): void {
    if (this.identity !== null && identity?.producerEpoch !== this.identity.producerEpoch) this.former = this.identity;
    this.identity = identity;
    this.sequences.clear();
  }
}

export class TransactionsClient implements Client {
  readonly name = 'transactions';
  readonly needs = [
    'committed',
    'aborted',
    'timedOut',
    'fenced',
    'unansweredCommitted',
    'unansweredAborted',
    'cursors',
  ];
  readonly progress = ['committed'];
  readonly counts = {
    committed: 0,
    aborted: 0,
    timedOut: 0,
    fenced: 0,
    zombies: 0,
    unansweredCommitted: 0,
    unansweredAborted: 0,
    cursors: 0,
    recordsRead: 0,
  };
  readonly #random: Random;
  readonly #producers = Array.from({ length: producerCount }, (_, index) => new Producer(`producer-${index}`));
  readonly #readers = transactionOutputs.map((name) => new StreamReader(name, 'stable'));
  readonly #transactions = new Map<string, Transaction>();
  #number = 0;
  /** Records of the input that are acknowledged. */
  #inputEnd = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  async check(link: Link, isFull: boolean): Promise<void> {
    this.#inputEnd = (await link.ask('places', { partition: transactionInput })).highWatermark;
    // Answered only when what each had under way is ended everywhere.
    await together(this.#producers.map((producer) => this.#begin(link, producer)));
    await together(this.#readers.map((reader) => this.#checkOutput(link, reader, isFull)));
    await together(this.#producers.map((producer) => this.#checkProducer(link, producer)));
  }

  async #checkOutput(link: Link, reader: StreamReader, isFull: boolean): Promise<void> {
    const places = await link.ask('places', { partition: reader.stream });
    if (places.lastStableOffset !== places.highWatermark) {
      throw new Error(`Stream "${reader.stream}" has a transaction without an end at ${places.lastStableOffset}`);
    }
    await this.#readNew(link, reader);
    if (isFull) {
      await reader.readAgain(link);
      await reader.trim(link, keptRecords);
    }
  }

  async live(link: Link): Promise<void> {
    await together([
      ...this.#producers.map((producer) => this.#produce(link, producer)),
      this.#feed(link),
      this.#watch(link),
    ]);
  }

  onPush(): void {
    // Nothing is pushed to producers.
  }

  onCrash(): void {
    for (const producer of this.#producers) {
      for (const transaction of producer.unchecked) if (transaction.fate === 'open') this.#abort(transaction);
      producer.use(null);
    }
  }

  async finish(link: Link): Promise<void> {
    await this.check(link, true);
  }

  // --- producers ---

  async #produce(link: Link, producer: Producer): Promise<void> {
    for (;;) {
      if (producer.identity === null) await this.#begin(link, producer);
      try {
        await this.#transact(link, producer);
      } catch (error) {
        this.#onRefusal(producer, error);
      }
      await link.pause(this.#random.below(3));
    }
  }

  /** A producer of this name begins, and with it nobody goes on who had the name before. */
  async #begin(link: Link, producer: Producer): Promise<void> {
    const { name } = producer;
    producer.isSlow = this.#random.oneIn(4);
    const given = { name, producerId: -1, producerEpoch: -1, timeoutMs: producer.isSlow ? shortTimeoutMs : timeoutMs };
    const identity = await this.#patiently(link, () => link.ask('begin', given));
    producer.use(identity);
    await this.#zombie(link, producer);
  }

  async #transact(link: Link, producer: Producer): Promise<void> {
    const { identity, name } = producer;
    if (identity === null || this.#inputEnd <= producer.cursor) return;
    const random = this.#random;
    this.#number += 1;
    const from = producer.cursor;
    const to = Math.min(this.#inputEnd, from + random.between(1, 6));
    const id = `${name}.${this.#number}`;
    const transaction: Transaction = { id, fate: 'open', written: [], seen: 0, from, to };
    this.#transactions.set(id, transaction);
    producer.unchecked.push(transaction);
    const partitions = new Set<string>();
    for (let input = from; input < to; input += 1) partitions.add(outputOf(input));
    const given = { name, ...identity };
    await this.#patiently(link, () => link.ask('addPartitions', { ...given, partitions: [...partitions] }));
    const cursor = { group: groupOf(producer), stream: transactionInput, offset: to };
    const staged = link.ask('addOffsets', { ...given, ...cursor }).then(() => undefined);
    const written = [...partitions].map((partition) => this.#write(link, producer, transaction, partition));
    await together([staged, ...written]);
    // The coordinator looks every 100 ms.
    if (producer.isSlow && random.oneIn(3)) await link.pause(shortTimeoutMs + 120);
    const kind = random.below(12);
    // It begins anew and leaves this one to be given up.
    if (kind === 0) throw new Abandoned();
    await this.#end(link, producer, transaction, kind < 3 ? 'abort' : 'commit');
  }

  async #write(link: Link, producer: Producer, transaction: Transaction, partition: string): Promise<void> {
    const { identity, name } = producer;
    if (identity === null) return;
    for (const values of this.#batches(transaction, partition)) {
      const sequence = producer.sequences.get(partition) ?? 0;
      producer.sequences.set(partition, sequence + values.length);
      const bytes = batchOf(link, identity, sequence, values);
      await link.ask('appendIn', { name, ...identity, partition, bytes });
      transaction.written.push(...values);
    }
  }

  #batches(transaction: Transaction, partition: string): string[][] {
    const values: string[] = [];
    for (let input = transaction.from; input < transaction.to; input += 1) {
      if (outputOf(input) === partition) values.push(`${transaction.id}/${input}`);
    }
    if (values.length < 2 || this.#random.oneIn(2)) return [values];
    return [values.slice(0, 1), values.slice(1)];
  }

  async #end(link: Link, producer: Producer, transaction: Transaction, outcome: 'commit' | 'abort'): Promise<void> {
    const { identity, name } = producer;
    if (identity === null) return;
    transaction.fate = outcome === 'commit' ? 'asked' : 'aborted';
    const next = await link.ask('end', { name, ...identity, outcome });
    if (outcome === 'commit') {
      transaction.fate = 'committed';
      producer.cursor = transaction.to;
      this.counts.committed += 1;
    } else this.counts.aborted += 1;
    producer.use(next);
    if (this.#random.oneIn(10)) await this.#zombie(link, producer);
  }

  /** A late batch of a former epoch: refused, whatever way it comes. */
  async #zombie(link: Link, producer: Producer): Promise<void> {
    const { former, name } = producer;
    if (former === null) return;
    producer.former = null;
    const bytes = batchOf(link, former, 0, [`${name}.zombie/${this.counts.zombies}`]);
    const partition = this.#random.pick(transactionOutputs);
    try {
      await link.ask('appendIn', { name, ...former, partition, bytes });
    } catch (error) {
      if (!codeOf(error).startsWith('TRANSACTION_')) throw error;
      this.counts.zombies += 1;
      return;
    }
    throw new Error(`"${name}" was fenced, and writes to "${partition}"`);
  }

  /** What a producer is told when it was fenced or took too long; anything else is wrong. */
  #onRefusal(producer: Producer, error: unknown): void {
    const newest = producer.unchecked.at(-1);
    const code = codeOf(error);
    const isTooLong = ['TRANSACTION_FENCED', 'TRANSACTION_STATE', 'TRANSACTION_CONCURRENT'].includes(code);
    if (!isTooLong && code !== 'STORAGE_PRODUCER_FENCED' && !(error instanceof Abandoned)) throw error;
    // A commit that was refused is none.
    if (newest !== undefined && newest.fate !== 'committed') this.#abort(newest);
    if (error instanceof Abandoned) this.counts.fenced += 1;
    else this.counts.timedOut += 1;
    producer.use(null);
  }

  #abort(transaction: Transaction): void {
    transaction.fate = 'aborted';
    this.counts.aborted += 1;
  }

  async #patiently<T>(link: Link, work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (codeOf(error) !== 'TRANSACTION_CONCURRENT') throw error;
        await link.pause(2);
      }
    }
  }

  // --- the input, and readers of the output ---

  async #feed(link: Link): Promise<void> {
    for (;;) {
      const slowest = Math.min(...this.#producers.map(({ cursor }) => cursor));
      if (this.#inputEnd - slowest < 200) {
        const builder = new BatchBuilder();
        const count = this.#random.between(1, 20);
        for (let left = count; left > 0; left -= 1)
          builder.add({ timestampMs: link.now(), value: Buffer.from('input') });
        const given = { partition: transactionInput, bytes: builder.build().toString('base64') };
        const { lastOffset } = await link.ask('append', given);
        this.#inputEnd = lastOffset + 1;
      }
      await link.pause(10);
    }
  }

  async #watch(link: Link): Promise<void> {
    for (;;) {
      await this.#readNew(link, this.#random.pick(this.#readers));
      await link.pause(15);
    }
  }

  #readNew(link: Link, reader: StreamReader): Promise<void> {
    return reader.readNew(link, (record) => this.#onSeen(reader.stream, record));
  }

  #onSeen(stream: string, { value, offset }: ReadRecord): void {
    this.counts.recordsRead += 1;
    const place = `"${value}" at ${offset} of "${stream}"`;
    const [id = '', text = ''] = value.split('/');
    const transaction = this.#transactions.get(id);
    const input = Number(text);
    if (transaction === undefined) throw new Error(`${place} is of no transaction`);
    if (transaction.fate !== 'committed' && transaction.fate !== 'asked') {
      throw new Error(`${place} is visible, and its transaction is ${transaction.fate}`);
    }
    if (outputOf(input) !== stream) throw new Error(`${place} is not where it was sent`);
    const producer = this.#producers.find(({ name }) => id.startsWith(`${name}.`));
    const before = producer?.consumed.get(input);
    if (before !== undefined) throw new Error(`${place} is the second output of input ${input}, after ${before}`);
    producer?.consumed.set(input, id);
    transaction.seen += 1;
  }

  /** All that the producer has begun is decided and read. */
  async #checkProducer(link: Link, producer: Producer): Promise<void> {
    for (const transaction of producer.unchecked) {
      const { id, fate, written, seen, from, to } = transaction;
      const state = `${id} is ${fate}, and of ${written.length} records ${seen} are visible`;
      if (seen !== 0 && seen !== written.length) throw new Error(state);
      if (fate === 'committed' && seen === 0) throw new Error(state);
      if (fate !== 'asked') continue;
      transaction.fate = seen === 0 ? 'aborted' : 'committed';
      if (seen === 0) this.counts.unansweredAborted += 1;
      else {
        this.counts.unansweredCommitted += 1;
        producer.cursor = to;
      }
      if (from > producer.cursor) throw new Error(`${id} began at ${from}, and the cursor is ${producer.cursor}`);
    }
    const group = groupOf(producer);
    const { offset, isStaged } = await link.ask('cursor', { group, stream: transactionInput });
    if (Math.max(0, offset) !== producer.cursor || isStaged) {
      const staged = isStaged ? ', and one is staged' : '';
      throw new Error(`The cursor of "${group}" is ${offset}${staged}, and the output reaches to ${producer.cursor}`);
    }
    if (offset > 0) this.counts.cursors += 1;
    for (; producer.checkedTo < producer.cursor; producer.checkedTo += 1) {
      if (producer.consumed.has(producer.checkedTo)) continue;
      throw new Error(`Input ${producer.checkedTo} of "${group}" has no output, and the cursor is ${producer.cursor}`);
    }
    for (const transaction of producer.unchecked) {
      if (transaction.fate === 'aborted') this.#transactions.delete(transaction.id);
    }
    producer.unchecked = [];
  }
}

class Abandoned extends Error {}

function outputOf(input: number): string {
  return transactionOutputs[input % transactionOutputs.length];
}

function groupOf({ name }: Producer): string {
  return `group-${name}`;
}

function batchOf(link: Link, identity: Identity, baseSequence: number, values: readonly string[]): string {
  const builder = new BatchBuilder({ ...identity, baseSequence, attributes: batchAttributes.transactional });
  for (const value of values) builder.add({ timestampMs: link.now(), value: Buffer.from(value) });
  return builder.build().toString('base64');
}
