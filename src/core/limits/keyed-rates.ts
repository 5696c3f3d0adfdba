/**
 * One token bucket for each key of an unbounded set, such as addresses. Pure, time is an argument; main thread.
 *
 * Memory: a bounded number of buckets. A bucket that is full again is the same as none, so those go first; with more keys
 * than that at work the oldest are forgotten, which only lets their owners spend again.
 */
import { OwnRate } from './rate.ts';

/** Some 100 bytes each. */
const keysMax = 50_000;

export class KeyedRates {
  private readonly perSecond: number;
  private readonly burst: number;
  /** The one that was used last is the last. */
  private readonly rates = new Map<string, OwnRate>();

  /** `perSecond` 0: no limit. `burst` 0: as much as in one second. */
  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond;
    this.burst = burst;
  }

  /** Spends one of `key` when it is there; false when not, and nothing was spent. */
  take(key: string, nowMs: number): boolean {
    if (this.perSecond === 0) return true;
    const rate = this.rates.get(key) ?? new OwnRate(this.perSecond, this.burst);
    this.rates.delete(key);
    this.rates.set(key, rate);
    if (this.rates.size > keysMax) this.rates.delete(this.rates.keys().next().value as string);
    if (rate.available(nowMs) < 1) return false;
    rate.spend(1, nowMs);
    return true;
  }
}

/** What one address counts as: itself, or of IPv6 its network of 64 bits, which one customer has as a whole. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('%', 1)[0].split('::', 2);
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  // What `::` stands for.
  while (tail !== undefined && groups.length + after.length < 8) groups.push('0');
  return [...groups, ...after]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
