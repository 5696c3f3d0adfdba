/**
 * What bridges count. The series are made of the configuration, so that the main thread, which serves them, and the workers agree on
 * their slots. Single writer: each worker counts in its own block.
 */
import type { MetricDefinition, ThreadMetrics } from '../../../observability/metrics.ts';
import type { BridgeSettings } from './settings.ts';

const connected = 'ringmq_mqtt_bridge_connected';
const messages = 'ringmq_mqtt_bridge_messages_total';
const dropped = 'ringmq_mqtt_bridge_dropped_total';
const connects = 'ringmq_mqtt_bridge_connects_total';
const failures = 'ringmq_mqtt_bridge_failures_total';
const waiting = 'ringmq_mqtt_bridge_waiting_messages';
const resent = 'ringmq_mqtt_bridge_resent_total';

const directions = ['out', 'in'] as const;
export type Direction = (typeof directions)[number];

/**
 * `away`: QoS 0 while the remote broker was not there or could not keep up · `overflow`: the limits of the store let it go ·
 * `expired` · `too-large` for the other side · `refused` by the remote broker for good · `loop`: it had been here before, or came too
 * far · `unmapped`: its name is none on the other side, or was not asked for · `not-stored`: the store refused it ·
 * `invalid`: no message as the specification has it
 */
const dropReasons = [
  'away',
  'overflow',
  'expired',
  'too-large',
  'refused',
  'loop',
  'unmapped',
  'not-stored',
  'invalid',
] as const;
export type BridgeDrop = (typeof dropReasons)[number];

/** One group of series for each bridge. */
export function bridgeMetrics(bridges: readonly BridgeSettings[]): readonly MetricDefinition[] {
  return bridges.flatMap(({ name }) => seriesOf(name));
}

function seriesOf(bridge: string): readonly MetricDefinition[] {
  const labels = { bridge };
  return [
    { name: connected, help: 'Whether the bridge is connected to its remote broker.', kind: 'gauge', labels },
    { name: waiting, help: 'Stored messages that wait for the remote broker.', kind: 'gauge', labels },
    { name: connects, help: 'Connections of the bridge that were accepted.', kind: 'counter', labels },
    { name: failures, help: 'Connections of the bridge that failed or ended.', kind: 'counter', labels },
    { name: resent, help: 'Messages that the bridge had to send again.', kind: 'counter', labels },
    ...directions.flatMap((direction): MetricDefinition[] => [
      {
        name: messages,
        help: 'Messages that the bridge has passed on.',
        kind: 'counter',
        labels: { bridge, direction },
      },
      ...dropReasons.map(
        (reason): MetricDefinition => ({
          name: dropped,
          help: 'Messages that the bridge has not passed on, by reason.',
          kind: 'counter',
          labels: { bridge, direction, reason },
        }),
      ),
    ]),
  ];
}

/** The slots of one bridge on one worker. */
export class BridgeCounters {
  readonly #block: ThreadMetrics;
  readonly #connected: number;
  readonly #waiting: number;
  readonly #connects: number;
  readonly #failures: number;
  readonly #resent: number;
  readonly #messages: Readonly<Record<Direction, number>>;
  readonly #drops: Readonly<Record<Direction, ReadonlyMap<BridgeDrop, number>>>;

  constructor(block: ThreadMetrics, bridge: string) {
    this.#block = block;
    this.#connected = block.slot(connected, { bridge });
    this.#waiting = block.slot(waiting, { bridge });
    this.#connects = block.slot(connects, { bridge });
    this.#failures = block.slot(failures, { bridge });
    this.#resent = block.slot(resent, { bridge });
    const slotOf = (direction: Direction): number => block.slot(messages, { bridge, direction });
    this.#messages = { out: slotOf('out'), in: slotOf('in') };
    const dropsOf = (direction: Direction): ReadonlyMap<BridgeDrop, number> =>
      new Map(dropReasons.map((reason) => [reason, block.slot(dropped, { bridge, direction, reason })]));
    this.#drops = { out: dropsOf('out'), in: dropsOf('in') };
  }

  connected(isConnected: boolean): void {
    this.#block.set(this.#connected, isConnected ? 1 : 0);
    if (isConnected) this.#block.increment(this.#connects);
  }

  failed(): void {
    this.#block.increment(this.#failures);
  }

  resent(): void {
    this.#block.increment(this.#resent);
  }

  waiting(count: number): void {
    this.#block.set(this.#waiting, count);
  }

  passed(direction: Direction): void {
    this.#block.increment(this.#messages[direction]);
  }

  dropped(direction: Direction, reason: BridgeDrop, count = 1): void {
    this.#block.add(this.#drops[direction].get(reason) as number, count);
  }

  /** Of this worker, since it began. */
  passedCount(direction: Direction): number {
    return this.#block.get(this.#messages[direction]);
  }

  /** The same, over all reasons. */
  droppedCount(direction: Direction): number {
    let sum = 0;
    for (const slot of this.#drops[direction].values()) sum += this.#block.get(slot);
    return sum;
  }
}
