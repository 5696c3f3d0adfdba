/**
 * The records of an acknowledgement set in its internal stream: a value is a sequence of operations over ranges of offsets.
 * Thread: the owner of the set, which writes them each turn and reads them when it is opened.
 *
 *   operation   kind (1 byte), then zigzag varints
 *   1 reset     partition, offset                    all of the partition is forgotten; it is read from the offset on
 *   2 deliver   partition, first, length, count      delivered for the count-th time
 *   3 settle    partition, first, length             never again
 *   4 return    partition, first, length, count, due, first failure     to be delivered again, not before due (0: now)
 *   5 bury      sequence, epoch, time, entries, then of each: partition, offset, count, first failure, reason
 *   6 buried    sequence, epoch                      the next batch of the dead-letter stream has these
 *   7 snapshot                                       everything before this record is void
 *
 * Offsets between the end of what is known and a range are known from then on, too: read, and neither delivered nor settled.
 */
import { VarintReader, varintSize, writeVarint } from '../batch/varint.ts';

export const setOperation = { reset: 1, deliver: 2, settle: 3, return: 4, bury: 5, buried: 6, snapshot: 7 } as const;

export interface BuriedEntry {
  readonly partition: number;
  readonly offset: number;
  readonly count: number;
  readonly firstFailure: number;
  readonly reason: number;
}

/** A batch for the dead-letter stream that was begun: the same again after a crash. */
export interface Burial {
  readonly sequence: number;
  readonly epoch: number;
  /** Wall time in milliseconds. */
  readonly time: number;
  readonly entries: readonly BuriedEntry[];
}

/** Ranges with one more number, in growing columns: neighbours become one. */
class Ranges {
  count = 0;
  partition = new Uint16Array(64);
  first = new Float64Array(64);
  length = new Float64Array(64);
  extra = new Float64Array(64);

  add(partition: number, offset: number, length: number, extra: number): void {
    const last = this.count - 1;
    if (
      last >= 0 &&
      this.partition[last] === partition &&
      this.first[last] + this.length[last] === offset &&
      this.extra[last] === extra
    ) {
      this.length[last] += length;
      return;
    }
    if (this.count === this.first.length) this.#grow();
    this.partition[this.count] = partition;
    this.first[this.count] = offset;
    this.length[this.count] = length;
    this.extra[this.count] = extra;
    this.count += 1;
  }

  #grow(): void {
    const size = 2 * this.first.length;
    const { partition, first, length, extra } = this;
    this.partition = new Uint16Array(size);
    this.partition.set(partition);
    this.first = new Float64Array(size);
    this.first.set(first);
    this.length = new Float64Array(size);
    this.length.set(length);
    this.extra = new Float64Array(size);
    this.extra.set(extra);
  }
}

/**
 * Collects the operations of a turn. Deliveries and settlements are sorted apart while nothing else comes between them, so
 * that each makes long ranges: of one offset a delivery always comes before its settlement.
 */
export class SetRecordWriter {
  readonly #delivered = new Ranges();
  readonly #settled = new Ranges();
  #bytes = Buffer.allocUnsafeSlow(4096);
  #end = 0;

  /** About how long the record will be. */
  get size(): number {
    return this.#end + 12 * (this.#delivered.count + this.#settled.count);
  }

  deliver(partition: number, offset: number, count: number): void {
    this.#delivered.add(partition, offset, 1, count);
  }

  settle(partition: number, offset: number): void {
    this.#settled.add(partition, offset, 1, 0);
  }

  /** Settles what was never read, in the order of the calls: a range of any length must not come behind later deliveries. */
  skip(partition: number, first: number, length: number): void {
    this.#seal();
    this.#write(setOperation.settle, partition, first, length);
  }

  return(partition: number, offset: number, length: number, count: number, due: number, firstFailure: number): void {
    this.#seal();
    this.#write(setOperation.return, partition, offset, length, count, due, firstFailure);
  }

  reset(partition: number, offset: number): void {
    this.#seal();
    this.#write(setOperation.reset, partition, offset);
  }

  bury(burial: Burial): void {
    this.#seal();
    const { sequence, epoch, time, entries } = burial;
    this.#write(setOperation.bury, sequence, epoch, time, entries.length);
    for (const { partition, offset, count, firstFailure, reason } of entries) {
      this.#numbers(partition, offset, count, firstFailure, reason);
    }
  }

  buried(sequence: number, epoch: number): void {
    this.#seal();
    this.#write(setOperation.buried, sequence, epoch);
  }

  snapshot(): void {
    this.#seal();
    this.#write(setOperation.snapshot);
  }

  /** The record, in memory of its own, and the writer is empty; null when there is nothing in it. */
  take(): Buffer | null {
    this.#seal();
    if (this.#end === 0) return null;
    const record = Buffer.from(this.#bytes.subarray(0, this.#end));
    this.#end = 0;
    return record;
  }

  clear(): void {
    this.#delivered.count = 0;
    this.#settled.count = 0;
    this.#end = 0;
  }

  #seal(): void {
    const delivered = this.#delivered;
    const settled = this.#settled;
    for (let at = 0; at < delivered.count; at += 1) {
      const { partition, first, length, extra } = delivered;
      this.#write(setOperation.deliver, partition[at], first[at], length[at], extra[at]);
    }
    for (let at = 0; at < settled.count; at += 1) {
      this.#write(setOperation.settle, settled.partition[at], settled.first[at], settled.length[at]);
    }
    delivered.count = 0;
    settled.count = 0;
  }

  #write(kind: number, ...numbers: number[]): void {
    this.#reserve(1);
    this.#bytes[this.#end] = kind;
    this.#end += 1;
    this.#numbers(...numbers);
  }

  #numbers(...numbers: number[]): void {
    for (const number of numbers) {
      this.#reserve(varintSize(number));
      this.#end = writeVarint(this.#bytes, number, this.#end);
    }
  }

  #reserve(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * this.#bytes.length);
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

/** What replay tells, in the order of the log. */
export interface SetRecordReader {
  reset(partition: number, offset: number): void;
  deliver(partition: number, first: number, length: number, count: number): void;
  settle(partition: number, first: number, length: number): void;
  return(partition: number, first: number, length: number, count: number, due: number, firstFailure: number): void;
  bury(burial: Burial): void;
  buried(sequence: number, epoch: number): void;
  snapshot(): void;
}

/** Reads a record; false when it is not one, and `target` may have been told a part of it. */
export function readSetRecord(value: Buffer, target: SetRecordReader): boolean {
  const reader = new VarintReader();
  reader.reset(value, 0, value.length);
  const next = (): number => reader.next();
  while (reader.isSound && reader.at < reader.end) {
    const kind = value[reader.at];
    reader.at += 1;
    // Arguments are evaluated from left to right, which is the order of the numbers.
    if (kind === setOperation.reset) target.reset(next(), next());
    else if (kind === setOperation.deliver) target.deliver(next(), next(), next(), next());
    else if (kind === setOperation.settle) target.settle(next(), next(), next());
    else if (kind === setOperation.return) target.return(next(), next(), next(), next(), next(), next());
    else if (kind === setOperation.bury) target.bury(readBurial(reader));
    else if (kind === setOperation.buried) target.buried(next(), next());
    else if (kind === setOperation.snapshot) target.snapshot();
    else return false;
  }
  return reader.isSound;
}

function readBurial(reader: VarintReader): Burial {
  const sequence = reader.next();
  const epoch = reader.next();
  const time = reader.next();
  const length = reader.next();
  const entries: BuriedEntry[] = [];
  while (entries.length < length && reader.isSound) {
    const partition = reader.next();
    const offset = reader.next();
    const count = reader.next();
    const firstFailure = reader.next();
    entries.push({ partition, offset, count, firstFailure, reason: reader.next() });
  }
  return { sequence, epoch, time, entries };
}
