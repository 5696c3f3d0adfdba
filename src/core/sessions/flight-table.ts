/**
 * What is on its way to one client, by packet id. Packet ids are given one after the other, so that each nearly always lies at its own
 * number: a lookup is an access of an array. A message of grade 1 is a row of numbers and no object; it becomes one when somebody asks
 * for it, which is rare. Tables that are empty are used again by other sessions. Thread: the owner of the sessions.
 */
import type { FlightState } from './delivery-state.ts';

/** A message on its way to the client. */
export interface Flight {
  readonly packetId: number;
  readonly partition: number;
  readonly offset: number;
  /** Ascends with each first sending. */
  readonly order: number;
  /** Of a group: its name. With grade 1 it is in memory alone, since the group has it. */
  readonly group?: string;
  /** The group has stored that the client has it. */
  isConfirmed?: boolean;
  state: FlightState;
}

const slotsMin = 8;
/** Larger tables are not kept. */
const spareSlotsMax = 1024;
const sparesMax = 1024;

const spares: FlightTable[] = [];

export class FlightTable {
  size = 0;
  #mask = slotsMin - 1;
  /** Packet id, or 0; log. */
  #ids = new Int32Array(2 * slotsMin);
  /** Offset, order. */
  #places = new Float64Array(2 * slotsMin);
  /** Of flights that are objects; null: there is none. What is not here is `sent`, and of no group. */
  #objects: Map<number, Flight> | null = null;
  /** Rows that do not lie at their own number. */
  #displaced = 0;

  /** An empty one. */
  static take(): FlightTable {
    return spares.pop() ?? new FlightTable();
  }

  /** It is empty, and nobody has it any more. */
  giveBack(): void {
    if (this.#mask < spareSlotsMax && spares.length < sparesMax) spares.push(this);
  }

  has(packetId: number): boolean {
    return this.#find(packetId) >= 0;
  }

  /** Adds a message of grade 1 that was sent and is of no group. Its packet id is free. */
  addSent(packetId: number, partition: number, offset: number, order: number): void {
    // Three quarters full: what is not at its own number is near it.
    if ((this.size + 1) * 4 > (this.#mask + 1) * 3) this.#grow();
    this.#put(packetId, partition, offset, order);
    this.size += 1;
  }

  /** Adds a flight, in place of one with its packet id. */
  set(flight: Flight): void {
    const { packetId, partition, offset, order } = flight;
    this.delete(packetId);
    this.addSent(packetId, partition, offset, order);
    this.#objects ??= new Map();
    this.#objects.set(packetId, flight);
  }

  /** The same object as long as it is here. */
  get(packetId: number): Flight | undefined {
    const at = this.#find(packetId);
    return at < 0 ? undefined : this.#objectAt(at);
  }

  /** Removes a message of grade 1 that was sent and is of no group. False: there is none, or it is another one. */
  dropSent(packetId: number): boolean {
    const at = this.#find(packetId);
    if (at < 0 || this.#objects?.has(packetId) === true) return false;
    this.#clear(at);
    return true;
  }

  delete(packetId: number): void {
    const at = this.#find(packetId);
    if (at < 0) return;
    this.#clear(at);
    if (this.#objects?.delete(packetId) === true && this.#objects.size === 0) this.#objects = null;
  }

  /** All, in the order of their first sending. */
  values(): Flight[] {
    const found: Flight[] = [];
    for (let at = 0; at <= this.#mask; at += 1) if (this.#ids[2 * at] !== 0) found.push(this.#objectAt(at));
    return found.sort(byOrder);
  }

  /** Those of groups, in the order of their first sending. */
  grouped(): Flight[] {
    if (this.#objects === null) return [];
    return [...this.#objects.values()].filter(({ group }) => group !== undefined).sort(byOrder);
  }

  /** Packet ids, in no order. */
  keys(): number[] {
    const found: number[] = [];
    for (let at = 0; at <= this.#mask; at += 1) if (this.#ids[2 * at] !== 0) found.push(this.#ids[2 * at]);
    return found;
  }

  /** Visits all, in no order. What is visited holds during the call. */
  forEach(visit: (flight: Flight) => void): void {
    for (let at = 0; at <= this.#mask; at += 1) if (this.#ids[2 * at] !== 0) visit(this.#peekAt(at));
  }

  /** What `get` would answer, or a copy that nobody is to keep or to change. */
  peek(packetId: number): Flight | undefined {
    const at = this.#find(packetId);
    return at < 0 ? undefined : this.#peekAt(at);
  }

  #peekAt(at: number): Flight {
    const known = this.#objects?.get(this.#ids[2 * at]);
    return known ?? this.#read(at);
  }

  #objectAt(at: number): Flight {
    const known = this.#objects?.get(this.#ids[2 * at]);
    if (known !== undefined) return known;
    const flight = this.#read(at);
    this.#objects ??= new Map();
    this.#objects.set(flight.packetId, flight);
    return flight;
  }

  #read(at: number): Flight {
    const ids = this.#ids;
    const places = this.#places;
    const [row, next] = [2 * at, 2 * at + 1];
    return { packetId: ids[row], partition: ids[next], offset: places[row], order: places[next], state: 'sent' };
  }

  /** -1: there is none. */
  #find(packetId: number): number {
    const ids = this.#ids;
    const mask = this.#mask;
    for (let at = packetId & mask; ; at = (at + 1) & mask) {
      const id = ids[2 * at];
      // First, since nothing has packet id 0.
      if (id === 0) return -1;
      if (id === packetId) return at;
    }
  }

  #put(packetId: number, partition: number, offset: number, order: number): void {
    const ids = this.#ids;
    const mask = this.#mask;
    const home = packetId & mask;
    let at = home;
    while (ids[2 * at] !== 0) at = (at + 1) & mask;
    if (at !== home) this.#displaced += 1;
    ids[2 * at] = packetId;
    ids[2 * at + 1] = partition;
    this.#places[2 * at] = offset;
    this.#places[2 * at + 1] = order;
  }

  #clear(row: number): void {
    const ids = this.#ids;
    const mask = this.#mask;
    this.size -= 1;
    if ((ids[2 * row] & mask) !== row) this.#displaced -= 1;
    ids[2 * row] = 0;
    if (this.#displaced === 0) return;
    // What was pushed on by this one moves back, so that no search ends too early.
    let hole = row;
    for (let at = (hole + 1) & mask; ids[2 * at] !== 0; at = (at + 1) & mask) {
      const home = ids[2 * at] & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      ids[2 * hole] = ids[2 * at];
      ids[2 * hole + 1] = ids[2 * at + 1];
      this.#places[2 * hole] = this.#places[2 * at];
      this.#places[2 * hole + 1] = this.#places[2 * at + 1];
      ids[2 * at] = 0;
      if (home === hole) this.#displaced -= 1;
      hole = at;
    }
  }

  #grow(): void {
    const ids = this.#ids;
    const places = this.#places;
    this.#ids = new Int32Array(2 * ids.length);
    this.#places = new Float64Array(2 * places.length);
    this.#mask = ids.length - 1;
    this.#displaced = 0;
    for (let row = 0; row < ids.length; row += 2)
      if (ids[row] !== 0) this.#put(ids[row], ids[row + 1], places[row], places[row + 1]);
  }
}

function byOrder(one: Flight, other: Flight): number {
  return one.order - other.order;
}
