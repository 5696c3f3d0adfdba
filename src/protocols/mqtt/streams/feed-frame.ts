/** A record of a stream as the PUBLISH that a subscriber gets. Pure; connection workers. */
import type { StoredMessage } from '../../../core/queues/stored-message.ts';
import { USER_PROPERTIES_MAX } from '../codec/properties.ts';
import { generatePublish } from '../packets/generate.ts';
import { messageOfHeaders, pairOf, type RecordedMessage } from './message-record.ts';
import { streamPrefix } from './stream-path.ts';

/** Names of the user properties that every record has. A header of the same name is left out. */
const ownNames: ReadonlySet<string> = new Set(['stream', 'partition', 'offset', 'timestamp', 'key', 'tombstone']);
const noBytes = Buffer.alloc(0);

export interface FeedPlace {
  readonly stream: string;
  readonly partition: number;
}

export function recordedMessage(record: StoredMessage): RecordedMessage {
  return messageOfHeaders(record.headers, USER_PROPERTIES_MAX - ownNames.size);
}

/** At the level of MQTT 5, with a packet identifier to be replaced. */
export function frameOfRecord(place: FeedPlace, record: StoredMessage, message: RecordedMessage, qos: 0 | 1): Buffer {
  const { stream, partition } = place;
  const userProperties: (readonly [string, string])[] = [
    ['stream', stream],
    ['partition', String(partition)],
    ['offset', String(record.offset)],
    ['timestamp', String(record.timestamp)],
  ];
  if (record.key !== null) userProperties.push(...pairOf('key', record.key));
  if (record.value === null) userProperties.push(['tombstone', 'true']);
  for (const pair of message.properties.userProperties) if (!ownNames.has(pair[0])) userProperties.push(pair);
  return generatePublish(
    {
      topic: message.topic ?? streamPrefix + stream,
      payload: record.value ?? noBytes,
      qos,
      retain: false,
      packetId: qos === 0 ? 0 : 1,
      properties: { ...message.properties, userProperties },
    },
    5,
  );
}
