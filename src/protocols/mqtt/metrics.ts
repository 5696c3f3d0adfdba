/** What the protocol counts, and the slots of its counters on one worker. Single writer: the worker's thread. */
import type { MetricDefinition, ThreadMetrics } from '../../observability/metrics.ts';
import { PacketType } from './codec/frame.ts';
import { delayedMetrics } from './delayed/delayed-metrics.ts';
import { streamMetrics } from './streams/stream-metrics.ts';
import {
  directions,
  durableSubscriptionsMetric,
  messagesMetric,
  sharedSubscriptionsMetric,
  subscribersMetric,
  systemMetrics,
} from './system/metrics.ts';

const packetNames = [
  'connect',
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
] as const;
/** Of the reasons that the broker counts (`worker-metrics.ts`), those that this protocol has. */
const dropReasons = ['output-full', 'queue-full', 'offline', 'expired', 'too-large', 'not-allowed'] as const;
export type DropReason = (typeof dropReasons)[number];

const packets = 'ringmq_mqtt_packets_total';
const dropped = 'ringmq_messages_dropped_total';
const sessions = 'ringmq_mqtt_sessions';
const subscriptions = 'ringmq_mqtt_subscriptions';
const refused = 'ringmq_mqtt_connects_refused_total';
const takenOver = 'ringmq_mqtt_sessions_taken_over_total';

export const mqttMetrics: readonly MetricDefinition[] = [
  ...(['received', 'sent'] as const).flatMap((direction) =>
    packetNames.map(
      (type): MetricDefinition => ({
        name: packets,
        help: 'MQTT packets by type and direction.',
        kind: 'counter',
        labels: { type, direction },
      }),
    ),
  ),
  { name: sessions, help: 'Sessions, connected or not.', kind: 'gauge' },
  { name: subscriptions, help: 'Subscriptions of all sessions, connected or not.', kind: 'gauge' },
  { name: refused, help: 'CONNECT packets answered with an error.', kind: 'counter' },
  { name: takenOver, help: 'Connections ended because their client id connected again.', kind: 'counter' },
  ...systemMetrics,
  ...streamMetrics,
  ...delayedMetrics,
];

export class MqttMetrics {
  readonly block: ThreadMetrics;
  /** Slot of received packets, indexed by packet type (1 to 15). */
  readonly received: readonly number[];
  readonly sent: readonly number[];
  readonly sessions: number;
  readonly subscriptions: number;
  readonly sharedSubscriptions: number;
  readonly subscribers: number;
  readonly durableSubscriptions: number;
  readonly refused: number;
  readonly takenOver: number;
  private readonly drops: ReadonlyMap<DropReason, number>;
  /** Slots of messages by QoS. */
  private readonly messagesReceived: readonly number[];
  private readonly messagesSent: readonly number[];

  constructor(block: ThreadMetrics) {
    this.block = block;
    const slots = (direction: string): number[] => [
      -1,
      ...packetNames.map((type) => block.slot(packets, { type, direction })),
    ];
    this.received = slots('received');
    this.sent = slots('sent');
    this.drops = new Map(dropReasons.map((reason) => [reason, block.slot(dropped, { reason })]));
    [this.messagesReceived, this.messagesSent] = directions.map((direction) =>
      ['0', '1', '2'].map((qos) => block.slot(messagesMetric, { qos, direction })),
    ) as [number[], number[]];
    this.sessions = block.slot(sessions);
    this.subscriptions = block.slot(subscriptions);
    this.sharedSubscriptions = block.slot(sharedSubscriptionsMetric);
    this.subscribers = block.slot(subscribersMetric);
    this.durableSubscriptions = block.slot(durableSubscriptionsMetric);
    this.refused = block.slot(refused);
    this.takenOver = block.slot(takenOver);
  }

  countReceived(type: number, count: number): void {
    this.block.add(this.received[type] as number, count);
  }

  countSent(type: number, count: number): void {
    this.block.add(this.sent[type] as number, count);
  }

  /** Publications that were accepted; their packets are counted beside. */
  countMessagesReceived(qos: number, count: number): void {
    this.block.add(this.messagesReceived[qos] as number, count);
  }

  /** Publications that went to a client, with their packets. */
  countMessagesSent(qos: number, count: number): void {
    this.block.add(this.messagesSent[qos] as number, count);
    this.countSent(PacketType.PUBLISH, count);
  }

  countDropped(reason: DropReason, count: number): void {
    this.block.add(this.drops.get(reason) as number, count);
  }
}
