/**
 * A member on its own slot: takes what the group gives it when it has room, in the order in which it came. Thread: the slot's.
 */

import type { StoredBatch } from '../batch-cache.ts';
import type { LogFeed } from '../log-feed.ts';
import { isDamage } from '../log-reading.ts';
import { MessageView } from '../message-record.ts';
import type { DropCounts } from '../online-session.ts';
import { giveFlag } from './group-messages.ts';

/** A message that the group has given. */
export interface GivenMessage {
  readonly partition: number;
  readonly offset: number;
  readonly grade: 0 | 1 | 2;
  readonly isDuplicate: boolean;
}

/** What the members of a slot share. */
export interface TakerHost {
  readonly feeds: readonly LogFeed[];
  readonly drops: DropCounts;
  now(): number;
  /** The member is done with a message, or never will be. */
  settle(taker: GroupTaker, partition: number, offset: number): void;
  later(taker: GroupTaker): void;
}

/** Whoever gives messages to the client. */
export interface TakerTarget {
  /** `full`: it comes again after `pump`. Of grade 1 and 2 the target says itself when it is settled, after `given` alone. */
  take(message: GivenMessage, batch: StoredBatch, view: MessageView): 'given' | 'full' | 'never';
  /** What was given and is not settled, as in `MemberState.held`. */
  held(): number[];
}

const readBytes = 64 * 1024;

export class GroupTaker {
  readonly group: string;
  readonly id: string;
  readonly epoch: number;
  readonly isDurable: boolean;
  readonly target: TakerTarget;
  grade: 0 | 1 | 2;
  readonly seed: number;
  credit: number;
  isClosed = false;
  /** Owned by the host. */
  isReady = false;
  readonly #host: TakerHost;
  #pending: GivenMessage[] = [];
  readonly #view = new MessageView();
  #isLoading = false;
  #isPumping = false;
  #held: StoredBatch | null = null;
  #heldOf = 0;

  constructor(
    host: TakerHost,
    target: TakerTarget,
    member: Pick<GroupTaker, 'group' | 'id' | 'epoch' | 'isDurable' | 'grade' | 'seed' | 'credit'>,
  ) {
    this.#host = host;
    this.target = target;
    this.group = member.group;
    this.id = member.id;
    this.epoch = member.epoch;
    this.isDurable = member.isDurable;
    this.grade = member.grade;
    this.seed = member.seed;
    this.credit = member.credit;
  }

  /** It takes no more, and only ends what it has. */
  get isLeaving(): boolean {
    return this.credit === 0;
  }

  /** `refs`: log, offset and flags in turn. */
  give(refs: readonly number[]): void {
    for (let at = 0; at + 2 < refs.length; at += 3) {
      const flags = refs[at + 2];
      const grade = (flags & giveFlag.grade) as 0 | 1 | 2;
      const isDuplicate = (flags & giveFlag.isDuplicate) !== 0;
      this.#pending.push({ partition: refs[at], offset: refs[at + 1], grade, isDuplicate });
    }
    this.pump();
  }

  /** What it was given and has not been sent: log and offset in turn. It is not sent any more. */
  takePending(): number[] {
    return this.#pending.splice(0).flatMap(({ partition, offset }) => [partition, offset]);
  }

  /** All that it has, as in `MemberState.held`. */
  held(): number[] {
    const pending = this.#pending.flatMap(({ partition, offset, grade }) => [partition, offset, grade]);
    return [...this.target.held(), ...pending];
  }

  /** Gives the client what waits, as long as there is room. */
  pump(): void {
    // What the client answers inside of the call may make room, and call again.
    if (this.#isPumping || this.#isLoading || this.isClosed) return;
    this.#isPumping = true;
    let at = 0;
    while (at < this.#pending.length && !this.isClosed) {
      const outcome = this.#giveOne(this.#pending[at]);
      if (outcome === 'wait') break;
      at += 1;
    }
    this.#pending.splice(0, at);
    this.#isPumping = false;
  }

  close(): void {
    this.isClosed = true;
    this.#pending = [];
    this.#held = null;
  }

  #giveOne(message: GivenMessage): 'done' | 'wait' {
    const { partition, offset, grade } = message;
    const view = this.#view;
    const batch = this.#fetch(partition, offset);
    if (batch === null) return 'wait';
    const start = batch === 'gone' ? -1 : batch.startOf(offset);
    if (batch === 'gone' || start < 0 || !view.read(batch.bytes, start, batch.limit, batch.baseTimestamp)) {
      this.#host.drops.gone += 1;
      this.#host.settle(this, partition, offset);
      return 'done';
    }
    if (view.expiresAtMs !== 0 && view.expiresAtMs <= this.#host.now()) {
      this.#host.drops.expired += 1;
      this.#host.settle(this, partition, offset);
      return 'done';
    }
    const outcome = this.target.take(message, batch, view);
    if (outcome === 'full') return 'wait';
    if (outcome === 'given' && grade === 0) this.#host.settle(this, partition, offset);
    return 'done';
  }

  #fetch(partition: number, offset: number): StoredBatch | 'gone' | null {
    const feed = this.#host.feeds[partition];
    if (feed === undefined || offset < feed.logStart) return 'gone';
    const held = this.#held;
    if (held !== null && this.#heldOf === partition && held.baseOffset <= offset && offset < held.nextOffset)
      return held;
    this.#held = null;
    const batch = feed.cache.find(offset);
    if (batch !== null) return batch;
    this.#isLoading = true;
    void this.#load(feed, offset);
    return null;
  }

  async #load(feed: LogFeed, offset: number): Promise<void> {
    try {
      const batch = await feed.cache.load(offset, readBytes);
      this.#isLoading = false;
      this.#held = this.isClosed ? null : batch;
      this.#heldOf = feed.number;
      // The owner may see the end of the log a moment before this thread does.
      if (batch === null) this.#host.later(this);
      else this.pump();
    } catch (error) {
      if (await isDamage(feed, error)) this.#passDamage(feed.number, offset);
      this.#isLoading = false;
      this.#host.later(this);
    }
  }

  #passDamage(partition: number, offset: number): void {
    const first = this.#pending[0];
    if (first === undefined || first.partition !== partition || first.offset !== offset) return;
    this.#host.drops.damaged += 1;
    this.#pending.shift();
    this.#host.settle(this, partition, offset);
  }
}
