/**
 * What leaves for a remote broker, taken out of the frame of a publisher. The frame was checked when it came in. Connection workers.
 */
import { copyBytes } from '../codec/bytes.ts';
import { nextProperty, PropertyId } from '../codec/properties.ts';
import type { PublishView } from '../codec/publish.ts';
import type { BridgeRule } from './settings.ts';
import type { StoredMessage } from './stored-record.ts';
import { mapTopic } from './topic-mapping.ts';

const nothing = Buffer.alloc(0);
/** They belong to the publisher's connection, or are said anew when the message leaves. */
const leftOut = new Set<number>([
  PropertyId.TOPIC_ALIAS,
  PropertyId.SUBSCRIPTION_IDENTIFIER,
  PropertyId.MESSAGE_EXPIRY_INTERVAL,
]);

/** Names on the remote side that `topic` gets, and the highest QoS that the rules allow for each. All rules match the topic. */
export function remoteTopics(topic: string, rules: readonly BridgeRule[]): ReadonlyMap<string, 0 | 1 | 2> {
  const topics = new Map<string, 0 | 1 | 2>();
  for (const rule of rules) {
    const remote = mapTopic(topic, rule);
    if (remote === null) continue;
    topics.set(remote, Math.max(rule.qos, topics.get(remote) ?? 0) as 0 | 1 | 2);
  }
  return topics;
}

/** The publication that `view` describes in `buffer`; its payload is a view of `buffer`. */
export function captureMessage(
  buffer: Buffer,
  view: PublishView,
  topic: string,
  qosMax: 0 | 1 | 2,
  nowMs: number,
): StoredMessage {
  const { payloadStart, payloadLength, expiryS } = view;
  return {
    topic,
    payload: buffer.subarray(payloadStart, payloadStart + payloadLength),
    qos: Math.min(view.qos, qosMax) as 0 | 1 | 2,
    retain: view.retain === 1,
    expiresAtMs: expiryS < 0 ? 0 : nowMs + expiryS * 1000,
    properties: keptProperties(buffer, view),
  };
}

function keptProperties(buffer: Buffer, view: PublishView): Buffer {
  if (view.keptPropertiesLength === 0) return nothing;
  const kept = Buffer.allocUnsafe(view.keptPropertiesLength);
  const end = view.propertiesStart + view.propertiesLength;
  let length = 0;
  for (let at = view.propertiesStart; at < end; ) {
    const next = nextProperty(buffer, at, end);
    if (!leftOut.has(buffer[at] as number)) length = copyBytes(buffer, at, next, kept, length);
    at = next;
  }
  return kept;
}
