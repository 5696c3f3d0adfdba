/**
 * Which messages of a set go to the dead-letter stream next: one burial at a time, stored in the records of the set before it is handed to
 * the undertaker. Thread: the owner of the set; called by it alone.
 */
import { assert } from '../../std/assert.ts';
import type { Undertaker } from './dead-letter.ts';
import { type EntryTable, nothing } from './entry-table.ts';
import type { Burial, BuriedEntry, SetRecordWriter } from './set-records.ts';
import { SlotList } from './slot-list.ts';
import { type StoredMessage, sizeOf } from './stored-message.ts';

/** Most letters, and bytes of them, in one batch for the dead-letter stream. */
const burialMax = 64;
const burialBytesMax = 512 * 1024;
const sequenceCount = 0x8000_0000;

/** What burials need of their set. */
export interface BurialHost {
  now(): number;
  /** The writer has something: the ticket under which it will be stored. */
  touch(): number;
  storedTicket(): number;
  /** The dead-letter stream has the message. */
  buried(slot: number): void;
  /** A message that was dying when the process before ended dies again; it is in no list then. */
  dieAgain(slot: number): void;
}

export class Burials {
  /** All that die, those of the burial in front. */
  readonly dying: SlotList;
  /** Of the next batch. */
  sequence = 0;
  epoch = 0;
  burial: Burial | null = null;
  readonly #table: EntryTable;
  readonly #writer: SetRecordWriter;
  readonly #host: BurialHost;
  #undertaker: Undertaker | null = null;
  /** When this ticket is stored the burial may begin; 0: it has begun, or there is none. */
  #ticket = 0;
  #waiters: (() => void)[] = [];

  constructor(table: EntryTable, writer: SetRecordWriter, host: BurialHost) {
    this.#table = table;
    this.#writer = writer;
    this.#host = host;
    this.dying = new SlotList(table);
  }

  /** Who brings the letters away. Never called without a dead-letter stream. */
  employ(undertaker: Undertaker): void {
    this.#undertaker = undertaker;
  }

  /** Whether there is a dead-letter stream. */
  get isOpen(): boolean {
    return this.#undertaker !== null;
  }

  get problem(): Error | null {
    return this.#undertaker?.problem ?? null;
  }

  /** The burial that the owner before has begun: the very same again. Its messages are in the table. */
  restore(burial: Burial | null): void {
    if (burial === null) return;
    const table = this.#table;
    const slots = burial.entries.map(({ partition, offset }) => table.find(partition, offset));
    if (this.#undertaker === null || slots.includes(nothing)) {
      // It cannot be repeated, and what comes next must not be taken for it.
      this.epoch += 1;
      this.sequence = 0;
      return;
    }
    const others: number[] = [];
    for (const slot of slots) if (table.list[slot] !== this.dying) this.#host.dieAgain(slot);
    for (let slot = this.dying.shift(); slot !== nothing; slot = this.dying.shift()) {
      if (!slots.includes(slot)) others.push(slot);
    }
    for (const [index, slot] of slots.entries()) {
      table.reason[slot] = burial.entries[index].reason;
      this.dying.push(slot);
    }
    for (const slot of others) this.dying.push(slot);
    this.burial = burial;
    this.#ticket = this.#host.touch();
  }

  /** Begins the next burial, when the first of those that die is loaded and none is under way. */
  dig(): void {
    if (this.#undertaker === null) return;
    if (this.burial !== null) {
      this.lower();
      return;
    }
    const table = this.#table;
    const entries: BuriedEntry[] = [];
    let bytes = 0;
    for (let slot = this.dying.head; slot !== nothing; slot = table.next[slot]) {
      const message = table.message[slot];
      if (message === null || entries.length === burialMax) break;
      bytes += sizeOf(message);
      if (entries.length > 0 && bytes > burialBytesMax) break;
      entries.push({
        partition: table.partition[slot],
        offset: table.offset[slot],
        count: table.count[slot],
        firstFailure: table.firstFailure[slot],
        reason: table.reason[slot],
      });
    }
    if (entries.length === 0) return;
    this.burial = { sequence: this.sequence, epoch: this.epoch, time: this.#host.now(), entries };
    this.#writer.bury(this.burial);
    this.#ticket = this.#host.touch();
  }

  /** Hands the burial over, when it is stored and all of its messages are there. */
  lower(): void {
    const { burial } = this;
    const undertaker = this.#undertaker;
    if (burial === null || undertaker === null || undertaker.isBusy || this.#ticket === 0) return;
    if (this.#ticket > this.#host.storedTicket()) return;
    const messages: StoredMessage[] = [];
    for (const { partition, offset } of burial.entries) {
      const message = this.#table.message[this.#table.find(partition, offset)];
      if (message === null || message === undefined) return;
      messages.push(message);
    }
    this.#ticket = 0;
    undertaker.bury(burial, messages);
  }

  /** The dead-letter stream has the burial. */
  onBuried(burial: Burial): void {
    assert(burial === this.burial, 'one burial is under way');
    for (const { partition, offset } of burial.entries) this.#host.buried(this.#table.find(partition, offset));
    this.sequence = (burial.sequence + burial.entries.length) % sequenceCount;
    this.#end();
    this.dig();
  }

  /** The dead-letter stream was made anew, or has forgotten us: once more under a new epoch. */
  onSequenceLost(): void {
    this.abandon();
    this.dig();
  }

  /** Whether it was stored is not known: what comes next must not be taken for it. */
  abandon(): void {
    if (this.burial === null) return;
    this.#undertaker?.abandon();
    this.epoch += 1;
    this.sequence = 0;
    this.#end();
  }

  /** Resolves when the burial that is under way has ended. */
  async whenEnded(): Promise<void> {
    if (this.burial === null) return;
    await new Promise<void>((resolve) => {
      this.#waiters.push(resolve);
    });
  }

  /** Nobody has to wait any more. */
  close(): void {
    this.#undertaker?.close();
    for (const told of this.#waiters.splice(0)) told();
  }

  #end(): void {
    this.burial = null;
    this.#ticket = 0;
    this.#writer.buried(this.sequence, this.epoch);
    this.#host.touch();
    for (const told of this.#waiters.splice(0)) told();
  }
}
