/**
 * The consumers of a set, and who takes the next message: those with credit in turn, the first one alone, or the one that a key belongs
 * to. Thread: the owner of the set.
 */
import { type EntryTable, nothing } from './entry-table.ts';
import { type ConsumerOptions, QueueConsumer } from './queue-consumer.ts';

/** Most consumers of one set. */
export const consumersMax = 65_536;

export class ConsumerLine {
  /** By number; numbers are used again. */
  readonly #byNumber: (QueueConsumer | null)[] = [];
  /** In the order in which they came. */
  #present: QueueConsumer[] = [];
  #line: QueueConsumer[] = [];
  #lineStart = 0;
  readonly #isExclusive: boolean;

  constructor(isExclusive: boolean) {
    this.#isExclusive = isExclusive;
  }

  get count(): number {
    return this.#present.length;
  }

  get all(): readonly QueueConsumer[] {
    return this.#present;
  }

  at(number: number): QueueConsumer | null {
    return number === nothing ? null : (this.#byNumber[number] ?? null);
  }

  add(table: EntryTable, seed: number, options: ConsumerOptions): QueueConsumer {
    const free = this.#byNumber.indexOf(null);
    const number = free === -1 ? this.#byNumber.length : free;
    const consumer = new QueueConsumer(number, seed, table, options);
    this.#byNumber[number] = consumer;
    this.#present.push(consumer);
    this.enter(consumer);
    return consumer;
  }

  remove(consumer: QueueConsumer): void {
    this.#byNumber[consumer.number] = null;
    this.#present = this.#present.filter((each) => each !== consumer);
    if (this.#isExclusive && this.#present.length > 0) this.enter(this.#present[0]);
  }

  /** It may be able to take something now. */
  enter(consumer: QueueConsumer): void {
    if (consumer.isInLine || !consumer.canTake) return;
    if (this.#isExclusive && consumer !== this.#present[0]) return;
    consumer.isInLine = true;
    this.#line.push(consumer);
  }

  /** The one whose turn it is; it stays at the front. Null when nobody can take a message. */
  front(): QueueConsumer | null {
    while (this.#lineStart < this.#line.length) {
      const consumer = this.#line[this.#lineStart];
      if (consumer.canTake) return consumer;
      this.#leave(consumer);
    }
    return null;
  }

  /** The front has got a message: the others are first. */
  rotate(): void {
    const consumer = this.#line[this.#lineStart];
    this.#leave(consumer);
    this.enter(consumer);
  }

  /** Everybody in the line, which is empty then. */
  drain(): QueueConsumer[] {
    const waiting = this.#line.slice(this.#lineStart);
    for (const consumer of waiting) consumer.isInLine = false;
    this.#line = [];
    this.#lineStart = 0;
    return waiting;
  }

  /** The consumer of a key: the same one as long as it is there, and few keys move when others come and go. */
  ownerOf(hash: number): QueueConsumer | null {
    let owner: QueueConsumer | null = null;
    let best = -1;
    const eligible = this.#isExclusive ? this.#present.slice(0, 1) : this.#present;
    for (const consumer of eligible) {
      const mixed = Math.imul(hash ^ consumer.seed, 0x9e3779b1);
      const weight = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 0;
      if (weight <= best) continue;
      best = weight;
      owner = consumer;
    }
    return owner;
  }

  #leave(consumer: QueueConsumer): void {
    consumer.isInLine = false;
    this.#lineStart += 1;
    if (this.#lineStart < 64 || 2 * this.#lineStart < this.#line.length) return;
    this.#line = this.#line.slice(this.#lineStart);
    this.#lineStart = 0;
  }
}
