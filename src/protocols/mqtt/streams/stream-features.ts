/**
 * What the protocol does with streams and later, as one worker has it: bindings, delayed publications, subscriptions to streams. Made at the
 * start of a connection worker; what nobody has configured or used yet is not loaded.
 */
import type { ProtocolContext } from '../../../core/ports/protocol.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { DelayedMetrics } from '../delayed/delayed-metrics.ts';
import { DelayedPublishing } from '../delayed/delayed-publishing.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import type { MqttSettings } from '../settings.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { Bindings, type CopyTap } from './bindings.ts';
import { StreamMetrics } from './stream-metrics.ts';
import { isStreamPath, type StreamFrom } from './stream-path.ts';
import type { StreamSubscriptions } from './stream-subscriptions.ts';

export interface StreamFeatures {
  /** Null when nothing is copied. */
  readonly bindings: Bindings | null;
  /** Null when nothing can be delayed. */
  readonly delayed: DelayedPublishing | null;
  readonly streams: StreamReading;
}

export interface StreamFeaturesParts {
  readonly settings: MqttSettings;
  readonly ownPublisher: OwnPublisher;
  readonly delivery: Delivery;
  /** Others who copy publications. */
  readonly taps: readonly CopyTap[];
}

export function createStreamFeatures(context: ProtocolContext, parts: StreamFeaturesParts): StreamFeatures {
  const { settings, ownPublisher, delivery, taps } = parts;
  const { workerIndex, storage: store, services, control, access, router, timers, log } = context;
  const metrics = new StreamMetrics(context.metrics);
  const bindings =
    settings.bindings.length + taps.length === 0
      ? null
      : new Bindings({ bindings: settings.bindings, taps, workerIndex, store, control, metrics, log });
  ownPublisher.bindings = bindings;
  const delayed = settings.delayed.enabled
    ? new DelayedPublishing({
        ...{ workerIndex, settings: settings.delayed, router, ownPublisher, store },
        ...{ services, control, access, timers, metrics: new DelayedMetrics(context.metrics), log },
      })
    : null;
  const streams = new StreamReading(settings.streams.subscriptions, async () => {
    const { StreamSubscriptions: Subscriptions } = await import('./stream-subscriptions.ts');
    return new Subscriptions({ settings: settings.streams, store, services, delivery, timers, metrics, log });
  });
  return { bindings, delayed, streams };
}

/** Subscriptions to streams, loaded with the first one. */
export class StreamReading {
  private readonly isEnabled: boolean;
  private readonly load: () => Promise<StreamSubscriptions>;
  private loaded: Promise<StreamSubscriptions> | null = null;

  constructor(isEnabled: boolean, load: () => Promise<StreamSubscriptions>) {
    this.isEnabled = isEnabled;
    this.load = load;
  }

  /** Answers the granted QoS when the place in the stream is certain, or why it is refused. Never rejects. */
  async subscribe(
    session: Session,
    path: string,
    options: SubscriptionOptions,
    from: StreamFrom | undefined,
  ): Promise<number> {
    if (!this.isEnabled) return ReasonCode.TOPIC_FILTER_INVALID;
    return (await this.get()).subscribe(session, path, options, from);
  }

  /** The client of a session is here again: its subscriptions to streams go on. */
  resume(session: Session): void {
    if (!this.isEnabled || !hasStreams(session)) return;
    void this.get().then((subscriptions) => {
      if (session.link !== null) subscriptions.resume(session);
    });
  }

  private get(): Promise<StreamSubscriptions> {
    this.loaded ??= this.load();
    return this.loaded;
  }
}

function hasStreams(session: Session): boolean {
  for (const path of session.subscriptions.keys()) if (isStreamPath(path)) return true;
  return false;
}
