/**
 * One key, one message at a time: the first message of a key holds its lock, the others wait in the order of arrival. Keys are
 * compared byte for byte behind a seeded hash, so that equal hashes do not make keys equal and nobody can aim at one chain. A lock
 * lives as long as the key has a message in the table, which bounds them. Thread: the owner of the set.
 */
import { hashBytes } from '../../std/hash.ts';
import { ownedCopy } from '../../std/owned-copy.ts';
import { type EntryTable, nothing } from './entry-table.ts';
import { SlotList } from './slot-list.ts';

interface Lock {
  key: Buffer;
  hash: number;
  /** The message that has the lock. */
  owner: number;
  waiting: SlotList;
  /** Next lock of the bucket, or next free one. */
  next: number;
}

export class KeyLocks {
  /** Keys with a message in the table. */
  count = 0;
  readonly #table: EntryTable;
  readonly #seed: number;
  readonly #locks: Lock[] = [];
  #buckets = new Int32Array(64).fill(nothing);
  #free = nothing;

  constructor(table: EntryTable, seed: number) {
    this.#table = table;
    this.#seed = seed;
  }

  hashOf(key: Buffer): number {
    return hashBytes(key, 0, key.length, this.#seed);
  }

  /** True when the message has the lock of `key`; else it waits in the list of the key. */
  acquire(key: Buffer, slot: number): boolean {
    const hash = this.hashOf(key);
    let number = this.#buckets[hash & (this.#buckets.length - 1)];
    while (number !== nothing) {
      const lock = this.#locks[number];
      if (lock.hash === hash && lock.key.equals(key)) {
        this.#table.key[slot] = number;
        lock.waiting.push(slot);
        return false;
      }
      number = lock.next;
    }
    this.#table.key[slot] = this.#create(key, hash, slot);
    return true;
  }

  /** The lock, when no message has it: for messages that cannot wait. */
  acquireFree(key: Buffer, slot: number): void {
    const hash = this.hashOf(key);
    let number = this.#buckets[hash & (this.#buckets.length - 1)];
    while (number !== nothing) {
      const lock = this.#locks[number];
      if (lock.hash === hash && lock.key.equals(key)) return;
      number = lock.next;
    }
    this.#table.key[slot] = this.#create(key, hash, slot);
  }

  /** Hash of the key of a message that has a lock or waits for one. */
  hashOfSlot(slot: number): number {
    return this.#locks[this.#table.key[slot]].hash;
  }

  /**
   * The message leaves. Answers the one that has the lock now and had to wait before; `nothing` when there is none, or the
   * message had not got the lock.
   */
  release(slot: number): number {
    const number = this.#table.key[slot];
    if (number === nothing) return nothing;
    this.#table.key[slot] = nothing;
    const lock = this.#locks[number];
    if (lock.owner !== slot) {
      lock.waiting.remove(slot);
      return nothing;
    }
    lock.owner = lock.waiting.shift();
    if (lock.owner === nothing) this.#drop(number, lock);
    return lock.owner;
  }

  #create(key: Buffer, hash: number, owner: number): number {
    if (this.count === this.#buckets.length) this.#grow();
    const bucket = hash & (this.#buckets.length - 1);
    const next = this.#buckets[bucket];
    const copy = ownedCopy(key, 0, key.length);
    let number = this.#free;
    if (number === nothing) {
      number = this.#locks.length;
      this.#locks.push({ key: copy, hash, owner, waiting: new SlotList(this.#table), next });
    } else {
      const lock = this.#locks[number];
      this.#free = lock.next;
      lock.key = copy;
      lock.hash = hash;
      lock.owner = owner;
      lock.next = next;
    }
    this.#buckets[bucket] = number;
    this.count += 1;
    return number;
  }

  #drop(number: number, lock: Lock): void {
    const bucket = lock.hash & (this.#buckets.length - 1);
    if (this.#buckets[bucket] === number) this.#buckets[bucket] = lock.next;
    else {
      let before = this.#locks[this.#buckets[bucket]];
      while (before.next !== number) before = this.#locks[before.next];
      before.next = lock.next;
    }
    lock.key = noKey;
    lock.next = this.#free;
    this.#free = number;
    this.count -= 1;
  }

  #grow(): void {
    const before = this.#buckets;
    this.#buckets = new Int32Array(2 * before.length).fill(nothing);
    for (const head of before) {
      for (let number = head; number !== nothing; ) {
        const lock = this.#locks[number];
        const following = lock.next;
        const bucket = lock.hash & (this.#buckets.length - 1);
        lock.next = this.#buckets[bucket];
        this.#buckets[bucket] = number;
        number = following;
      }
    }
  }
}

const noKey = Buffer.alloc(0);
