/**
 * Sends what is stored for a remote broker, in order, with a bounded number under way. Thread: the worker that has the bridge.
 *
 * A message is done with when the remote broker has confirmed it (PUBACK, PUBCOMP), or when it can never be sent. The place moves over
 * the oldest ones that are done with. MQTT.js sends again by itself what was under way with QoS 1 when a connection was lost; what it gave
 * back is sent again from here, before anything new.
 *
 * The exchanges of QoS 2 are made here, since they go on over kill -9. The packet identifier of a message follows from its place. Before the
 * remote broker is told to release it (PUBREL), it is durable that it was received (PUBREC). So the next life either sends the message again
 * with the identifier that the remote broker knows it by, or releases it.
 */
import { reasonName } from '../errors.ts';
import { encode } from '../packets/mqtt-packet.ts';
import type { MessageProperties } from '../packets/types.ts';
import type { BridgeCounters, BridgeDrop } from './bridge-metrics.ts';
import { exactIdOf, exactWindowMax, releases } from './exact-ids.ts';
import { readProperties, toRemote } from './message-properties.ts';
import type { PublishOptions, RemoteLimits } from './remote.ts';
import type { StoredEntry } from './stored-reader.ts';
import type { StoredMessage } from './stored-record.ts';
import { passageOf, withVia } from './via.ts';

/** `error` as MQTT.js gives it; `code` is a reason code of the remote broker. */
export type Sent = (error: (Error & { readonly code?: unknown }) | null | undefined) => void;

export interface ForwarderOptions {
  readonly clientId: string;
  readonly level: 3 | 4 | 5;
  readonly hopsMax: number;
  readonly inflightMax: number;
  readonly counters: BridgeCounters;
  /** The next stored message. */
  take(): StoredEntry | undefined;
  confirm(offset: number): void;
  publish(topic: string, payload: Buffer, options: PublishOptions, sent: Sent): void;
  readonly exact: ExactHost;
  /** The remote broker refused a message for good; for the log. */
  refused(topic: string, reason: string): void;
  now(): number;
  random(): number;
}

/** What exchanges of QoS 2 need; see `stored-reader.ts`. */
export interface ExactHost {
  /** Called once for each connection before anything is sent; false: not yet. `inUse`: identifiers of what is under way. */
  begin(inUse: ReadonlySet<number>): boolean;
  write(bytes: Buffer): void;
  received(offset: number, stored: () => void): void;
  wasReceived(offset: number): boolean;
  isDoubtful(offset: number): boolean;
}

interface Flight {
  readonly offset: number;
  readonly message: StoredMessage;
  /** 0: it is none of QoS 2. */
  exactId: number;
  /** The remote broker may have it. */
  isDoubtful: boolean;
  /**
   * `waits`: to be sent again. Of QoS 2 alone: `received` by the remote broker, which is being stored; and then `releasing`, until that is
   * confirmed.
   */
  state: 'sent' | 'waits' | 'received' | 'releasing' | 'done';
}

/** Reason codes after which the same message will not be taken later either (section 2.4). */
const finalCodes = new Set<number>([
  0x87, // not authorized
  0x90, // topic name invalid
  0x95, // packet too large
  0x99, // payload format invalid
  0x9a, // retain not supported
  0x9b, // QoS not supported
]);
/** PUBCOMP: the remote broker has forgotten the exchange, perhaps with the message. */
const packetIdNotFound = 0x92;
/** PUBREC of brokers that answer so to a repetition. */
const packetIdInUse = 0x91;
/** Payloads under way, bytes; one alone may be larger. MQTT.js keeps a copy of each. */
const inflightBytesMax = 16_777_216;
const retryFirstMs = 500;
const retryMaxMs = 30_000;
const noProperties: MessageProperties = { userProperties: [] };

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #flights: Flight[] = [];
  #bytes = 0;
  /** QoS 2 messages under way. */
  #qos2 = 0;
  /** Taken from the store, and not begun for want of room. */
  #next: StoredEntry | undefined;
  #limits: RemoteLimits | null = null;
  #again = 0;
  #failures = 0;
  #retryTimer: NodeJS.Timeout | null = null;
  #isStopped = false;
  #isSending = false;
  /** The connection was begun. */
  #isReady = false;
  /** By packet identifier, those of QoS 2. */
  readonly #exact = new Map<number, Flight>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Messages under way. */
  get inFlight(): number {
    return this.#flights.length;
  }

  connected(limits: RemoteLimits): void {
    this.#limits = limits;
    this.#failures = 0;
    this.#isReady = false;
    if (!limits.isSessionPresent) this.#beginAnew();
    this.send();
  }

  disconnected(): void {
    this.#limits = null;
    this.#stopRetry();
    for (const flight of this.#exact.values()) {
      if (flight.state !== 'sent') continue;
      flight.state = 'waits';
      flight.isDoubtful = true;
      this.#again += 1;
    }
  }

  /** The remote broker has lost its session, and perhaps what it had received with it. */
  #beginAnew(): void {
    for (const flight of this.#exact.values()) {
      flight.isDoubtful = false;
      if (flight.state !== 'received' && flight.state !== 'releasing') continue;
      flight.state = 'waits';
      this.#again += 1;
    }
  }

  /** PUBREC or, with `isLast`, PUBCOMP. */
  answered(packetId: number, isLast: boolean, reasonCode: number): void {
    const flight = this.#exact.get(packetId);
    if (flight === undefined || this.#isStopped) return;
    if (isLast) this.#completed(flight);
    else if (flight.state === 'sent') this.#received(flight, reasonCode);
    else if (flight.state === 'releasing') this.#release(flight);
  }

  #completed(flight: Flight): void {
    if (flight.state !== 'releasing') return;
    this.#done(flight);
    this.#failures = 0;
    this.#options.counters.passed('out');
    this.send();
  }

  #received(flight: Flight, reasonCode: number): void {
    const isRepeated = reasonCode === packetIdInUse && flight.isDoubtful;
    if (reasonCode >= 0x80 && !isRepeated) {
      // The exchange is over.
      flight.isDoubtful = false;
      this.#answered(flight, Object.assign(new Error(reasonName(reasonCode)), { code: reasonCode }));
      this.send();
      return;
    }
    flight.state = 'received';
    this.#options.exact.received(flight.offset, () => {
      if (flight.state !== 'received') return;
      flight.state = 'releasing';
      this.#release(flight);
    });
  }

  #release({ exactId }: Flight): void {
    if (this.#limits !== null) this.#options.exact.write(releases([exactId]));
  }

  #done(flight: Flight): void {
    flight.state = 'done';
    if (flight.exactId !== 0) this.#exact.delete(flight.exactId);
  }

  stop(): void {
    this.#isStopped = true;
    this.#limits = null;
    this.#stopRetry();
  }

  /** Sends as much as there is room for. */
  send(): void {
    // MQTT.js may answer within the call.
    if (this.#isSending || this.#isStopped || this.#limits === null || this.#retryTimer !== null) return;
    if (!this.#isReady && !this.#options.exact.begin(new Set(this.#exact.keys()))) return;
    this.#isSending = true;
    if (!this.#isReady)
      for (const flight of this.#exact.values()) if (flight.state === 'releasing') this.#release(flight);
    this.#isReady = true;
    this.#sendAgain(this.#limits);
    const room = Math.min(this.#options.inflightMax, this.#limits.receiveMaximum, exactWindowMax);
    this.#settle();
    while (this.#again === 0 && this.#flights.length < room && this.#bytes < inflightBytesMax) {
      this.#next ??= this.#options.take();
      if (this.#next === undefined) break;
      if (this.#next.message?.qos === 2 && !this.#hasRoomFor(this.#next.offset, this.#limits)) break;
      const entry = this.#next;
      this.#next = undefined;
      this.#begin(entry, this.#limits);
      // Those that cannot be sent take no room.
      this.#settle();
    }
    this.#isSending = false;
  }

  #begin({ offset, message }: StoredEntry, limits: RemoteLimits): void {
    const { exact } = this.#options;
    const isDoubtful = message?.qos === 2 && exact.isDoubtful(offset);
    const flight: Flight = { offset, message: message ?? nothing, exactId: 0, isDoubtful, state: 'done' };
    this.#flights.push(flight);
    this.#bytes += flight.message.payload.length;
    if (flight.message.qos === 2) this.#qos2 += 1;
    if (message?.qos === 2 && exact.wasReceived(offset)) this.#releaseAgain(flight);
    else if (message !== null) this.#publish(flight, limits);
  }

  /** The remote broker has it, or is to forget it. */
  #releaseAgain(flight: Flight): void {
    flight.exactId = exactIdOf(flight.offset);
    flight.state = 'releasing';
    this.#exact.set(flight.exactId, flight);
    this.#release(flight);
  }

  #hasRoomFor(offset: number, { qos2Max }: RemoteLimits): boolean {
    const oldest = this.#flights[0]?.offset ?? offset;
    return this.#qos2 < qos2Max && offset - oldest < exactWindowMax && !this.#exact.has(exactIdOf(offset));
  }

  #sendAgain(limits: RemoteLimits): void {
    if (this.#again === 0) return;
    for (const flight of this.#flights) {
      if (flight.state !== 'waits') continue;
      this.#again -= 1;
      this.#options.counters.resent();
      this.#publish(flight, limits);
    }
  }

  #publish(flight: Flight, limits: RemoteLimits): void {
    const { message } = flight;
    const { counters, now } = this.#options;
    this.#done(flight);
    const remainingMs = message.expiresAtMs === 0 ? null : message.expiresAtMs - now();
    const options =
      remainingMs !== null && remainingMs <= 0 ? 'expired' : this.#optionsOf(message, limits, remainingMs);
    if (typeof options === 'string') {
      counters.dropped('out', options);
      // The remote broker may have it: then it is not to wait for its end.
      if (flight.isDoubtful) this.#releaseAgain(flight);
      return;
    }
    flight.state = 'sent';
    if (options.qos === 2) {
      this.#publishExactly(flight, options);
      return;
    }
    flight.exactId = 0;
    this.#options.publish(message.topic, message.payload, options, (error) => {
      if (flight.state !== 'sent' || this.#isStopped) return;
      this.#answered(flight, error ?? null);
      this.send();
    });
  }

  #publishExactly(flight: Flight, options: PublishOptions): void {
    const { exact, level } = this.#options;
    const { message, isDoubtful, offset } = flight;
    flight.exactId = exactIdOf(offset);
    this.#exact.set(flight.exactId, flight);
    const { topic, payload } = message;
    const { retain = false, properties } = options;
    const packet = {
      cmd: 'publish',
      topic,
      payload,
      qos: 2,
      retain,
      dup: isDoubtful,
      messageId: flight.exactId,
    } as const;
    exact.write(encode(properties === undefined ? packet : { ...packet, properties }, level));
  }

  /** Or why it cannot be sent. */
  #optionsOf(message: StoredMessage, limits: RemoteLimits, remainingMs: number | null): PublishOptions | BridgeDrop {
    const { level, clientId, hopsMax } = this.#options;
    const { topic, payload, properties } = message;
    const qos = Math.min(message.qos, limits.maximumQos) as 0 | 1 | 2;
    const options: PublishOptions = { qos, retain: message.retain && limits.canRetain };
    const own = properties.length === 0 ? noProperties : readProperties(properties);
    const passage = passageOf(own.userProperties, clientId, hopsMax);
    if (passage !== 'new') return 'loop';
    if (level === 5) {
      const userProperties = withVia(own.userProperties, clientId);
      const expiryS = remainingMs === null ? undefined : Math.ceil(remainingMs / 1000);
      options.properties = toRemote({ ...own, userProperties }, expiryS);
      const viaBytes = 32 + Buffer.byteLength(clientId);
      const bytes = 16 + Buffer.byteLength(topic) + payload.length + properties.length + viaBytes;
      if (bytes > limits.packetBytesMax) return 'too-large';
    }
    return options;
  }

  #answered(flight: Flight, error: (Error & { readonly code?: unknown }) | null): void {
    const { counters, refused } = this.#options;
    if (error === null) {
      this.#done(flight);
      this.#failures = 0;
      counters.passed('out');
      return;
    }
    if (typeof error.code === 'number' && finalCodes.has(error.code)) {
      this.#done(flight);
      counters.dropped('out', 'refused');
      refused(flight.message.topic, error.message);
      return;
    }
    // Given back with its connection, or refused for now.
    this.#done(flight);
    flight.state = 'waits';
    this.#again += 1;
    if (error.code === packetIdNotFound || typeof error.code !== 'number') return;
    this.#pauseSending();
  }

  #pauseSending(): void {
    if (this.#retryTimer !== null) return;
    const full = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    this.#retryTimer = setTimeout(
      () => {
        this.#retryTimer = null;
        this.send();
      },
      full * (0.5 + this.#options.random() / 2),
    );
  }

  #stopRetry(): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }

  /** The oldest that are done with. */
  #settle(): void {
    let place = -1;
    while (this.#flights[0]?.state === 'done') {
      const { offset, message } = this.#flights.shift() as Flight;
      this.#bytes -= message.payload.length;
      if (message.qos === 2) this.#qos2 -= 1;
      place = offset + 1;
    }
    if (place !== -1) this.#options.confirm(place);
  }
}

const nothing: StoredMessage = {
  topic: '',
  payload: Buffer.alloc(0),
  qos: 0,
  retain: false,
  expiresAtMs: 0,
  properties: Buffer.alloc(0),
};
