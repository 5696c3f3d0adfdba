/** Configuration section `mqtt`. Read on the main thread for validation and on every connection worker as plain data. */
import type { Static } from 'typebox';
import { boolean, choice, integer, list, optional, section, text } from '../../core/settings/schema-builders.ts';
import { bridgesSetting } from './bridge/settings.ts';
import { PACKET_SIZE_MAX } from './codec/frame.ts';
import { delayedSettings } from './delayed/settings.ts';
import { bindingsSetting, streamsSettings } from './streams/settings.ts';
import { systemSettings } from './system/settings.ts';

const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  integer({ minimum, maximum, default: fallback, description });

const strategy = (description: string) =>
  choice(
    [
      'round-robin',
      'random',
      'sticky',
      'local-first',
      'hash-client-id',
      'hash-topic',
      'least-inflight',
      'ordered-by-key',
    ],
    { default: 'round-robin', description },
  );

const ofTenants = optional(
  list(text({ description: 'Name of a tenant.', minLength: 1, maxLength: 255 }), {
    maxItems: 1_000,
    description: 'Tenants whose clients it is about. Absent or empty: all.',
  }),
);

const tenantsSettings = section(
  {
    choice: boolean({
      default: false,
      description:
        'Whether a client of a listener without a tenant may choose one: with the user property `tenant` of CONNECT, else as `tenant@user` in its user name, else as `tenant@id` in its client id. It needs an account of that tenant.',
    }),
    open: list(text({ description: 'Name of a tenant.', minLength: 1, maxLength: 255 }), {
      maxItems: 10_000,
      default: [],
      description:
        'Tenants that may be chosen without an account of theirs, as far as `access` lets clients in without one.',
    }),
  },
  { description: 'How clients come into other tenants than the default one.' },
);

const sharedGroup = section(
  {
    group: text({
      description: 'Name of the group, as in $share/<name>/<filter>; $queue for the group of $queue/<filter>.',
      minLength: 1,
      maxLength: 1_000,
    }),
    strategy: strategy('How its members share.'),
  },
  { description: 'Strategy of the groups of one name.' },
);

const autoSubscription = section(
  {
    filter: text({
      description: `What may stand in SUBSCRIBE, with \${clientid}, \${username} and \${host}. A client without such a value, or with one that is empty, begins with $ or contains +, # or /, does not get the subscription.`,
      minLength: 1,
      maxLength: 4_096,
    }),
    qos: whole(0, 2, 0, 'Highest QoS.'),
    noLocal: boolean({ default: false, description: 'Not what the client publishes itself.' }),
    retainAsPublished: boolean({ default: false, description: 'The retain flag stays as published.' }),
    retainHandling: whole(0, 2, 0, 'Retained messages: 0 always, 1 when the subscription is new, 2 never.'),
    tenants: ofTenants,
  },
  { description: 'A subscription that every client has without asking.' },
);

const rewriteRule = section(
  {
    action: choice(['publish', 'subscribe', 'all'], {
      default: 'all',
      description: 'Topics of PUBLISH and wills, filters of SUBSCRIBE and UNSUBSCRIBE, or both.',
    }),
    source: text({ description: 'Filter that the name has to match.', minLength: 1, maxLength: 4_096 }),
    pattern: text({
      description:
        'Regular expression that the name has to match, matched in linear time: no back-references, no look-around.',
      minLength: 1,
      maxLength: 1_000,
    }),
    target: text({
      description: `The new name, with $1 to $9 for groups of the pattern, \${clientid} and \${username}.`,
      minLength: 1,
      maxLength: 4_096,
    }),
    tenants: ofTenants,
  },
  { description: 'A rule that gives topics and filters another name.' },
);

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
    topicBytesMax: whole(
      1,
      65_535,
      65_535,
      'Longest topic and filter, bytes; a longer topic is refused with 0x90, a filter with 0x8F.',
    ),
    topicLevelsMax: whole(1, 128, 128, 'Levels of a topic or filter; more are refused in the same way.'),
    topicAliasMaximum: whole(0, 65_535, 64, 'Topic aliases that a client may define.'),
    topicAliasMaximumOut: whole(0, 65_535, 64, 'Topic aliases that the broker defines for a client that allows them.'),
    keepAliveMaxS: whole(
      0,
      65_535,
      0,
      'Longest keep-alive, seconds; an MQTT 5 client that asks for more, or for none, is told this one. An older one cannot be told, and is cut when it is silent for one and a half times as long. 0: the client decides.',
    ),
    subscribeDenied: list(text({ description: 'Topic filter.', minLength: 1, maxLength: 65_535 }), {
      maxItems: 1_000,
      default: [],
      description: 'Topic filters that no client may subscribe to.',
    }),
    sharedStrategy: strategy('How the members of shared groups share, where mqtt.sharedGroups says nothing else.'),
    sharedGroups: list(sharedGroup, { maxItems: 1_000, default: [], description: 'Groups with another strategy.' }),
    sharedKeyProperty: text({
      default: 'key',
      minLength: 1,
      maxLength: 1_000,
      description:
        'Name of the user property whose value is the key for ordered-by-key; the topic is the key of messages without it.',
    }),
    exclusiveSubscriptions: boolean({
      default: true,
      description: 'Whether $exclusive/<filter> may be subscribed to; otherwise it is refused with 0x8F.',
    }),
    autoSubscribe: list(autoSubscription, {
      maxItems: 100,
      default: [],
      description: 'Subscriptions that every client has from CONNECT on.',
    }),
    topicRewrite: list(rewriteRule, {
      maxItems: 100,
      default: [],
      description: 'Rules that rename topics and filters before they are used; the first that matches decides.',
    }),
    tenants: tenantsSettings,
    bridges: bridgesSetting,
    system: systemSettings,
    delayed: delayedSettings,
    bindings: bindingsSetting,
    streams: streamsSettings,
  },
  { description: 'MQTT 3.1, 3.1.1 and 5.0.' },
);

export type MqttSettings = Static<typeof mqttSettings>;
