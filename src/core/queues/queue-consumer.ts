/**
 * A consumer of an acknowledgement set: its credit, what it has, and its side of the calls. Thread: the owner of the set.
 */
import type { EntryTable } from './entry-table.ts';
import { SlotList } from './slot-list.ts';
import type { Delivery } from './stored-message.ts';

export interface ConsumerOptions {
  /** For `describe` and the log. */
  readonly name: string;
  /** Most messages that it has and has not settled. Default 1000. */
  readonly inFlightMax?: number;
  /** Messages that it may be sent from the beginning. Default 0. */
  readonly credit?: number;
  /**
   * What it has when it goes: `release` gives it to others at once, `keep` leaves it until its time is over, for consumers that are
   * one request long. Default `release`.
   */
  readonly onClose?: 'release' | 'keep';
  /** Called with at least one message, never inside of a call to the set. */
  readonly onMessages: (messages: readonly Delivery[]) => void;
  /** The set ended: it was closed, deleted, or has failed. Nothing comes any more. */
  readonly onEnd?: (reason: Error) => void;
}

export const inFlightDefault = 1000;

export class QueueConsumer {
  readonly number: number;
  readonly name: string;
  /** Random for each consumer: who gets which key. */
  readonly seed: number;
  readonly options: ConsumerOptions;
  /** Messages that it may still be sent. */
  credit: number;
  inFlightMax: number;
  /** Claimed or in flight. */
  readonly inFlight: SlotList;
  /** Ready messages that are for it alone and wait for its credit. */
  readonly parked: SlotList;
  /** Delivered, and not handed over yet. */
  outbox: Delivery[] = [];
  /** Waits in the line of those that can take a message. */
  isInLine = false;
  isClosed = false;

  /** Made by the acknowledgement set only. */
  constructor(number: number, seed: number, table: EntryTable, options: ConsumerOptions) {
    this.number = number;
    this.seed = seed;
    this.name = options.name;
    this.options = options;
    this.credit = options.credit ?? 0;
    this.inFlightMax = options.inFlightMax ?? inFlightDefault;
    this.inFlight = new SlotList(table);
    this.parked = new SlotList(table);
  }

  get canTake(): boolean {
    return this.credit > 0 && this.inFlight.count < this.inFlightMax && !this.isClosed;
  }
}
