/**
 * What comes from a remote broker: subscribes there, publishes here, and acknowledges there when a publisher here could be sent its
 * acknowledgement. Thread: the worker that has the bridge.
 *
 * Nothing that was not asked for gets in: a topic has to match one of the filters, and its name here may not begin with `$`.
 */
import type { IPublishPacket } from 'mqtt';
import { matches, topicError } from '../../../core/routing/topic.ts';
import { joined } from '../../../std/joined.ts';
import { PacketType } from '../codec/frame.ts';
import { USER_PROPERTIES_MAX } from '../codec/properties.ts';
import type { MessageReceipt, OwnMessage } from '../handlers/own-publisher.ts';
import { knownPath } from '../state/subscription-path.ts';
import type { BridgeCounters, BridgeDrop } from './bridge-metrics.ts';
import type { IncomingReceipts } from './incoming-receipts.ts';
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
  /** Which QoS 2 messages have come. */
  readonly receipts: IncomingReceipts;
  /** Whether the remote broker says that it has the session; else the DUP flag says which message is a new one. */
  readonly tellsSession: boolean;
  /** Sends PUBACK, PUBREC or PUBCOMP. */
  acknowledge(type: number, packetId: number): void;
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
  readonly type: number;
  readonly packetId: number;
  isDone: boolean;
}

/** Not an error: MQTT.js goes on reading, and leaves the acknowledgement to us. */
const acknowledgedLater = new Error('acknowledged later');

export class Incoming {
  readonly #options: IncomingOptions;
  readonly #rules: readonly Rule[];
  /** Messages of this connection in the order in which they came: so they are acknowledged [MQTT-4.6.0-2], [MQTT-4.6.0-3]. */
  #pending: Pending[] = [];
  /** What came before it was known which messages had come; null: that is known. */
  #early: (() => void)[] | null = [];
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
    this.#early = [];
  }

  /** The remote broker has let the bridge in; `isResumed`: it still has the session. */
  begun(isResumed: boolean): void {
    const connection = this.#connection;
    this.#early = [];
    const { receipts, failed } = this.#options;
    receipts.open(isResumed).then(
      () => {
        if (connection !== this.#connection) return;
        const early = this.#early ?? [];
        this.#early = null;
        for (const task of early) task();
      },
      (error: Error) => {
        if (connection === this.#connection) failed(error.message);
      },
    );
  }

  /** PUBREL. */
  released(packetId: number): void {
    if (this.#early !== null) {
      this.#early.push(() => this.released(packetId));
      return;
    }
    const connection = this.#connection;
    const { receipts, acknowledge, failed } = this.#options;
    receipts.release(packetId, (error) => {
      if (connection !== this.#connection) return;
      if (error === null) acknowledge(PacketType.PUBCOMP, packetId);
      else failed(`a message could not be released: ${error.message}`);
    });
  }

  /** Takes a PUBLISH. */
  take(packet: IPublishPacket, next: Next): void {
    if (packet.qos === 1) this.#takeOnce(packet, next);
    else if (packet.qos === 2) this.#takeTwice(packet, next);
    else {
      for (const message of this.#messagesOf(packet)) this.#publish(message, () => undefined);
      next();
    }
  }

  #takeOnce(packet: IPublishPacket, next: Next): void {
    this.#publishAll(packet, null, this.#awaited(PacketType.PUBACK, packet.messageId ?? 0, next));
  }

  #takeTwice(packet: IPublishPacket, next: Next): void {
    if (this.#early !== null) {
      this.#early.push(() => this.#takeTwice(packet, next));
      return;
    }
    const { receipts, tellsSession } = this.#options;
    const packetId = packet.messageId ?? 0;
    if (!receipts.has(packetId)) this.#takeNew(packet, this.#awaited(PacketType.PUBREC, packetId, next));
    else if (tellsSession || packet.dup) receipts.again(packetId, this.#awaited(PacketType.PUBREC, packetId, next));
    else {
      // The identifier is of a session that the remote broker has lost.
      const told = this.#awaited(PacketType.PUBREC, packetId, next);
      receipts.release(packetId, (error) => (error === null ? this.#takeNew(packet, told) : told(error)));
    }
  }

  #takeNew(packet: IPublishPacket, told: (error: Error | null) => void): void {
    const { receipts } = this.#options;
    const packetId = packet.messageId ?? 0;
    const receipt = receipts.receiptOf(packetId);
    if (receipt !== null) {
      this.#publishAll(packet, receipt, told);
      return;
    }
    receipts.begin(packetId);
    this.#publishAll(packet, null, (error) => {
      receipts.taken(packetId, error);
      told(error);
    });
  }

  /** Whom to tell when what was read may be confirmed; goes on reading while there is room. */
  #awaited(type: number, packetId: number, next: Next): (error: Error | null) => void {
    const { pendingMax, acknowledge } = this.#options;
    const pending: Pending = { type, packetId, isDone: false };
    const connection = this.#connection;
    this.#pending.push(pending);
    if (this.#pending.length >= pendingMax) this.#held = next;
    else next(acknowledgedLater);
    return (error) => {
      if (error !== null || connection !== this.#connection) return;
      pending.isDone = true;
      while (this.#pending[0]?.isDone === true) {
        const { type: confirmed, packetId: of } = this.#pending.shift() as Pending;
        acknowledge(confirmed, of);
      }
      const held = this.#held;
      if (held === null || this.#pending.length >= pendingMax) return;
      this.#held = null;
      held(acknowledgedLater);
    };
  }

  /**
   * `done` is told once, when all that the packet becomes is taken, or known not to be. The message with the receipt is the last one, and waits
   * for the others: the receipt says that nothing is missing.
   */
  #publishAll(packet: IPublishPacket, receipt: MessageReceipt | null, done: (error: Error | null) => void): void {
    const messages = [...this.#messagesOf(packet)];
    const last = receipt === null ? undefined : messages.pop();
    const proven = last === undefined || receipt === null ? null : { ...last, receipt };
    const finish = (error: Error | null): void => {
      if (error !== null) this.#options.failed(`a message could not be taken: ${error.message}`);
      done(error);
    };
    const others = (error: Error | null): void => {
      if (error !== null || proven === null) finish(error);
      else this.#publish({ ...proven, publisherName: this.#options.receipts.publisherName }, finish);
    };
    if (messages.length === 0) {
      if (proven === null) queueMicrotask(() => others(null));
      else others(null);
      return;
    }
    const each = joined(messages.length, others);
    for (const message of messages) this.#publish(message, each);
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
