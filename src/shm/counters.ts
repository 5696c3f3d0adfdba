/**
 * A block of counters and gauges that one thread writes and any thread reads: counting on the hot path is one addition
 * in memory and never a message. Every thread owns one block; whoever serves metrics reads all of them.
 */
import { assert } from '../std/assert.ts';

/** Before and after the slots, so that no other thread's data shares a cache line with them. */
const guardBytes = 128;

export function createCounters(slotCount: number): SharedArrayBuffer {
  assert(slotCount >= 1, 'at least one counter');
  return new SharedArrayBuffer(guardBytes + slotCount * 8 + guardBytes);
}

/**
 * Values are doubles: exact up to 2^53, which a counter of bytes at 10 GiB/s reaches after ten days and then rounds.
 *
 * No `Atomics`: there is a single writer, so no addition is lost; a reader sees a value that was true a moment ago, and
 * an aligned 64-bit store does not tear on the platforms that Node runs on. Two slots read together need not be of the
 * same moment.
 *
 * Thread: write on the owner, `get` anywhere.
 */
export class CounterBlock {
  private readonly slots: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.slots = new Float64Array(buffer, guardBytes, (buffer.byteLength - 2 * guardBytes) / 8);
  }

  increment(slot: number): void {
    assert(slot >= 0 && slot < this.slots.length, 'counter slot out of range');
    this.slots[slot] += 1;
  }

  add(slot: number, n: number): void {
    assert(slot >= 0 && slot < this.slots.length, 'counter slot out of range');
    this.slots[slot] += n;
  }

  set(slot: number, value: number): void {
    assert(slot >= 0 && slot < this.slots.length, 'counter slot out of range');
    this.slots[slot] = value;
  }

  get(slot: number): number {
    assert(slot >= 0 && slot < this.slots.length, 'counter slot out of range');
    return this.slots[slot];
  }
}
