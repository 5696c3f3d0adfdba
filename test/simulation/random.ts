/** Numbers from a seed. Each part of a run draws from its own fork, so that switching one part off moves the others little. */

function mix(text: string, seed: number): number {
  let hash = (seed ^ 0x811c9dc5) >>> 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

/** The generator sfc32: fast, 128 bits of state, good enough for choices. */
export class Random {
  readonly #seed: number;
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  constructor(seed: number, label = '') {
    this.#seed = mix(label, seed);
    this.#a = this.#seed | 0;
    this.#b = Math.floor(seed / 0x1_0000_0000) | 0;
    this.#c = 0x9e3779b9 | 0;
    for (let i = 0; i < 12; i++) this.#next();
  }

  /** A generator of its own for the part called `label`. */
  fork(label: string): Random {
    return new Random(this.#seed, label);
  }

  #next(): number {
    const result = (this.#a + this.#b + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result;
    return result >>> 0;
  }

  /** In [0, 1). */
  share(): number {
    return this.#next() / 0x1_0000_0000;
  }

  /** A whole number in [0, limit). */
  readonly below = (limit: number): number => Math.floor(this.share() * limit);

  /** A whole number in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.share() < probability;
  }

  /** Exponentially distributed, at most ten times the mean. */
  around(mean: number): number {
    return Math.round(Math.min(-Math.log(1 - this.share()), 10) * mean);
  }

  pick<Item>(items: readonly Item[]): Item {
    if (items.length === 0) throw new Error('Cannot pick from an empty list');
    return items[this.below(items.length)] as Item;
  }

  shuffle<Item>(items: readonly Item[]): Item[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = result[i] as Item;
      result[i] = result[j] as Item;
      result[j] = held;
    }
    return result;
  }

  /** A replica id, request id and the like: 1 to 2^53 - 1. */
  identifier(): number {
    return this.below(0x20_0000) * 0x1_0000_0000 + this.#next() + 1;
  }
}
