/**
 * The values below `$SYS/brokers/<node>/`, named as users of EMQX know them, and a few below `$SYS/broker/`, as users of mosquitto know those.
 * One per connection worker; every worker can tell every value, since counters of the whole node lie in shared memory.
 *
 * Nothing is read before somebody asks for it.
 */
import { hostname, release, type as systemName } from 'node:os';
import type { NodeView } from '../../../core/ports/node.ts';
import { levelOf } from './event-topic.ts';
import {
  delayedWaitingMetric,
  dropMetrics,
  durableSubscriptionsMetric,
  filtersMetric,
  type HighestOf,
  highestMetric,
  messagesMetric,
  sharedSubscriptionsMetric,
  subscribersMetric,
} from './metrics.ts';

/** How often a value is published: with the heartbeat, or with the others. */
export type Pace = 'heartbeat' | 'interval';

export interface SystemValue {
  readonly topic: string;
  readonly pace: Pace;
  read(): string;
}

/** Packet types that EMQX counts below `metrics/packets/`, with the directions in which they go. */
const packets: readonly (readonly [type: string, ...directions: ('received' | 'sent')[]])[] = [
  ['connect', 'received'],
  ['connack', 'sent'],
  ['publish', 'received', 'sent'],
  ['puback', 'received', 'sent'],
  ['pubrec', 'received', 'sent'],
  ['pubrel', 'received', 'sent'],
  ['pubcomp', 'received', 'sent'],
  ['subscribe', 'received'],
  ['suback', 'sent'],
  ['unsubscribe', 'received'],
  ['unsuback', 'sent'],
  ['pingreq', 'received'],
  ['pingresp', 'sent'],
  ['disconnect', 'received', 'sent'],
  ['auth', 'received', 'sent'],
];

/** What EMQX calls the reasons why messages are dropped. */
const drops = [
  ['no_subscribers', 'no-subscriber'],
  // In memory, and in the log of durable sessions.
  ['queue_full', 'queue-full', 'limited', 'gone'],
  ['qos0_msg', 'output-full'],
  ['expired', 'expired', 'aged'],
  ['too_large', 'too-large'],
  ['not_allowed', 'not-allowed'],
] as const;

type Read = () => number;

export class SystemTree {
  private readonly node: NodeView;
  private readonly protocol: string;
  private name = '';
  private list: readonly SystemValue[] = [];

  /** `protocol`: label value of the metrics about connections. */
  constructor(node: NodeView, protocol: string) {
    this.node = node;
    this.protocol = protocol;
  }

  /** Empty before the node has a name. */
  values(): readonly SystemValue[] {
    const { name } = this.node.facts;
    if (name !== this.name) {
      this.name = name;
      this.list = this.build(`$SYS/brokers/${levelOf(name)}`);
    }
    return this.list;
  }

  private build(root: string): SystemValue[] {
    const { node } = this;
    const number = (topic: string, read: Read): SystemValue => ({
      topic,
      pace: 'interval',
      read: () => String(read()),
    });
    const text = (topic: string, read: () => string, pace: Pace = 'interval'): SystemValue => ({ topic, pace, read });
    return [
      text('$SYS/brokers', () => node.facts.nodes.join(',')),
      text(`${root}/version`, () => node.version),
      text(
        `${root}/sysdescr`,
        () => `RingMQ on ${systemName()} ${release()}, Node ${process.versions.node}, ${hostname()}`,
      ),
      text(`${root}/uptime`, () => String(Date.now() - node.startedAtMs), 'heartbeat'),
      text(`${root}/datetime`, () => new Date().toISOString(), 'heartbeat'),
      ...this.statistics().map(([name, read]) => number(`${root}/stats/${name}`, read)),
      ...this.metrics().map(([name, read]) => number(`${root}/metrics/${name}`, read)),
      text('$SYS/broker/version', () => `RingMQ version ${node.version}`),
      text('$SYS/broker/uptime', () => `${Math.floor((Date.now() - node.startedAtMs) / 1000)} seconds`, 'heartbeat'),
      ...this.brokerValues().map(([name, read]) => number(`$SYS/broker/${name}`, read)),
    ];
  }

  private sum(name: string, labels: Readonly<Record<string, string>> = {}): Read {
    const counter = this.node.counter(name, labels);
    return () => counter.sum();
  }

  private largest(name: string, labels: Readonly<Record<string, string>> = {}): Read {
    const counter = this.node.counter(name, labels);
    return () => counter.largest();
  }

  /** What there is now, by the names under which the highest is kept. */
  present(): Readonly<Record<HighestOf, Read>> {
    return {
      connections: this.sum('ringmq_connections_open', { protocol: this.protocol }),
      sessions: this.sum('ringmq_mqtt_sessions'),
      subscriptions: this.sum('ringmq_mqtt_subscriptions'),
      'shared-subscriptions': this.sum(sharedSubscriptionsMetric),
      'durable-subscriptions': this.sum(durableSubscriptionsMetric),
      subscribers: this.sum(subscribersMetric),
      filters: this.sum(filtersMetric),
      // Every worker has all of them.
      retained: this.largest('ringmq_retained_messages'),
      delayed: this.sum(delayedWaitingMetric),
    };
  }

  private statistics(): (readonly [string, Read])[] {
    const present = this.present();
    const both = (name: string, of: HighestOf): (readonly [string, Read])[] => {
      const highest = this.largest(highestMetric, { of });
      // What was seen last may be below what there is now.
      return [
        [`${name}/count`, present[of]],
        [`${name}/max`, () => Math.max(highest(), present[of]())],
      ];
    };
    return [
      ...both('connections', 'connections'),
      ...both('live_connections', 'connections'),
      ...both('channels', 'sessions'),
      ...both('sessions', 'sessions'),
      ...both('subscribers', 'subscribers'),
      ...both('topics', 'filters'),
      ...both('routes', 'filters'),
      ...both('subscriptions', 'subscriptions'),
      ...both('suboptions', 'subscriptions'),
      ...both('subscriptions/shared', 'shared-subscriptions'),
      ...both('durable_subscriptions', 'durable-subscriptions'),
      ...both('retained', 'retained'),
      ...both('delayed', 'delayed'),
    ];
  }

  private metrics(): (readonly [string, Read])[] {
    const packet = (type: string, direction: string): Read =>
      this.sum('ringmq_mqtt_packets_total', { type, direction });
    const allPackets = (direction: string): Read => this.sum('ringmq_mqtt_packets_total', { direction });
    const messages = (labels: Readonly<Record<string, string>>): Read => this.sum(messagesMetric, labels);
    return [
      ['bytes/received', this.bytes('received')],
      ['bytes/sent', this.bytes('sent')],
      ['packets/received', allPackets('received')],
      ['packets/sent', allPackets('sent')],
      ...packets.flatMap(([type, ...directions]) => [
        ...directions.map((direction) => [`packets/${type}/${direction}`, packet(type, direction)] as const),
        // The documentation of EMQX leaves the direction out where there is one alone.
        ...directions
          .filter(() => directions.length === 1)
          .map((only) => [`packets/${type}`, packet(type, only)] as const),
      ]),
      ['packets/connack/error', this.sum('ringmq_mqtt_connects_refused_total')],
      ['packets/connack/auth_error', this.sum('ringmq_access_denied_total', { kind: 'login-refused' })],
      ['packets/publish/auth_error', this.sum('ringmq_access_denied_total', { kind: 'publish-denied' })],
      ['packets/subscribe/auth_error', this.sum('ringmq_access_denied_total', { kind: 'subscribe-denied' })],
      ['messages/received', messages({ direction: 'received' })],
      ['messages/sent', messages({ direction: 'sent' })],
      ...['0', '1', '2'].flatMap((qos) =>
        (['received', 'sent'] as const).map(
          (direction) => [`messages/qos${qos}/${direction}`, messages({ qos, direction })] as const,
        ),
      ),
      ['messages/dropped', this.dropped()],
      ['messages/expired', this.dropped('expired', 'aged')],
      ['messages/retained', this.largest('ringmq_retained_messages')],
      ['delivery/dropped', this.dropped()],
      ...drops.map(([name, ...reasons]) => [`delivery/dropped/${name}`, this.dropped(...reasons)] as const),
      ['session/takenover', this.sum('ringmq_mqtt_sessions_taken_over_total')],
    ];
  }

  private brokerValues(): (readonly [string, Read])[] {
    const present = this.present();
    const highest = this.largest(highestMetric, { of: 'connections' });
    return [
      ['clients/connected', present.connections],
      ['clients/active', present.connections],
      ['clients/total', present.sessions],
      ['clients/disconnected', () => Math.max(0, present.sessions() - present.connections())],
      ['clients/inactive', () => Math.max(0, present.sessions() - present.connections())],
      ['clients/maximum', () => Math.max(highest(), present.connections())],
      ['bytes/received', this.bytes('received')],
      ['bytes/sent', this.bytes('sent')],
      ['messages/received', this.sum('ringmq_mqtt_packets_total', { direction: 'received' })],
      ['messages/sent', this.sum('ringmq_mqtt_packets_total', { direction: 'sent' })],
      ['publish/messages/received', this.sum(messagesMetric, { direction: 'received' })],
      ['publish/messages/sent', this.sum(messagesMetric, { direction: 'sent' })],
      ['publish/messages/dropped', this.dropped()],
      ['subscriptions/count', present.subscriptions],
      ['shared_subscriptions/count', present['shared-subscriptions']],
      ['retained messages/count', present.retained],
    ];
  }

  private bytes(direction: 'received' | 'sent'): Read {
    return this.sum(`ringmq_${direction}_bytes_total`, { protocol: this.protocol });
  }

  /** For one of these reasons; for any without them. */
  private dropped(...reasons: readonly string[]): Read {
    const labels = reasons.length === 0 ? [{}] : reasons.map((reason) => ({ reason }));
    const reads = dropMetrics.flatMap((name) => labels.map((each) => this.sum(name, each)));
    return () => reads.reduce((sum, read) => sum + read(), 0);
  }
}
