/** Settings of what the broker tells of itself: part of the configuration section `mqtt`. Main thread and connection workers, as plain data. */
import { boolean, choice, integer, section } from '../../../core/settings/schema-builders.ts';

const event = (description: string) => boolean({ default: true, description });

const eventSettings = section(
  {
    connected: event('clients/<id>/connected: a client was let in.'),
    disconnected: event('clients/<id>/disconnected: its connection ended.'),
    subscribed: event('clients/<id>/subscribed: a subscription was made or changed.'),
    unsubscribed: event('clients/<id>/unsubscribed: a client gave a subscription up.'),
    sessionCreated: event('clients/<id>/session_created: a client began a new session.'),
    sessionResumed: event('clients/<id>/session_resumed: a client came back to its session.'),
    sessionTakenOver: event('clients/<id>/session_taken_over: a connection ended since its client id connected again.'),
    sessionExpired: event('clients/<id>/session_expired: the time of a session without a connection was over.'),
    authenticationFailed: event('clients/<id>/authentication_failed: a client was not let in. At most ten a second.'),
    messagesDropped: event('messages/dropped: how many messages were lost in the last second, and why.'),
    alarms: event('alarms/activate and alarms/deactivate.'),
  },
  {
    description: 'Which events are published, below $SYS/brokers/<node>/. None costs anything while nobody subscribes.',
  },
);

const slowSettings = section(
  {
    enabled: boolean({ default: false, description: 'Whether it is measured. When not, it costs nothing.' }),
    statistics: choice(['whole', 'internal', 'response'], {
      default: 'whole',
      description:
        'What is measured: from the arrival at the worker of the subscriber to the acknowledgement, to the sending, or from the sending to the acknowledgement. QoS 0 has only the second, which counts for `whole` too.',
    }),
    thresholdMs: integer({
      default: 500,
      minimum: 1,
      maximum: 3_600_000,
      description: 'Deliveries that take longer are slow, ms.',
    }),
    topCount: integer({
      default: 10,
      minimum: 1,
      maximum: 1_000,
      description: 'Entries of the list: the slowest pairs of client and topic.',
    }),
    expiryS: integer({
      default: 300,
      minimum: 1,
      maximum: 86_400,
      description: 'An entry without another slow delivery leaves the list after this time, seconds.',
    }),
  },
  { description: 'The list of slow subscriptions.' },
);

export const systemSettings = section(
  {
    intervalS: integer({
      default: 60,
      minimum: 0,
      maximum: 86_400,
      description: 'How often the values below $SYS are published to those who subscribe to them, seconds. 0: never.',
    }),
    heartbeatS: integer({
      default: 30,
      minimum: 0,
      maximum: 86_400,
      description: 'How often uptime and time of day are published, seconds. 0: never.',
    }),
    eventsPerSMax: integer({
      default: 1_000,
      minimum: 1,
      maximum: 1_000_000,
      description: 'Events about clients that each worker publishes in a second; further ones are dropped and counted.',
    }),
    events: eventSettings,
    slowSubscriptions: slowSettings,
  },
  { description: 'What the broker publishes about itself: topics below $SYS, events, slow subscriptions.' },
);
