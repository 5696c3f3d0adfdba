/**
 * One durable session as its owner has it in memory, with or without a client. Thread: the owner of the sessions. A session without
 * anything under way holds no collections: there may be a million.
 */

import type { GroupStrategy } from '../broker/group-strategies.ts';
import type { StoredBatch } from './batch-cache.ts';
import type { ReceiptState } from './delivery-state.ts';
import { type Flight, FlightTable } from './flight-table.ts';
import type { SessionError } from './session-error.ts';

export interface SessionSubscription {
  readonly filter: string;
  /** Messages are delivered with the lower one of this and their own grade; 0: not by this service. */
  readonly grade: 0 | 1 | 2;
  readonly noLocal: boolean;
  /** The protocol's own. */
  readonly detail: number;
  readonly identifier: number;
  /** For each message log: the offset from which on it holds. */
  readonly since: readonly number[];
}

/** A session that is a member of a group; see `groups/`. */
export interface Membership {
  /** Name of the group (`groups/group-key.ts`). */
  readonly group: string;
  readonly strategy: GroupStrategy;
  readonly grade: 0 | 1 | 2;
  /** The same for the same client: where hashes find it. */
  readonly seed: number;
  /** The protocol's own. */
  readonly detail: number;
  readonly identifier: number;
}

/** A message of grade 2 from the client. */
export interface Receipt {
  readonly packetId: number;
  readonly serial: number;
  /** The message itself proves the receipt; else its record in the stream of the sessions does. */
  readonly isInLog: boolean;
  state: ReceiptState;
  /** Told when what is under way is durable, or refused. */
  waiters: ((error: Error | null) => void)[];
}

/** What a limit has dropped in the middle: [from, to) of a message log is not delivered. */
export interface Skip {
  readonly partition: number;
  readonly from: number;
  readonly to: number;
}

export interface SessionWill {
  readonly delayMs: number;
  readonly content: Buffer;
}

/** `awaySince` of a session whose client is connected. */
export const connected = -1;
/** `expiryMs` of a session that never ends. */
export const neverExpires = -1;
export const flightsPerChunk = 64;

export const dirtyPart = { head: 1, progress: 2, arrival: 4 } as const;

/** What the connected client of a session is to those who only know the session; see `OnlineSession`. */
export interface ConnectedClient {
  readonly isBehind: boolean;
  position(partition: number): number;
  sendStored(flight: Flight, batch: StoredBatch): void;
  releaseNow(packetId: number): void;
  limitsDue(): void;
  resume(): void;
  end(error: SessionError): void;
}

const noSubscriptions: readonly SessionSubscription[] = [];

export class SessionEntry {
  readonly id: string;
  /** Its row in the columns of the table. */
  readonly row: number;
  /** Grows with each owner and each connection: what an older one stores is void. */
  epoch = 0;
  tenant = '';
  /** Lifetime without a connection, `neverExpires`, or 0. */
  expiryMs = 0;
  /** Milliseconds since 1970, or `connected`. */
  awaySince = connected;
  will: SessionWill | null = null;
  /** The protocol's own. */
  content: Buffer | null = null;
  subscriptions: readonly SessionSubscription[] = noSubscriptions;
  /** By name of the group. */
  memberships: Map<string, Membership> | null = null;
  lastPacketId = 0;
  nextOrder = 0;
  nextSerial = 0;
  /** Null when there is none. */
  flights: FlightTable | null = null;
  receipts: Map<number, Receipt> | null = null;
  skips: readonly Skip[] | null = null;
  /** Below these offsets a message may have been sent by an owner that crashed. */
  doubtEnds: readonly number[] | null = null;
  online: ConnectedClient | null = null;
  isRemoved = false;
  /** It is handed over, or has arrived and is not confirmed: nothing of it changes here. */
  isMoving = false;
  /** Number of the move with which it came from another node, until it is confirmed that it is at home here; else 0. */
  arrivalEpoch = 0;
  /** Messages that came with it from another node (`moved-topic.ts`) lie before these offsets; null: there are none. */
  movedEnds: readonly number[] | null = null;
  /** Its will was given to the protocol, which has not said yet that it is published. */
  isWillUnderWay = false;

  // What is to be stored.
  dirty = 0;
  isQueued = false;
  dirtyChunks: Set<number> | null = null;
  /** The two chunks that were touched last: nearly all that is sent and settled lies in them. Below 0: none. */
  #touched = -1;
  #touchedBefore = -1;
  /** Chunks of flights that the log has. */
  storedChunks: Set<number> | null = null;
  /** Filters whose records are to be written, or removed. */
  dirtyFilters: Set<string> | null = null;
  /** Groups whose records are to be written, or removed. */
  dirtyGroups: Set<string> | null = null;
  waiters: ((error: Error | null) => void)[] | null = null;

  constructor(id: string, row: number) {
    this.id = id;
    this.row = row;
  }

  /** When it ends without a client coming back; infinite while one is connected. */
  get expiresAt(): number {
    if (this.awaySince === connected || this.expiryMs === neverExpires) return Number.POSITIVE_INFINITY;
    return this.awaySince + this.expiryMs;
  }

  /** When its will is due; infinite when there is none. Never later than its end. */
  get willDueAt(): number {
    if (this.will === null || this.awaySince === connected) return Number.POSITIVE_INFINITY;
    return Math.min(this.awaySince + this.will.delayMs, this.expiresAt);
  }

  addFlight(flight: Flight): void {
    this.keepFlight(flight);
    this.touchFlight(flight.packetId);
  }

  /** A message of grade 1 goes to the client, and is of no group. */
  addSent(packetId: number, partition: number, offset: number): void {
    this.flights ??= FlightTable.take();
    this.flights.addSent(packetId, partition, offset, this.nextOrder);
    this.nextOrder += 1;
    this.touchFlight(packetId);
  }

  /** The client is done with such a message. False: there is none, or it is another one. */
  dropSent(packetId: number): boolean {
    const { flights } = this;
    if (flights === null || !flights.dropSent(packetId)) return false;
    this.touchFlight(packetId);
    if (flights.size === 0) this.#restFlights(flights);
    return true;
  }

  /** Adds a flight that is stored as it is. */
  keepFlight(flight: Flight): void {
    this.flights ??= FlightTable.take();
    this.flights.set(flight);
  }

  dropFlight(packetId: number): void {
    this.forgetFlight(packetId);
    this.touchFlight(packetId);
  }

  /** Removes a flight that is not stored any more. */
  forgetFlight(packetId: number): void {
    const { flights } = this;
    if (flights === null) return;
    flights.delete(packetId);
    if (flights.size === 0) this.#restFlights(flights);
  }

  #restFlights(flights: FlightTable): void {
    this.flights = null;
    flights.giveBack();
  }

  touchFlight(packetId: number): void {
    const chunk = (packetId / flightsPerChunk) | 0;
    if (this.dirtyChunks === null) {
      this.dirtyChunks = new Set();
      this.#touched = -1;
      this.#touchedBefore = -1;
    }
    if (chunk === this.#touched || chunk === this.#touchedBefore) return;
    this.#touchedBefore = this.#touched;
    this.#touched = chunk;
    this.dirtyChunks.add(chunk);
  }

  dropReceipt(packetId: number): void {
    this.receipts?.delete(packetId);
    if (this.receipts?.size === 0) this.receipts = null;
  }

  /** The next packet id that is free, from 1 to `max`. There is one: windows are smaller. */
  takePacketId(max: number): number {
    let id = this.lastPacketId;
    do {
      id = id >= max ? 1 : id + 1;
    } while (this.flights?.has(id) === true);
    this.lastPacketId = id;
    return id;
  }
}
