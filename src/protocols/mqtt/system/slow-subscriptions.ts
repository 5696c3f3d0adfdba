/**
 * Measures how long messages take to a client, and keeps a list of the slowest pairs of client and topic. One per connection worker, and only
 * where the settings ask for it: without it nobody calls anything here.
 *
 * A message begins when it reaches the worker of the subscriber, is sent when it goes into the output of the connection, and ends with PUBACK or
 * PUBREC. Memory: a clock reading and a topic for each message in flight, of at most `flightsMax` of the worker; a list of `topCount`
 * pairs, whose texts are cut.
 */
import { defaultTenant } from '../../../core/ports/access.ts';
import { plainName, sessionOf } from '../../../core/tenants/tenant-names.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import type { MqttSettings } from '../settings.ts';

type SlowSettings = MqttSettings['system']['slowSubscriptions'];

/** Messages in flight that are measured at once; others are not. */
const flightsMax = 65_536;
/** Ids and topics can be 64 KiB long. */
const textLengthMax = 1_024;
const expiryLookMs = 10_000;
/** Connections whose output is watched at once, and how often. */
const outputsMax = 4_096;
const outputLookMs = 100;

/** A pair of client and topic whose messages take long. */
export interface SlowSubscription {
  /** Absent: the default one. */
  readonly tenant?: string;
  readonly clientId: string;
  readonly topic: string;
  /** The longest of late, ms. */
  readonly delayMs: number;
  /** Unix time of the latest slow delivery, ms. */
  readonly lastAtMs: number;
}

/** A message that was sent and is not acknowledged. */
interface Flight {
  readonly topic: string;
  readonly arrivedMs: number;
  readonly sentMs: number;
}

/** A connected client. */
interface Output {
  readonly session?: Receiver | null;
  readonly connection: { readonly closed: boolean; readonly outputBytes: number };
}

/** Where a topic lies. */
interface TopicPlace {
  readonly topicStart: number;
  readonly topicLength: number;
}

/** Whose messages are measured; the object stays the same as long as identifiers mean the same. */
interface Receiver {
  /** Name of the session. */
  readonly clientId: string;
}

export class SlowSubscriptions {
  private readonly settings: SlowSettings;
  private readonly flights = new Map<Receiver, Map<number, Flight>>();
  private flightCount = 0;
  /** Arrival of messages that wait in a session; they go with them. */
  private readonly waiting = new WeakMap<object, number>();
  private readonly list = new Map<string, SlowSubscription>();
  private readonly timers: TimingWheel;
  private readonly outputs = new Map<Output, { readonly topic: string; readonly sinceMs: number }>();
  private readonly outputTimer = new WheelTimer(() => this.lookAtOutputs());

  constructor(settings: SlowSettings, timers: TimingWheel) {
    this.settings = settings;
    this.timers = timers;
    const timer = new WheelTimer(() => {
      timers.start(timer, expiryLookMs);
      this.expire(Date.now());
    });
    timers.start(timer, expiryLookMs);
  }

  /** `message` could not be sent at once. */
  waits(message: object): void {
    if (!this.waiting.has(message)) this.waiting.set(message, performance.now());
  }

  /** When `message` arrived: now, unless it waited. */
  arrivalOf(message: object): number {
    return this.waiting.get(message) ?? performance.now();
  }

  /**
   * Messages of QoS 0 went into the output of a connection, which has something to write already. They count as written when the output is
   * empty; until then others of the connection are not measured.
   */
  queued(link: Output, topicBytes: Uint8Array): void {
    const { statistics } = this.settings;
    if (statistics === 'response' || this.outputs.size >= outputsMax || this.outputs.has(link)) return;
    const topic = plainName(topicOf(topicBytes, 0, topicBytes.length));
    this.outputs.set(link, { topic, sinceMs: performance.now() });
    if (this.outputTimer.dueTick === -1) this.timers.start(this.outputTimer, outputLookMs);
  }

  private lookAtOutputs(): void {
    const nowMs = performance.now();
    for (const [link, { topic, sinceMs }] of this.outputs) {
      const { session, connection } = link;
      if (session !== null && session !== undefined) this.note(session, topic, nowMs - sinceMs);
      if (connection.closed || connection.outputBytes === 0) this.outputs.delete(link);
    }
    if (this.outputs.size > 0) this.timers.start(this.outputTimer, outputLookMs);
  }

  /** A message of QoS 1 or 2 whose topic lies in `source` went into the output with this identifier. */
  sent(receiver: Receiver, packetId: number, source: Uint8Array, view: TopicPlace, arrivedMs: number): void {
    const sentMs = performance.now();
    const topic = topicOf(source, view.topicStart, view.topicLength);
    if (this.settings.statistics === 'internal') {
      this.note(receiver, topic, sentMs - arrivedMs);
      return;
    }
    let flights = this.flights.get(receiver);
    if (flights === undefined) {
      flights = new Map();
      this.flights.set(receiver, flights);
    }
    // Sent again after the client came back: the first time counts.
    if (flights.has(packetId)) return;
    if (this.flightCount >= flightsMax) return;
    this.flightCount++;
    flights.set(packetId, { topic, arrivedMs, sentMs });
  }

  /** PUBACK or PUBREC came. */
  acknowledged(receiver: Receiver, packetId: number): void {
    const flights = this.flights.get(receiver);
    const flight = flights?.get(packetId);
    if (flights === undefined || flight === undefined) return;
    flights.delete(packetId);
    this.flightCount--;
    if (flights.size === 0) this.flights.delete(receiver);
    const fromMs = this.settings.statistics === 'response' ? flight.sentMs : flight.arrivedMs;
    this.note(receiver, flight.topic, performance.now() - fromMs);
  }

  /** The session ended, or its identifiers are used anew. */
  forget(receiver: Receiver): void {
    const flights = this.flights.get(receiver);
    if (flights === undefined) return;
    this.flightCount -= flights.size;
    this.flights.delete(receiver);
  }

  /** The slowest first. */
  slowest(): readonly SlowSubscription[] {
    return [...this.list.values()].sort((one, other) => other.delayMs - one.delayMs);
  }

  clear(): void {
    this.list.clear();
  }

  private note(receiver: Receiver, topic: string, delay: number): void {
    const { thresholdMs, topCount } = this.settings;
    if (delay < thresholdMs) return;
    const delayMs = Math.round(delay);
    const { tenant, clientId } = sessionOf(receiver.clientId);
    const pair = { ...(tenant === defaultTenant ? {} : { tenant }), clientId: cut(clientId), topic };
    const key = JSON.stringify(pair);
    const known = this.list.get(key);
    const entry = { ...pair, delayMs: Math.max(delayMs, known?.delayMs ?? 0), lastAtMs: Date.now() };
    if (known === undefined && this.list.size >= topCount && !this.makeRoom(delayMs)) return;
    this.list.set(key, entry);
  }

  /** False when all that are there are slower. */
  private makeRoom(delayMs: number): boolean {
    let fastest: readonly [string, SlowSubscription] | null = null;
    for (const each of this.list) if (fastest === null || each[1].delayMs < fastest[1].delayMs) fastest = each;
    if (fastest === null || fastest[1].delayMs >= delayMs) return false;
    this.list.delete(fastest[0]);
    return true;
  }

  private expire(nowMs: number): void {
    const oldestMs = nowMs - this.settings.expiryS * 1000;
    for (const [key, { lastAtMs }] of this.list) if (lastAtMs < oldestMs) this.list.delete(key);
  }
}

/** A copy: a slice would keep all of the source. */
function topicOf(source: Uint8Array, start: number, length: number): string {
  return cut(Buffer.from(source.buffer, source.byteOffset + start, length).toString());
}

function cut(text: string): string {
  return text.length <= textLengthMax ? text : `${text.slice(0, textLengthMax).toWellFormed()}…`;
}
