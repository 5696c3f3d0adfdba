/**
 * Brings back the bytes of messages that were handed over and are needed again: redelivery and dead letters are the exception, so they
 * pay with a read, and messages in flight cost no memory for bodies. One read at a time for each partition, over
 * neighbours together. Thread: the owner of the set.
 */

import { toError } from '../../std/errors.ts';
import type { WheelTimer } from '../../std/timing-wheel.ts';
import { StorageError } from '../streams/storage-error.ts';
import type { PartitionReader } from './partition-reader.ts';
import { type QueueContext, timerOf } from './queue-context.ts';
import type { StoredMessage } from './stored-message.ts';

const retryMsMax = 5000;

export interface LoaderUser {
  /** Whether the message at `offset` is still wanted and not there. */
  isWanted(offset: number): boolean;
  loaded(message: StoredMessage): void;
  /** The stream has no message at `offset` any more. */
  gone(offset: number): void;
  /** Nothing is wanted any more, for now. */
  rested(): void;
  /** False: there is enough in memory, `resume` will be called. */
  hasRoom(): boolean;
}

export class MessageLoader {
  problem: Error | null = null;
  readonly #reader: PartitionReader;
  readonly #user: LoaderUser;
  readonly #timers: QueueContext['timers'];
  readonly #retryTimer: WheelTimer;
  #offsets: number[] = [];
  #isSorted = true;
  #isLoading = false;
  #isClosed = false;
  #epoch = 0;
  #failures = 0;

  constructor(reader: PartitionReader, context: QueueContext, user: LoaderUser) {
    this.#reader = reader;
    this.#user = user;
    this.#timers = context.timers;
    this.#retryTimer = timerOf(() => this.resume());
  }

  get isResting(): boolean {
    return this.#offsets.length === 0 && !this.#isLoading;
  }

  want(offset: number): void {
    const last = this.#offsets.at(-1);
    if (last !== undefined && last > offset) this.#isSorted = false;
    this.#offsets.push(offset);
  }

  /** Goes on, if there is something to do and room for it. */
  resume(): void {
    if (this.#isLoading || this.#isClosed || this.#offsets.length === 0) return;
    if (!this.#isSorted) this.#offsets.sort((one, other) => one - other);
    this.#isSorted = true;
    const skipped = this.#offsets.findIndex((offset) => this.#user.isWanted(offset));
    this.#offsets.splice(0, skipped === -1 ? this.#offsets.length : skipped);
    if (this.#offsets.length === 0) {
      this.#user.rested();
      return;
    }
    if (!this.#user.hasRoom()) return;
    // What is wanted from now on may lie below what this read will have seen, so it is kept apart.
    const offsets = this.#offsets;
    this.#offsets = [];
    this.#isLoading = true;
    const epoch = this.#epoch;
    const isWanted = (offset: number): boolean => epoch === this.#epoch && this.#user.isWanted(offset);
    this.#reader.reread(offsets[0], isWanted).then(
      ({ messages, next }) => this.#onRead(epoch, offsets, messages, next),
      (error: unknown) => this.#onFailure(epoch, offsets, toError(error)),
    );
  }

  /** Everything that was wanted is void. */
  clear(): void {
    this.#epoch += 1;
    this.#offsets = [];
    this.#isSorted = true;
    this.problem = null;
    this.#timers.cancel(this.#retryTimer);
  }

  close(): void {
    this.#isClosed = true;
    this.clear();
  }

  #onRead(epoch: number, offsets: readonly number[], messages: readonly StoredMessage[], next: number): void {
    this.#isLoading = false;
    if (this.#isClosed) return;
    if (epoch !== this.#epoch) {
      this.resume();
      return;
    }
    if (next <= offsets[0]) {
      this.#putBack(offsets);
      this.#retry(new Error(`Cannot read offset ${offsets[0]} again: nothing was answered`));
      return;
    }
    this.#failures = 0;
    this.problem = null;
    for (const message of messages) if (this.#user.isWanted(message.offset)) this.#user.loaded(message);
    this.#pass(offsets, next);
    this.resume();
  }

  #onFailure(epoch: number, offsets: readonly number[], error: Error): void {
    this.#isLoading = false;
    if (this.#isClosed) return;
    if (epoch !== this.#epoch) {
      this.resume();
      return;
    }
    if (!(error instanceof StorageError) || error.code !== 'STORAGE_OFFSET_OUT_OF_RANGE') {
      this.#putBack(offsets);
      this.#retry(error);
      return;
    }
    this.#isLoading = true;
    this.#reader.places().then(
      ({ logStartOffset }) => {
        this.#isLoading = false;
        if (epoch !== this.#epoch) {
          this.resume();
          return;
        }
        this.#pass(offsets, logStartOffset);
        if (logStartOffset <= offsets[0]) this.#retry(error);
        else this.resume();
      },
      (failure: unknown) => {
        this.#isLoading = false;
        if (epoch !== this.#epoch) {
          this.resume();
          return;
        }
        this.#putBack(offsets);
        this.#retry(toError(failure));
      },
    );
  }

  /** What lies below `next` was looked at: it is there now, or nowhere. */
  #pass(offsets: readonly number[], next: number): void {
    let seen = 0;
    while (seen < offsets.length && offsets[seen] < next) {
      if (this.#user.isWanted(offsets[seen])) this.#user.gone(offsets[seen]);
      seen += 1;
    }
    this.#putBack(offsets.slice(seen));
  }

  #putBack(offsets: readonly number[]): void {
    if (offsets.length === 0) return;
    this.#isSorted = this.#offsets.length === 0;
    this.#offsets = [...offsets, ...this.#offsets];
  }

  #retry(error: Error): void {
    if (this.#isClosed) return;
    this.problem = error;
    this.#failures += 1;
    this.#timers.start(this.#retryTimer, Math.min(retryMsMax, 50 * 2 ** Math.min(this.#failures, 10)));
  }
}
