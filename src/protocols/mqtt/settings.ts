/** Configuration section `mqtt`. Read on the main thread for validation and on every connection worker as plain data. */
import type { Static } from 'typebox';
import { integer, list, section, text } from '../../core/settings/schema-builders.ts';
import { PACKET_SIZE_MAX } from './codec/frame.ts';

const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  integer({ minimum, maximum, default: fallback, description });

export const mqttSettings = section(
  {
    packetBytesMax: whole(
      256,
      PACKET_SIZE_MAX,
      1_048_576,
      'Largest packet that is accepted, bytes (Maximum Packet Size).',
    ),
    connectBytesMax: whole(
      256,
      1_048_576,
      65_536,
      'Largest CONNECT packet, bytes: what a stranger can make the broker keep.',
    ),
    sessionExpiryMaxS: whole(
      0,
      4_294_967_295,
      86_400,
      'Longest time that a session outlives its connection, seconds. 4294967295: for ever. Sessions of MQTT 3 clients that ask for a persistent one get this time.',
    ),
    sessionsMax: whole(
      1,
      100_000_000,
      1_000_000,
      'Sessions per worker, connected or not; beyond it CONNECT is refused.',
    ),
    subscriptionsMax: whole(1, 10_000_000, 10_000, 'Subscriptions per session; beyond it SUBSCRIBE is refused.'),
    receiveMaximum: whole(1, 65_535, 1_024, 'QoS 2 messages that a client may have unfinished towards the broker.'),
    inflightMax: whole(1, 65_535, 1_024, 'QoS 1 and 2 messages on their way to one client without an acknowledgement.'),
    queuedMessagesMax: whole(
      0,
      100_000_000,
      10_000,
      'QoS 1 and 2 messages that wait in one session; beyond it they are dropped.',
    ),
    queuedBytesMax: whole(0, 1_099_511_627_776, 16_777_216, 'Bytes of messages that wait in one session.'),
    topicAliasMaximum: whole(0, 65_535, 64, 'Topic aliases that a client may define.'),
    topicAliasMaximumOut: whole(0, 65_535, 64, 'Topic aliases that the broker defines for a client that allows them.'),
    keepAliveMaxS: whole(
      0,
      65_535,
      0,
      'Longest keep-alive, seconds; an MQTT 5 client that asks for more, or for none, is told this one. 0: the client decides.',
    ),
    subscribeDenied: list(text({ description: 'Topic filter.', minLength: 1, maxLength: 65_535 }), {
      maxItems: 1_000,
      default: [],
      description: 'Topic filters that no client may subscribe to.',
    }),
  },
  { description: 'MQTT 3.1, 3.1.1 and 5.0.' },
);

export type MqttSettings = Static<typeof mqttSettings>;
