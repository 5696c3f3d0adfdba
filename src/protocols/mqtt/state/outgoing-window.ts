/**
 * QoS 1 and 2 messages on their way to one client: packet identifiers, their states and, for sessions that outlive their
 * connection, the messages. Pure; one per session, on the session's worker.
 *
 * Slots are found by the low bits of the identifier, which is handed out in order, so that taking and giving back are an
 * array access each. The arrays grow with use: a session that was never sent QoS 1 or 2 holds none.
 */
import { assert } from '../../../std/assert.ts';
import type { StoredMessage } from './stored-message.ts';

/** States of a slot; `test/support/mqtt/qos-transitions.ts` has the table of their transitions, which is tested. */
export const Flight = { FREE: 0, AWAITS_PUBACK: 1, AWAITS_PUBREC: 2, AWAITS_PUBCOMP: 3 } as const;

const smallestCapacity = 16;
/** Shared by all sessions that were never sent QoS 1 or 2. */
const noStates = new Uint8Array(0);
const noIds = new Uint16Array(0);

export class OutgoingWindow {
  /** How many may be in flight: the smaller of the client's Receive Maximum and the configured limit. */
  limit: number;
  used = 0;
  private states = noStates;
  private ids = noIds;
  private messages: (StoredMessage | null)[] | null = null;
  private lastId: number;
  private readonly firstId: number;

  /** `firstId`: the lowest identifier that is handed out. */
  constructor(limit: number, firstId = 1) {
    this.limit = limit;
    this.firstId = firstId;
    this.lastId = firstId - 1;
  }

  get room(): number {
    return this.limit - this.used;
  }

  /** The next packet identifier (1 to 65,535), now in `state`. There must be room. */
  take(state: number, message: StoredMessage | null): number {
    assert(this.used < this.limit, 'a packet identifier is taken when there is room');
    if (this.used >= this.states.length) this.grow();
    const mask = this.states.length - 1;
    let id = this.lastId;
    do {
      id = id === 65_535 ? this.firstId : id + 1;
    } while (this.states[id & mask] !== Flight.FREE);
    this.lastId = id;
    this.put(id, state, message);
    return id;
  }

  private put(id: number, state: number, message: StoredMessage | null): void {
    const slot = id & (this.states.length - 1);
    this.states[slot] = state;
    this.ids[slot] = id;
    if (message !== null) {
      this.messages ??= new Array<StoredMessage | null>(this.states.length).fill(null);
      this.messages[slot] = message;
    }
    this.used++;
  }

  /** The session has ended: nothing is in flight any more, and no memory is held. */
  clear(): void {
    this.states = noStates;
    this.ids = noIds;
    this.messages = null;
    this.used = 0;
  }

  /** State of `id`, FREE when it is not in use. */
  stateOf(id: number): number {
    if (this.states.length === 0) return Flight.FREE;
    const slot = id & (this.states.length - 1);
    return this.ids[slot] === id ? this.states[slot] : Flight.FREE;
  }

  /** The message of `id`, null when it is not in use, delivered, or not kept. */
  messageOf(id: number): StoredMessage | null {
    if (this.messages === null || this.stateOf(id) === Flight.FREE) return null;
    return this.messages[id & (this.states.length - 1)] ?? null;
  }

  /** The acknowledgement ends the flight of `id`. */
  free(id: number): void {
    const slot = id & (this.states.length - 1);
    this.states[slot] = Flight.FREE;
    if (this.messages !== null) this.messages[slot] = null;
    this.used--;
  }

  /** PUBREC came: the message itself is delivered, only its identifier stays in use [MQTT-4.3.3-4]. */
  received(id: number): void {
    const slot = id & (this.states.length - 1);
    this.states[slot] = Flight.AWAITS_PUBCOMP;
    if (this.messages !== null) this.messages[slot] = null;
  }

  /** Visits what is in flight, oldest first [MQTT-4.6.0-1]. */
  forEach(visit: (id: number, state: number, message: StoredMessage | null) => void): void {
    const slots: number[] = [];
    for (let slot = 0; slot < this.states.length; slot++) if (this.states[slot] !== Flight.FREE) slots.push(slot);
    // Identifiers are handed out in a circle that ends at `lastId`.
    const age = (slot: number): number => (this.ids[slot] - this.lastId - 1) & 0xffff;
    slots.sort((one, other) => age(one) - age(other));
    for (const slot of slots) visit(this.ids[slot], this.states[slot], this.messages?.[slot] ?? null);
  }

  /** Puts a flight of a former owner back, identifier and all. */
  restore(id: number, state: number, message: StoredMessage | null): void {
    while (this.used >= this.states.length || this.states[id & (this.states.length - 1)] !== Flight.FREE) this.grow();
    this.put(id, state, message);
    this.lastId = id;
  }

  private grow(): void {
    const { states, ids, messages } = this;
    const capacity = Math.max(smallestCapacity, states.length * 2);
    assert(capacity <= 65_536, 'identifiers are 16 bits wide');
    this.states = new Uint8Array(capacity);
    this.ids = new Uint16Array(capacity);
    this.messages = null;
    this.used = 0;
    for (let slot = 0; slot < states.length; slot++) {
      if (states[slot] !== Flight.FREE) this.put(ids[slot], states[slot], messages?.[slot] ?? null);
    }
  }
}
