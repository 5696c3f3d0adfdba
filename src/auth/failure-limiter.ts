/**
 * Slows down whoever guesses: failures are counted by address and name together, and by address alone, in windows of time.
 * Never by name alone, or anybody could lock anybody out. Pure, time is an argument; main thread.
 *
 * Memory: a bounded number of entries, the oldest of which make room; an attacker with more addresses than that is bounded
 * by the queue of passwords instead.
 */

interface Entry {
  count: number;
  readonly endsMs: number;
}

const entriesMax = 20_000;
/** Several clients behind one address each have their own failures. */
const addressFactor = 10;

export class FailureLimiter {
  readonly #failuresMax: number;
  readonly #windowMs: number;
  readonly #entries = new Map<string, Entry>();

  /** `failuresMax` 0 switches it off. */
  constructor(failuresMax: number, windowMs: number) {
    this.#failuresMax = failuresMax;
    this.#windowMs = windowMs;
  }

  mayTry(address: string, user: string, nowMs: number): boolean {
    if (this.#failuresMax === 0) return true;
    return (
      this.#count(pairKey(address, user), nowMs) < this.#failuresMax &&
      this.#count(address, nowMs) < this.#failuresMax * addressFactor
    );
  }

  failed(address: string, user: string, nowMs: number): void {
    if (this.#failuresMax === 0) return;
    this.#add(pairKey(address, user), nowMs);
    this.#add(address, nowMs);
  }

  #count(key: string, nowMs: number): number {
    const entry = this.#entries.get(key);
    return entry === undefined || entry.endsMs <= nowMs ? 0 : entry.count;
  }

  #add(key: string, nowMs: number): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.endsMs > nowMs) {
      entry.count++;
      return;
    }
    this.#entries.delete(key);
    if (this.#entries.size >= entriesMax) {
      const [oldest] = this.#entries.keys();
      this.#entries.delete(oldest);
    }
    this.#entries.set(key, { count: 1, endsMs: nowMs + this.#windowMs });
  }
}

/** No address contains this character. */
function pairKey(address: string, user: string): string {
  return `${address}\u0000${user}`;
}
