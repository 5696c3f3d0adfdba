/**
 * Sends QoS 0 messages to the remote broker of one bridge as they are published, and drops them while it is not there or does not keep
 * up. Thread: the worker that has the bridge; it subscribes like a client, so that it hears of what is published on all workers.
 */
import { type Subscriber, Subscription, type Target } from '../../../core/broker/route.ts';
import type { Router } from '../../../core/broker/router.ts';
import type { Run } from '../../../core/broker/run.ts';
import { frameLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import type { BridgeCounters } from './bridge-metrics.ts';
import { captureMessage, remoteTopics } from './captured-message.ts';
import { readProperties, toRemote } from './message-properties.ts';
import type { PublishOptions } from './remote.ts';
import type { BridgeRule } from './settings.ts';
import { passageOf, withVia } from './via.ts';

export interface LiveOutletOptions {
  readonly clientId: string;
  readonly isVersion5: boolean;
  readonly rules: readonly BridgeRule[];
  readonly hopsMax: number;
  readonly router: Router;
  readonly counters: BridgeCounters;
  /** The remote broker is there and takes more. */
  isOpen(): boolean;
  packetBytesMax(): number;
  publish(topic: string, payload: Buffer, options: PublishOptions): void;
}

export class LiveOutlet implements Subscriber {
  readonly #options: LiveOutletOptions;
  readonly #view = new PublishView();
  #subscriptions: Subscription[] = [];

  constructor(options: LiveOutletOptions) {
    this.#options = options;
  }

  start(): void {
    const { rules, router } = this.#options;
    const filters = new Set(rules.map(({ filter }) => filter));
    this.#subscriptions = Array.from(filters, (filter) => new Subscription(filter, this));
    for (const subscription of this.#subscriptions) router.subscribe(subscription);
  }

  stop(): void {
    for (const subscription of this.#subscriptions) this.#options.router.unsubscribe(subscription);
    this.#subscriptions = [];
  }

  createTarget(subscriptions: readonly Subscription[]): Target {
    const filters = new Set(subscriptions.map(({ filter }) => filter));
    const rules = this.#options.rules.filter(({ filter }) => filters.has(filter));
    const isDowngraded = rules.some(({ qos }) => qos === 0);
    return { deliver: (run) => this.#deliver(run, rules, isDowngraded) };
  }

  #deliver(run: Run, rules: readonly BridgeRule[], isDowngraded: boolean): void {
    // All publications of a run have one QoS. Nearly all with more than 0 are stored instead, and are not looked at here.
    const isQos0 = ((run.detailA >> 1) & 3) === 0;
    if (!isQos0 && !isDowngraded) return;
    const { counters } = this.#options;
    const topics = remoteTopics(run.topic, rules);
    const wanted = [...topics].filter(([, qosMax]) => isQos0 || qosMax === 0).map(([topic]) => topic);
    if (wanted.length === 0) return;
    for (let position = run.start; position < run.end; ) {
      const next = position + frameLength(run.buffer, position, run.end);
      if (this.#options.isOpen()) this.#send(run, position, next, wanted);
      else counters.dropped('out', 'away', wanted.length);
      position = next;
    }
  }

  #send(run: Run, start: number, end: number, topics: readonly string[]): void {
    const { isVersion5, clientId, hopsMax, counters, packetBytesMax, publish } = this.#options;
    const view = this.#view;
    decodePublish(run.buffer, start, end, run.layout, view);
    for (const topic of topics) {
      const message = captureMessage(run.buffer, view, topic, 0, 0);
      const own = readProperties(message.properties);
      if (passageOf(own.userProperties, clientId, hopsMax) !== 'new') {
        counters.dropped('out', 'loop');
        continue;
      }
      if (end - start + topic.length * 3 + clientId.length * 3 + 64 > packetBytesMax()) {
        counters.dropped('out', 'too-large');
        continue;
      }
      const options: PublishOptions = { qos: 0, retain: message.retain };
      if (isVersion5) {
        const userProperties = withVia(own.userProperties, clientId);
        options.properties = toRemote({ ...own, userProperties }, view.expiryS < 0 ? undefined : view.expiryS);
      }
      // The bytes of the run are somebody else's as soon as this returns, and the socket may keep them longer.
      publish(topic, Buffer.from(message.payload), options);
      counters.passed('out');
    }
  }
}
