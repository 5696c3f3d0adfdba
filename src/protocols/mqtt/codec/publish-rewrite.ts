/**
 * Writes a received PUBLISH anew for receivers whose level, QoS or options differ from the sender's.
 *
 * The topic alias, the message expiry and the subscription identifiers belong to one connection and one moment and are
 * replaced; every other property goes on byte for byte and in order [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16],
 * [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20].
 *
 * Pure; runs on connection workers, once per distinct layout of a message. Nothing here allocates.
 */
import { assert } from '../../../std/assert.ts';
import { type Bytes, copyBytes, writeUint16, writeUint32 } from './bytes.ts';
import { type ProtocolLevel, remainingLengthSize, writeRemainingLength } from './frame.ts';
import { nextProperty, PropertyId } from './properties.ts';
import { type PublishView, publishFlags, publishRemainingLength, publishSize, writePublishHeader } from './publish.ts';

/** What the copy is to look like. Make one and use it again; every field is read on every call. */
export class PublishRewrite {
  level: ProtocolLevel = 4;
  qos = 0;
  /** 0 or 1. */
  retain = 0;
  /** 0 or 1. */
  dup = 0;
  /** Not 0 when `qos` is not 0. */
  packetId = 0;
  /** Written instead of the source's topic, e.g. the one that its alias stands for; `null` keeps the source's. */
  topic: Bytes | null = null;
  /** The receiver's alias, 0 for none; level 5 only. */
  topicAlias = 0;
  /** The receiver knows `topicAlias` already, so the topic is left empty (3.3.2.3.4). */
  emptyTopic = false;
  /** What remains of the message's life in seconds; -1 writes no expiry, whatever the source has. */
  expiryS = -1;
  /** Numbers, or what `encodeSubscriptionIdentifiers` made of them, or `null` for none; level 5 only. */
  subscriptionIdentifiers: readonly number[] | Uint8Array | null = null;
}

/** Bytes that `rewrite` will write for the same arguments. */
export function rewrittenSize(view: PublishView, options: PublishRewrite): number {
  return publishSize(
    writtenTopicLength(view, options),
    options.qos,
    options.level,
    writtenPropertiesLength(view, options),
    view.payloadLength,
  );
}

/**
 * Writes the PUBLISH that `view` describes in `source` to `target` at `offset`, in the form that `options` ask for, and
 * returns the offset after it. `target` has `rewrittenSize(view, options)` bytes left and is not `source`.
 */
export function rewrite(
  target: Uint8Array,
  offset: number,
  source: Bytes,
  view: PublishView,
  options: PublishRewrite,
): number {
  const { level, qos, topic } = options;
  const topicLength = writtenTopicLength(view, options);
  assert(topicLength > 0 || (level === 5 && options.topicAlias > 0), 'a topic or an alias goes with each PUBLISH');
  const propertiesLength = writtenPropertiesLength(view, options);
  const remaining = publishRemainingLength(topicLength, qos, level, propertiesLength, view.payloadLength);
  const flags = publishFlags(qos, options.dup, options.retain);
  let position = writePublishHeader(target, offset, flags, remaining, topicLength);
  if (topicLength > 0) {
    position =
      topic === null
        ? copyBytes(source, view.topicStart, view.topicStart + topicLength, target, position)
        : copyBytes(topic, 0, topicLength, target, position);
  }
  if (qos > 0) position = writeUint16(target, position, options.packetId);
  if (level === 5) {
    position = writeRemainingLength(target, position, propertiesLength);
    if (propertiesLength > 0) position = writeProperties(target, position, source, view, options);
  }
  return copyBytes(source, view.payloadStart, view.payloadStart + view.payloadLength, target, position);
}

/** Encodes subscription identifiers (1 to 268,435,455) once for many calls of `rewrite`. Allocates. */
export function encodeSubscriptionIdentifiers(identifiers: readonly number[]): Uint8Array {
  const encoded = new Uint8Array(identifiersLength(identifiers));
  writeIdentifiers(encoded, 0, identifiers);
  return encoded;
}

function writtenTopicLength(view: PublishView, options: PublishRewrite): number {
  if (options.emptyTopic) return 0;
  return options.topic === null ? view.topicLength : options.topic.length;
}

function writtenPropertiesLength(view: PublishView, options: PublishRewrite): number {
  if (options.level < 5) return 0;
  const identifiers = options.subscriptionIdentifiers;
  return (
    view.keptPropertiesLength +
    (options.topicAlias > 0 ? 3 : 0) +
    (options.expiryS >= 0 ? 5 : 0) +
    (identifiers === null ? 0 : identifiersLength(identifiers))
  );
}

/** The new properties come first, then the kept ones. */
function writeProperties(
  target: Uint8Array,
  offset: number,
  source: Bytes,
  view: PublishView,
  options: PublishRewrite,
): number {
  let position = offset;
  if (options.topicAlias > 0) {
    target[position] = PropertyId.TOPIC_ALIAS;
    position = writeUint16(target, position + 1, options.topicAlias);
  }
  if (options.expiryS >= 0) {
    target[position] = PropertyId.MESSAGE_EXPIRY_INTERVAL;
    position = writeUint32(target, position + 1, options.expiryS);
  }
  if (options.subscriptionIdentifiers !== null) {
    position = writeIdentifiers(target, position, options.subscriptionIdentifiers);
  }
  return view.keptPropertiesLength === 0 ? position : copyKept(target, position, source, view);
}

/** Copies the properties that are for the receiver, neighbours among them in one go; answers the offset behind them. */
export function copyKept(target: Uint8Array, offset: number, source: Bytes, view: PublishView): number {
  const end = view.propertiesStart + view.propertiesLength;
  if (view.keptPropertiesLength === view.propertiesLength) {
    return copyBytes(source, view.propertiesStart, end, target, offset);
  }
  let position = offset;
  let runStart = view.propertiesStart;
  let current = runStart;
  while (current < end) {
    const next = nextProperty(source, current, end);
    if (isReplaced(source[current])) {
      position = copyBytes(source, runStart, current, target, position);
      runStart = next;
    }
    current = next;
  }
  return copyBytes(source, runStart, end, target, position);
}

function isReplaced(id: number): boolean {
  return (
    id === PropertyId.TOPIC_ALIAS ||
    id === PropertyId.MESSAGE_EXPIRY_INTERVAL ||
    id === PropertyId.SUBSCRIPTION_IDENTIFIER
  );
}

function identifiersLength(identifiers: readonly number[] | Uint8Array): number {
  if (identifiers instanceof Uint8Array) return identifiers.length;
  let length = 0;
  for (let index = 0; index < identifiers.length; index++) length += 1 + remainingLengthSize(identifiers[index]);
  return length;
}

function writeIdentifiers(target: Uint8Array, offset: number, identifiers: readonly number[] | Uint8Array): number {
  let position = offset;
  if (identifiers instanceof Uint8Array) {
    for (let index = 0; index < identifiers.length; index++) target[position++] = identifiers[index];
    return position;
  }
  for (let index = 0; index < identifiers.length; index++) {
    target[position] = PropertyId.SUBSCRIPTION_IDENTIFIER;
    position = writeRemainingLength(target, position + 1, identifiers[index]);
  }
  return position;
}
