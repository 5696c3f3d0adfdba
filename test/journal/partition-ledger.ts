/**
 * What one partition must hold by what was sent and answered: the other side of the rounds in which the process is killed.
 * Knows nothing of files. Records are told apart by their values, which are unique.
 */
import { isControl, readBatchHeader } from '../../src/core/batch/batch-format.ts';
import { RecordCursor } from '../../src/core/batch/record-cursor.ts';
import type { Calls } from './store-lines.ts';

export interface Sent {
  readonly number: number;
  readonly bytes: Buffer;
  readonly values: readonly string[];
  /** −1: a producer without an id, whose batch may be lost or stored once, and is never sent again. */
  readonly producerId: number;
}

export class PartitionLedger {
  readonly name: string;
  /** Values by offset of what is known to be stored and not deleted. */
  readonly #stored = new Map<number, string>();
  readonly #offsets = new Map<string, number>();
  /** Sent and not answered, in the order of sending. */
  #open: Sent[] = [];
  /** Not answered when the process died, and not found afterwards. Producers with an id send them again. */
  #lost: Sent[] = [];
  #logStart = 0;
  #end = 0;
  #startAskedFor = 0;
  answered = 0;
  repetitions = 0;
  foundUnanswered = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** All below it was read and found right. */
  get end(): number {
    return this.#end;
  }

  get logStart(): number {
    return this.#logStart;
  }

  /** How many batches of a producer are not answered. */
  openOf(producerId: number): number {
    return this.#open.reduce((count, batch) => count + (batch.producerId === producerId ? 1 : 0), 0);
  }

  sent(batch: Sent): void {
    this.#open.push(batch);
  }

  /** What the producers with an id have to send again, in order, now that the process is back. */
  takeLost(): readonly Sent[] {
    const lost = this.#lost.filter(({ producerId }) => producerId >= 0);
    this.#lost = [];
    return lost;
  }

  onAnswer(number: number, { baseOffset, lastOffset, isDuplicate }: Calls['append']['answer']): void {
    const at = this.#open.findIndex((batch) => batch.number === number);
    if (at < 0) throw this.#wrong(`answers ${number}, which was not asked`);
    const [batch] = this.#open.splice(at, 1);
    this.answered += 1;
    if (isDuplicate) this.repetitions += 1;
    if (lastOffset - baseOffset !== batch.values.length - 1) {
      throw this.#wrong(`answers offsets ${baseOffset} to ${lastOffset} for ${batch.values.length} records`);
    }
    for (const [index, value] of batch.values.entries()) this.#store(baseOffset + index, value);
  }

  /** A refusal: nothing of it may ever be read. */
  onRefusal(number: number): void {
    this.#open = this.#open.filter((batch) => batch.number !== number);
  }

  /** A deletion was asked for: from now on the log may begin there. */
  deleting(logStart: number): void {
    this.#startAskedFor = Math.max(this.#startAskedFor, logStart);
  }

  deleted(logStart: number): void {
    for (let offset = this.#logStart; offset < logStart; offset += 1) {
      const value = this.#stored.get(offset);
      if (value !== undefined) this.#offsets.delete(value);
      this.#stored.delete(offset);
    }
    this.#logStart = Math.max(this.#logStart, logStart);
  }

  /**
   * The process is back: `slices` is all there is from `from` on, the log now reaches from `logStart` to `logEnd`. Throws when
   * something is lost, moved, invented, doubled, torn, or out of order.
   */
  check(from: number, slices: readonly Buffer[], logStart: number, logEnd: number): void {
    if (logStart !== this.#logStart && logStart !== this.#startAskedFor) {
      throw this.#wrong(`begins at ${logStart}, and ${this.#logStart} was answered`);
    }
    this.deleted(logStart);
    const sentByValue = new Map(
      this.#open.flatMap((batch) => batch.values.map((value, index) => [value, { batch, index }])),
    );
    const found = new Set<Sent>();
    let expected = from;
    let newest = -1;
    for (const { offset, nextOffset, values } of batchesOf(slices)) {
      if (nextOffset <= from) continue;
      // Only the first batch may begin before what was asked for.
      if (offset > expected || (offset < expected && expected !== from)) {
        throw this.#wrong(`has offset ${offset} where ${expected} is next`);
      }
      for (const [index, value] of values.entries()) {
        if (offset + index < from) continue;
        const known = this.#stored.get(offset + index);
        if (known === undefined) {
          const origin = sentByValue.get(value);
          if (origin === undefined) throw this.#wrong(`has "${clip(value)}" at ${offset + index}, which nobody sent`);
          if (origin.index !== index || origin.batch.values.length !== values.length) {
            throw this.#wrong(`has a piece of batch ${origin.batch.number} at ${offset}`);
          }
          if (index === 0) {
            if (origin.batch.producerId >= 0 && origin.batch.number < newest)
              throw this.#wrong('has lost the order of sending');
            newest = Math.max(newest, origin.batch.number);
            found.add(origin.batch);
          }
          this.#store(offset + index, value);
        } else if (known !== value) {
          throw this.#wrong(`has "${clip(value)}" at ${offset + index}, where "${clip(known)}" was acknowledged`);
        }
      }
      expected = nextOffset;
    }
    if (expected !== logEnd) throw this.#wrong(`ends at ${logEnd}, and ${expected} could be read`);
    for (const offset of this.#stored.keys()) {
      if (offset >= logEnd) throw this.#wrong(`has lost offset ${offset}: it ends at ${logEnd}`);
    }
    this.foundUnanswered += found.size;
    // Behind those of an earlier check, when the process died again before they were sent.
    this.#lost.push(...this.#open.filter((batch) => !found.has(batch) || batch.producerId >= 0));
    this.#open = [];
    this.#end = logEnd;
  }

  #store(offset: number, value: string): void {
    const known = this.#stored.get(offset);
    if (known !== undefined && known !== value) {
      throw this.#wrong(`answers ${offset} for "${clip(value)}", where "${clip(known)}" is`);
    }
    const other = this.#offsets.get(value);
    if (other !== undefined && other !== offset) throw this.#wrong(`has "${clip(value)}" at ${other} and at ${offset}`);
    this.#stored.set(offset, value);
    this.#offsets.set(value, offset);
  }

  #wrong(what: string): Error {
    return new Error(`Partition "${this.name}" ${what}`);
  }
}

const cursor = new RecordCursor();

/** The record batches in what was read; control batches have no values. */
function* batchesOf(
  slices: readonly Buffer[],
): Generator<{ readonly offset: number; readonly nextOffset: number; readonly values: readonly string[] }> {
  for (const slice of slices) {
    for (let at = 0; at < slice.length; ) {
      const header = readBatchHeader(slice, at);
      const values: string[] = [];
      cursor.reset(slice, at);
      while (!isControl(header.attributes) && cursor.next()) values.push(cursor.value?.toString() ?? '');
      yield { offset: header.baseOffset, nextOffset: header.lastOffset + 1, values };
      at += header.size;
    }
  }
}

function clip(value: string): string {
  return value.slice(0, 24);
}
