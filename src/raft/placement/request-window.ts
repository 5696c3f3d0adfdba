/**
 * Which commands the newest entries of the log had, and what became of each, so that a command that comes twice is applied
 * once, also when it changed nothing the first time. Part of the replicated state: it follows from the change log and the
 * rows of commands that made no revision, and is made from them at start. Thread: the Raft worker.
 *
 * Looked up and grown with every write, so it lies in typed arrays: a ring of slots in the order of the log, found by a
 * hash table with chains. A Map of texts costs ten times as much.
 */
import { getRandomValues } from 'node:crypto';
import type { LogIndex } from '../ports.ts';
import { refusalCodeOf, refusalNumbers } from './refusal.ts';
import type { Request, RequestIdentity, RequestOutcome } from './request-rows.ts';

const SLOTS_FIRST = 256;
const WORDS = 4;
const NONE = -1;
const TWO_TO_32 = 0x1_0000_0000;
const bits = { requestId: 1, succeeded: 2, ownRow: 4 } as const;

/** Nobody can choose request ids that all fall on one chain. Nothing that is replicated depends on it. */
const [seed] = getRandomValues(new Int32Array(1));

export class RequestWindow {
  /** The first slot that is in use; slot numbers are taken modulo the capacity, a power of two. */
  private first = 0;
  private count = 0;
  private words = new Int32Array(0);
  private indexes = new Float64Array(0);
  private revisions = new Float64Array(0);
  private epochs = new Float64Array(0);
  private tags = new Uint8Array(0);
  private flags = new Uint8Array(0);
  private refusals = new Uint8Array(0);
  private nexts = new Int32Array(0);
  private heads = new Int32Array(0);
  /** The identity that is looked up or added. */
  private readonly probe = new Int32Array(WORDS);
  private probeKind = 0;

  constructor() {
    this.grow(SLOTS_FIRST);
  }

  /** Index of the newest that is remembered; 0 for none. */
  get newestIndex(): LogIndex {
    return this.count === 0 ? 0 : this.indexes[(this.first + this.count - 1) & this.mask];
  }

  /** What became of it the first time; null when it is not remembered. */
  get(identity: RequestIdentity): RequestOutcome | null {
    const slot = this.find(this.hashOf(identity));
    if (slot === NONE) return null;
    return {
      revision: this.revisions[slot],
      commandTag: this.tags[slot],
      succeeded: (this.flags[slot] & bits.succeeded) !== 0,
      epoch: this.epochs[slot],
      refusal: refusalCodeOf(this.refusals[slot]),
    };
  }

  /** In the order of the log. `hasOwnRow`: it made no revision, and has a row of its own in the store. */
  add(request: Request, outcome: RequestOutcome, hasOwnRow: boolean): void {
    if (this.count === this.indexes.length) this.grow(this.count * 2);
    const slot = (this.first + this.count++) & this.mask;
    const hash = this.hashOf(request);
    this.words.set(this.probe, slot * WORDS);
    this.indexes[slot] = request.index;
    this.revisions[slot] = outcome.revision;
    this.epochs[slot] = outcome.epoch;
    this.tags[slot] = outcome.commandTag;
    this.flags[slot] = this.probeKind | (outcome.succeeded ? bits.succeeded : 0) | (hasOwnRow ? bits.ownRow : 0);
    this.refusals[slot] = outcome.refusal === null ? 0 : refusalNumbers[outcome.refusal];
    this.link(slot, hash);
  }

  /** Forgets what stands at `upTo` and before in the log. `onOwnRow` hears of those that have rows of their own. */
  forget(upTo: LogIndex, onOwnRow: (index: LogIndex) => void): void {
    while (this.count > 0 && this.indexes[this.first] <= upTo) {
      const slot = this.first;
      this.unlink(slot);
      this.first = (slot + 1) & this.mask;
      this.count--;
      if ((this.flags[slot] & bits.ownRow) !== 0) onOwnRow(this.indexes[slot]);
    }
  }

  clear(): void {
    this.first = 0;
    this.count = 0;
    this.heads.fill(NONE);
  }

  private get mask(): number {
    return this.indexes.length - 1;
  }

  /** The chain of the identity, which is in `probe` afterwards. */
  private hashOf({ requestId, origin, sequence }: RequestIdentity): number {
    const { probe } = this;
    if (requestId === null) {
      this.probeKind = 0;
      probe[0] = origin / TWO_TO_32;
      probe[1] = origin | 0;
      probe[2] = sequence / TWO_TO_32;
      probe[3] = sequence | 0;
    } else {
      this.probeKind = bits.requestId;
      for (let word = 0; word < WORDS; word++) probe[word] = wordAt(requestId, word * 4);
    }
    return this.chainOf(probe, 0);
  }

  private chainOf(words: Int32Array, position: number): number {
    let hash = Math.imul(words[position] ^ seed, 0x85ebca6b) ^ words[position + 1];
    hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35) ^ words[position + 2];
    hash = Math.imul(hash ^ (hash >>> 13) ^ seed, 0x27d4eb2f) ^ words[position + 3];
    hash = Math.imul(hash ^ (hash >>> 16), 0x165667b1);
    return (hash ^ (hash >>> 15)) & (this.heads.length - 1);
  }

  private find(hash: number): number {
    const { words, probe, flags, nexts } = this;
    for (let slot = this.heads[hash]; slot !== NONE; slot = nexts[slot]) {
      const position = slot * WORDS;
      if (
        words[position] === probe[0] &&
        words[position + 1] === probe[1] &&
        words[position + 2] === probe[2] &&
        words[position + 3] === probe[3] &&
        (flags[slot] & bits.requestId) === this.probeKind
      ) {
        return slot;
      }
    }
    return NONE;
  }

  private link(slot: number, hash: number): void {
    this.nexts[slot] = this.heads[hash];
    this.heads[hash] = slot;
  }

  private unlink(slot: number): void {
    const hash = this.chainOf(this.words, slot * WORDS);
    if (this.heads[hash] === slot) {
      this.heads[hash] = this.nexts[slot];
      return;
    }
    let before = this.heads[hash];
    while (this.nexts[before] !== slot) before = this.nexts[before];
    this.nexts[before] = this.nexts[slot];
  }

  /** Moves everything to larger arrays, from slot 0 on. */
  private grow(capacity: number): void {
    const { first, count, words, indexes, revisions, epochs, tags, flags, refusals } = this;
    const { mask } = this;
    this.words = new Int32Array(capacity * WORDS);
    this.indexes = new Float64Array(capacity);
    this.revisions = new Float64Array(capacity);
    this.epochs = new Float64Array(capacity);
    this.tags = new Uint8Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.refusals = new Uint8Array(capacity);
    this.nexts = new Int32Array(capacity);
    this.heads = new Int32Array(capacity * 2).fill(NONE);
    this.first = 0;
    for (let slot = 0; slot < count; slot++) {
      const old = (first + slot) & mask;
      this.words.set(words.subarray(old * WORDS, (old + 1) * WORDS), slot * WORDS);
      this.indexes[slot] = indexes[old];
      this.revisions[slot] = revisions[old];
      this.epochs[slot] = epochs[old];
      this.tags[slot] = tags[old];
      this.flags[slot] = flags[old];
      this.refusals[slot] = refusals[old];
      this.link(slot, this.chainOf(this.words, slot * WORDS));
    }
  }
}

function wordAt(bytes: Uint8Array, position: number): number {
  return bytes[position] | (bytes[position + 1] << 8) | (bytes[position + 2] << 16) | (bytes[position + 3] << 24);
}
