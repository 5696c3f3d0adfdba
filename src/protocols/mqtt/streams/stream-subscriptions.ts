/**
 * Subscriptions to streams of all sessions of one worker. Loaded with the first subscription to a stream on the worker. Thread: one
 * connection worker.
 */
import type { QueueContext } from '../../../core/queues/queue-context.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { Feeds, type FeedsHost, type StreamSubscriptionsOptions } from './feeds.ts';
import { StreamNames } from './stream-names.ts';
import { isStreamPath, type StreamFrom } from './stream-path.ts';

export class StreamSubscriptions implements FeedsHost {
  readonly options: StreamSubscriptionsOptions;
  readonly names: StreamNames;
  readonly context: QueueContext;
  /** Positions that are being stored, by group; each ends without an error. */
  readonly storing = new Map<string, Promise<void>>();
  private feedCount = 0;

  constructor(options: StreamSubscriptionsOptions) {
    this.options = options;
    this.names = new StreamNames(options.store);
    this.context = {
      clock: { now: () => Date.now(), monotonic: () => performance.now() },
      timers: options.timers,
      random: Math.random,
      defer: (task) => setImmediate(task),
    };
  }

  /**
   * Begins to read for a new subscription; answers the granted QoS when its place in the stream is certain, or why it is refused. Never
   * rejects. `from` undefined: the path says it, or nobody.
   */
  subscribe(
    session: Session,
    path: string,
    options: SubscriptionOptions,
    from: StreamFrom | undefined,
  ): Promise<number> {
    return this.feedsOf(session).open(path, options, from);
  }

  /** The client of a session is back: its subscriptions go on. */
  resume(session: Session): void {
    const feeds = this.feedsOf(session);
    feeds.attach();
    for (const { path, options } of session.subscriptions.values())
      if (isStreamPath(path)) void feeds.resume(path, options);
  }

  countFeeds(change: number): void {
    this.feedCount += change;
    this.options.metrics.setFeeds(this.feedCount);
  }

  private feedsOf(session: Session): Feeds {
    if (session.feeds instanceof Feeds) return session.feeds;
    const feeds = new Feeds(this, session);
    session.feeds = feeds;
    return feeds;
  }
}
