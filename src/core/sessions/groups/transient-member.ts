/**
 * A member of a group whose session is in memory alone: it holds messages, and what it held goes to others when it goes. Thread: the slot's.
 */
import type { StoredBatch } from '../batch-cache.ts';
import type { MessageView } from '../message-record.ts';
import type { GivenMessage, TakerTarget } from './group-taker.ts';

/** The side of the protocol. */
export interface TransientLink {
  /** Whether the client can be sent a message of about so many bytes now; after a no, call `resume`. */
  hasRoom(bytes: number, grade: 0 | 1 | 2): boolean;
  /** False: the client can never take this one. The view is valid during the call; log and offset name the message from now on. */
  deliver(message: GivenMessage, view: MessageView): boolean;
}

/** What the member needs of its desk. */
export interface TransientDesk {
  settle(member: TransientMember, partition: number, offset: number): void;
  confirm(member: TransientMember, partition: number, offset: number, stored: () => void): void;
  room(member: TransientMember): void;
  retireTransient(member: TransientMember): void;
  leaveTransient(member: TransientMember): void;
}

/** Log and offset as one number: there are at most 64 logs. */
const logs = 64;

export class TransientMember implements TakerTarget {
  readonly group: string;
  readonly id: string;
  isClosed = false;
  readonly #desk: TransientDesk;
  readonly #link: TransientLink;
  readonly #held = new Map<number, GivenMessage>();

  constructor(desk: TransientDesk, link: TransientLink, group: string, id: string) {
    this.#desk = desk;
    this.#link = link;
    this.group = group;
    this.id = id;
  }

  get heldCount(): number {
    return this.#held.size;
  }

  /** The client has a message of grade 1, or refuses one. False: it was not given that. */
  settle(partition: number, offset: number): boolean {
    if (!this.#held.delete(offset * logs + partition)) return false;
    this.#desk.settle(this, partition, offset);
    return true;
  }

  /** The client has a message of grade 2: `stored` is called when nobody else will get it; only then it is to be released. */
  receive(partition: number, offset: number, stored: () => void): boolean {
    if (!this.#held.has(offset * logs + partition)) return false;
    this.#desk.confirm(this, partition, offset, () => {
      this.#held.delete(offset * logs + partition);
      stored();
    });
    return true;
  }

  /** There is room again. */
  resume(): void {
    if (!this.isClosed) this.#desk.room(this);
  }

  /** It gets nothing more, and what it was not sent goes to others. It ends what it has; then, or when it goes, comes `leave`. */
  retire(): void {
    if (!this.isClosed) this.#desk.retireTransient(this);
  }

  /** What it has not settled goes to others. */
  leave(): void {
    if (!this.isClosed) this.#desk.leaveTransient(this);
  }

  // ---- the group's side

  take(message: GivenMessage, _batch: StoredBatch, view: MessageView): 'given' | 'full' | 'never' {
    const { partition, offset, grade } = message;
    if (!this.#link.hasRoom(view.size, grade)) return 'full';
    if (grade > 0) this.#held.set(offset * logs + partition, message);
    if (this.#link.deliver(message, view)) return 'given';
    this.#held.delete(offset * logs + partition);
    this.#desk.settle(this, partition, offset);
    return 'never';
  }

  held(): number[] {
    return [...this.#held.values()].flatMap(({ partition, offset, grade }) => [partition, offset, grade]);
  }
}
