/**
 * The way of what the broker says of itself to its subscribers: checks that there are any, bounds how much it is, and publishes in a turn of
 * its own, since what is to be told often happens in the middle of a delivery. One per connection worker.
 */
import type { Router } from '../../../core/broker/router.ts';
import { defaultTenant } from '../../../core/ports/access.ts';
import type { NodeView } from '../../../core/ports/node.ts';
import { innerName } from '../../../core/tenants/tenant-names.ts';
import type { ThreadMetrics } from '../../../observability/metrics.ts';
import type { MessageProperties } from '../packets/types.ts';
import { levelOf } from './event-topic.ts';
import { eventsMetric } from './metrics.ts';

/** Room for the header of a packet, beside topic and payload. */
const headBytes = 16;
const properties: MessageProperties = { payloadFormat: 1, userProperties: [] };

/** What it needs of the publisher of own messages. */
interface Publisher {
  publish(message: {
    topic: string;
    tenant: string;
    payload: Buffer;
    qos: 0;
    retain: false;
    properties: MessageProperties;
    publisher: null;
  }): void;
}

export interface SystemOutputOptions {
  readonly router: Router;
  readonly publisher: Publisher;
  readonly node: NodeView;
  readonly metrics: ThreadMetrics;
  /** Largest packet that there is. */
  readonly packetBytesMax: number;
}

/** So many in each second of the clock. */
export class SecondLimit {
  private readonly countMax: number;
  private second = 0;
  private count = 0;

  constructor(countMax: number) {
    this.countMax = countMax;
  }

  takes(nowMs: number): boolean {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.second) {
      this.second = second;
      this.count = 0;
    }
    this.count++;
    return this.count <= this.countMax;
  }
}

export class SystemOutput {
  private readonly options: SystemOutputOptions;
  private readonly publishedSlot: number;
  private readonly droppedSlot: number;
  private waiting: (readonly [topic: string, payload: string, tenant: string])[] = [];
  private root = '';
  private rootOf = '';

  constructor(options: SystemOutputOptions) {
    this.options = options;
    this.publishedSlot = options.metrics.slot(eventsMetric, { outcome: 'published' });
    this.droppedSlot = options.metrics.slot(eventsMetric, { outcome: 'dropped' });
  }

  /** Whether it is worth to look closer. Nearly free. */
  get hasReaders(): boolean {
    return this.options.router.hasHiddenSubscribers;
  }

  /** `$SYS/brokers/<node>`, or '' before the node has a name. */
  get brokerTopic(): string {
    const { name } = this.options.node.facts;
    if (name !== this.rootOf) {
      this.rootOf = name;
      this.root = `$SYS/brokers/${levelOf(name)}`;
    }
    return this.root;
  }

  /** Topic of an event below the broker's, when somebody of the tenant reads it; otherwise null. */
  wantedTopic(name: string, tenant: string = defaultTenant): string | null {
    if (!this.hasReaders || this.brokerTopic === '') return null;
    const topic = `${this.brokerTopic}/${name}`;
    return this.options.router.isWanted(innerName(tenant, topic)) ? topic : null;
  }

  /** Publishes an event in a later turn, in the order of the calls; one that the limit does not take is counted and gone. */
  event(topic: string, fields: object, limit: SecondLimit | null, tenant: string = defaultTenant): void {
    const { metrics } = this.options;
    if (limit !== null && !limit.takes(Date.now())) {
      metrics.increment(this.droppedSlot);
      return;
    }
    this.waiting.push([topic, JSON.stringify(fields), tenant]);
    // By what waits and not by the limit alone: a turn can be long.
    if (this.waiting.length === 1) setImmediate(() => this.publishWaiting());
  }

  private publishWaiting(): void {
    const { waiting, options } = this;
    this.waiting = [];
    for (const [topic, payload, tenant] of waiting) {
      const isPublished = this.publish(topic, payload, tenant);
      options.metrics.increment(isPublished ? this.publishedSlot : this.droppedSlot);
    }
  }

  /** Publishes at once; false for what no packet can hold. */
  publish(topic: string, text: string, tenant: string = defaultTenant): boolean {
    const payload = Buffer.from(text);
    const { packetBytesMax, publisher } = this.options;
    if (payload.length + Buffer.byteLength(topic) + headBytes > packetBytesMax) return false;
    publisher.publish({ topic, tenant, payload, qos: 0, retain: false, properties, publisher: null });
    return true;
  }
}
