/**
 * A state store in memory with the behaviour of the real one at a crash: a commit is atomic, becomes durable when the
 * injected scheduler says so, and what was not durable is gone. Values are sealed as on disk, so that a flipped bit is
 * found. For the simulator and for unit tests; one thread.
 */

import { bytesOfLatin1, latin1Of } from '../../src/raft/placement/bytes.ts';
import { sealBytes, sealInto, unseal } from '../../src/raft/placement/sealed-value.ts';
import type { Bytes, Done, StateStore, StateView, StoreChange, StorePair } from '../../src/raft/ports.ts';
import { assert } from '../../src/std/assert.ts';

export interface SimulatedStoreOptions {
  /** Runs the callback later: the time that a commit takes. Default: `setImmediate`. */
  readonly schedule?: (callback: () => void) => void;
}

/** Rows by key, one character per byte, with the sorted keys beside them. */
class Rows {
  private readonly values: Map<string, Buffer>;
  private sorted: string[] | null = null;

  constructor(values = new Map<string, Buffer>()) {
    this.values = values;
  }

  get(key: Bytes): Bytes | null {
    const sealed = this.values.get(latin1Of(key));
    return sealed === undefined ? null : unseal(key, sealed);
  }

  range(start: Bytes, end: Bytes | null, limit: number, isReverse: boolean, bytesMax = Infinity): StorePair[] {
    const keys = this.keys();
    const [low, high] = this.bounds(start, end);
    const pairs: StorePair[] = [];
    let bytes = 0;
    for (let index = low; index < high && pairs.length < limit && (bytes < bytesMax || pairs.length === 0); index++) {
      const text = keys[isReverse ? high - 1 - (index - low) : index];
      const key = bytesOfLatin1(text);
      const value = unseal(key, this.values.get(text)!);
      pairs.push({ key, value });
      bytes += value.length;
    }
    return pairs;
  }

  keysBetween(start: Bytes, end: Bytes | null, limit: number): Bytes[] {
    const [low, high] = this.bounds(start, end);
    return this.keys()
      .slice(low, Math.max(low, Math.min(high, low + limit)))
      .map(bytesOfLatin1);
  }

  count(start: Bytes, end: Bytes | null): number {
    const [low, high] = this.bounds(start, end);
    return Math.max(high - low, 0);
  }

  apply(batch: readonly { readonly text: string; readonly sealed: Buffer | null }[]): void {
    for (const { text, sealed } of batch) {
      if (sealed === null ? this.values.delete(text) : !this.values.has(text)) this.sorted = null;
      if (sealed !== null) this.values.set(text, sealed);
    }
  }

  copy(): Rows {
    return new Rows(new Map(this.values));
  }

  keys(): readonly string[] {
    this.sorted ??= [...this.values.keys()].sort();
    return this.sorted;
  }

  sealedAt(text: string): Buffer {
    return this.values.get(text)!;
  }

  replace(text: string, sealed: Buffer): void {
    this.values.set(text, sealed);
  }

  sizeBytes(): number {
    let size = 0;
    for (const [text, value] of this.values) size += text.length + value.length;
    return size;
  }

  private bounds(start: Bytes, end: Bytes | null): readonly [number, number] {
    return [this.position(latin1Of(start)), end === null ? this.keys().length : this.position(latin1Of(end))];
  }

  /** How many keys are smaller. */
  private position(text: string): number {
    const keys = this.keys();
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys[middle] < text) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class SimulatedStore implements StateStore {
  private rows = new Rows();
  private readonly schedule: (callback: () => void) => void;
  private pending: { readonly batch: readonly { text: string; sealed: Buffer | null }[] } | null = null;
  private life = 0;
  private openViews = 0;
  private failure: Error | null = null;
  private nextFailure: Error | null = null;
  private isClosed = false;
  /** Commits that became durable, over all lives. */
  commits = 0;

  constructor(options: SimulatedStoreOptions = {}) {
    this.schedule = options.schedule ?? ((callback) => void setImmediate(callback));
  }

  get(key: Bytes): Bytes | null {
    checkKeys(key);
    return this.rows.get(key);
  }

  range(start: Bytes, end: Bytes | null, limit: number, isReverse = false): readonly StorePair[] {
    checkKeys(start, end);
    return this.rows.range(start, end, limit, isReverse);
  }

  count(start: Bytes, end: Bytes | null): number {
    checkKeys(start, end);
    return this.rows.count(start, end);
  }

  commit(batch: readonly StoreChange[], done: Done): void {
    assert(this.pending === null, 'one commit at a time');
    const sealed = batch.map(({ key, value }) => {
      assert(key.length > 0, 'a stored key has a byte at least');
      checkKeys(key);
      return { text: latin1Of(key), sealed: value === null ? null : seal(key, value) };
    });
    const pending = { batch: sealed };
    this.pending = pending;
    const { life } = this;
    this.schedule(() => {
      if (life !== this.life || this.pending !== pending) return;
      this.pending = null;
      if (this.isClosed) this.failure ??= new Error('Cannot commit: the store is closed');
      this.failure ??= this.nextFailure;
      if (this.failure === null) this.makeDurable(sealed);
      done(this.failure);
    });
  }

  openView(): StateView {
    const { rows, life } = this;
    let isOpen = true;
    this.openViews++;
    return {
      range: (start, end, limit, bytesMax) => {
        assert(isOpen && life === this.life, 'a closed view is not read');
        return rows.range(start, end, limit, false, bytesMax);
      },
      keys: (start, end, limit) => {
        assert(isOpen && life === this.life, 'a closed view is not read');
        return rows.keysBetween(start, end, limit);
      },
      close: () => {
        if (isOpen && life === this.life) this.openViews--;
        isOpen = false;
      },
    };
  }

  sizeBytes(): number {
    return this.rows.sizeBytes();
  }

  close(): void {
    this.isClosed = true;
  }

  /**
   * Power is lost and the store is opened again: the object is as after its last durable commit and may be given to the
   * next `PlacementState.open`. With `keepPending` the commit that was under way had just become durable, though nobody
   * was told. Callbacks and views of the life before are dead.
   */
  crash(keepPending = false): void {
    if (keepPending && this.pending !== null && this.failure === null) this.makeDurable(this.pending.batch);
    this.life++;
    this.pending = null;
    this.openViews = 0;
    this.failure = null;
    this.nextFailure = null;
    this.isClosed = false;
  }

  /** The next commit, and with it every later one of this life, fails. */
  failNextCommit(error: Error): void {
    this.nextFailure = error;
  }

  /** The disk changes one bit of one row; false when there is none. */
  flipBit(random: (below: number) => number): boolean {
    const keys = this.rows.keys();
    if (keys.length === 0) return false;
    const text = keys[random(keys.length)];
    const damaged = Buffer.from(this.rows.sealedAt(text));
    damaged[random(damaged.length)] ^= 1 << random(8);
    this.rows.replace(text, damaged);
    return true;
  }

  /** Views that nobody closed. */
  viewCount(): number {
    return this.openViews;
  }

  private makeDurable(batch: readonly { text: string; sealed: Buffer | null }[]): void {
    // A view keeps the rows it was opened on.
    if (this.openViews > 0) this.rows = this.rows.copy();
    this.rows.apply(batch);
    this.commits++;
  }
}

/** The real store takes no longer ones, neither to write nor to look for. */
function checkKeys(...keys: readonly (Bytes | null)[]): void {
  assert(
    keys.every((key) => key === null || key.length <= 1_978),
    'a stored key has 1,978 bytes at most',
  );
}

function seal(key: Bytes, value: Bytes): Buffer {
  const sealed = Buffer.allocUnsafe(value.length + sealBytes);
  sealInto(sealed, 0, key, value);
  return sealed;
}
