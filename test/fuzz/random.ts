/** Random numbers from a seed, so that every case of a fuzz run can be made again. Pure; used by all of `test/fuzz`. */

export class Random {
  /** Seed of the whole run that this is a part of. */
  readonly run: number;
  private state: number;

  constructor(seed: number, run = 0) {
    this.state = seed | 0;
    this.run = run;
  }

  /** A generator of its own for part `index` of a run with this seed. */
  static of(seed: number, index: number): Random {
    const mixed = new Random(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35), seed);
    mixed.below(2);
    return mixed;
  }

  /** A whole number in [0, limit): mulberry32. */
  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let value = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % limit;
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** True once in `times` on average. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let index = 0; index < length; index++) bytes[index] = this.below(256);
    return bytes;
  }
}
