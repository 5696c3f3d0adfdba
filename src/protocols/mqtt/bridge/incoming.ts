/**
 * What comes from a remote broker: subscribes there, publishes here, and acknowledges there when a publisher here could be sent its
 * acknowledgement. Thread: the worker that has the bridge.
 *
 * Nothing that was not asked for gets in: a topic has to match one of the filters, and its name here may not begin with `$`.
 */
import type { IPublishPacket } from 'mqtt';
import { matches, topicError } from '../../../core/routing/topic.ts';
import { USER_PROPERTIES_MAX } from '../codec/properties.ts';
import type { OwnMessage } from '../handlers/own-publisher.ts';
import { knownPath } from '../state/subscription-path.ts';
import type { BridgeCounters, BridgeDrop } from './bridge-metrics.ts';
import { fromRemote } from './message-properties.ts';
import type { BridgeRule } from './settings.ts';
import { mapTopic } from './topic-mapping.ts';
import { passageOf, withVia } from './via.ts';

export interface IncomingOptions {
  readonly clientId: string;
  readonly rules: readonly BridgeRule[];
  readonly hopsMax: number;
  /** Messages that are under way here before the remote broker is not read any more. */
  readonly pendingMax: number;
  /** Largest PUBLISH that can be published here, bytes. */
  readonly packetBytesMax: number;
  readonly counters: BridgeCounters;
  publish(message: OwnMessage, done: (error: Error | null) => void): void;
  /** Sends PUBACK. */
  acknowledge(packetId: number): void;
  /** Something could not be taken: the connection has to end, so that the remote broker sends it again. */
  failed(reason: string): void;
}

/** Called with an error, the next packet is read and this one not acknowledged by MQTT.js. */
export type Next = (error?: Error) => void;

interface Rule extends BridgeRule {
  /** Without the name of a group. */
  readonly plainFilter: string;
}

interface Pending {
  readonly packetId: number;
  isDone: boolean;
}

/** Not an error: MQTT.js goes on reading, and leaves the acknowledgement to us. */
const acknowledgedLater = new Error('acknowledged later');

export class Incoming {
  readonly #options: IncomingOptions;
  readonly #rules: readonly Rule[];
  /** QoS 1 messages of this connection in the order in which they came: so they are acknowledged [MQTT-4.6.0-2]. */
  #pending: Pending[] = [];
  /** QoS 2 messages that are being taken, by packet identifier. */
  readonly #releasing = new Map<number, Next[]>();
  /** MQTT.js waits for it: nothing more is read. */
  #held: Next | null = null;
  /** Counts connections: what was under way with the former one is not acknowledged on this one. */
  #connection = 0;

  constructor(options: IncomingOptions) {
    this.#options = options;
    this.#rules = options.rules.map((rule) => ({ ...rule, plainFilter: knownPath(rule.filter).filter }));
  }

  /** The connection has ended; the remote broker sends again what was not acknowledged. */
  disconnected(): void {
    this.#connection += 1;
    this.#pending = [];
    this.#held = null;
  }

  /** Takes a PUBLISH; of QoS 2 when it was released. */
  take(packet: IPublishPacket, next: Next): void {
    if (packet.qos === 1) this.#takeOnce(packet, next);
    else if (packet.qos === 2) this.#takeReleased(packet, next);
    else {
      for (const message of this.#messagesOf(packet)) this.#publish(message, () => undefined);
      next();
    }
  }

  #takeOnce(packet: IPublishPacket, next: Next): void {
    const { pendingMax, acknowledge } = this.#options;
    const pending: Pending = { packetId: packet.messageId ?? 0, isDone: false };
    const connection = this.#connection;
    this.#pending.push(pending);
    this.#publishAll(packet, (error) => {
      if (error !== null || connection !== this.#connection) return;
      pending.isDone = true;
      while (this.#pending[0]?.isDone === true) acknowledge((this.#pending.shift() as Pending).packetId);
      const held = this.#held;
      if (held === null || this.#pending.length >= pendingMax) return;
      this.#held = null;
      held(acknowledgedLater);
    });
    if (this.#pending.length >= pendingMax) this.#held = next;
    else next(acknowledgedLater);
  }

  /** MQTT.js sends PUBCOMP when it is told to go on, on the next connection if need be, and forgets the message only then. */
  #takeReleased(packet: IPublishPacket, next: Next): void {
    const packetId = packet.messageId ?? 0;
    const earlier = this.#releasing.get(packetId);
    if (earlier !== undefined) {
      // Released once more over another connection, while the message is still being taken.
      earlier.push(next);
      return;
    }
    const waiting = [next];
    this.#releasing.set(packetId, waiting);
    this.#publishAll(packet, (error) => {
      this.#releasing.delete(packetId);
      if (error === null) for (const goOn of waiting) goOn();
    });
  }

  /** `done` is told once, when all that the packet becomes is taken, or known not to be. */
  #publishAll(packet: IPublishPacket, done: (error: Error | null) => void): void {
    const messages = this.#messagesOf(packet);
    let left = messages.length;
    if (left === 0) queueMicrotask(() => done(null));
    let failure: Error | null = null;
    for (const message of messages) {
      this.#publish(message, (error) => {
        left -= 1;
        failure ??= error;
        if (left > 0) return;
        if (failure !== null) this.#options.failed(`a message could not be taken: ${failure.message}`);
        done(failure);
      });
    }
  }

  #publish(message: OwnMessage, done: (error: Error | null) => void): void {
    this.#options.publish(message, (error) => {
      if (error === null) this.#options.counters.passed('in');
      done(error);
    });
  }

  /** One for each distinct name that the rules give it; none when it may not come in. */
  #messagesOf(packet: IPublishPacket): readonly OwnMessage[] {
    const made = this.#make(packet);
    if (typeof made !== 'string') return made;
    this.#options.counters.dropped('in', made);
    return [];
  }

  #make(packet: IPublishPacket): readonly OwnMessage[] | BridgeDrop {
    const { clientId, hopsMax, packetBytesMax } = this.#options;
    const topics = this.#topicsOf(packet.topic);
    if (topics.size === 0) return 'unmapped';
    const properties = fromRemote(packet);
    if (properties === null) return 'invalid';
    const passage = passageOf(properties.userProperties, clientId, hopsMax);
    if (passage !== 'new') return 'loop';
    if (properties.userProperties.length >= USER_PROPERTIES_MAX) return 'too-large';
    properties.userProperties = withVia(properties.userProperties, clientId);
    const payload = Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload);
    const messages: OwnMessage[] = [];
    for (const [topic, qosMax] of topics) {
      const qos = Math.min(packet.qos, qosMax) as 0 | 1 | 2;
      const message = { topic, payload, qos, retain: packet.retain, properties, publisher: null };
      if (sizeOf(message) > packetBytesMax) return 'too-large';
      messages.push(message);
    }
    return messages;
  }

  /** Names here, and the highest QoS that the rules allow for each. */
  #topicsOf(remoteTopic: string): ReadonlyMap<string, number> {
    const topics = new Map<string, number>();
    if (topicError(remoteTopic) !== undefined) return topics;
    for (const rule of this.#rules) {
      if (!matches(rule.plainFilter, remoteTopic)) continue;
      const topic = mapTopic(remoteTopic, rule);
      if (topic === null || topic.startsWith('$')) continue;
      topics.set(topic, Math.max(rule.qos, topics.get(topic) ?? 0));
    }
    return topics;
  }
}

/** Bytes of its PUBLISH, or a little more. */
function sizeOf({ topic, payload, properties }: OwnMessage): number {
  let bytes = 64 + Buffer.byteLength(topic) + payload.length;
  for (const [name, value] of properties.userProperties)
    bytes += 5 + Buffer.byteLength(name) + Buffer.byteLength(value);
  const { contentType = '', responseTopic = '', correlationData } = properties;
  return bytes + Buffer.byteLength(contentType) + Buffer.byteLength(responseTopic) + (correlationData?.length ?? 0);
}
