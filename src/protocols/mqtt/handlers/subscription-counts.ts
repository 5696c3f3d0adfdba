/**
 * How many subscriptions and subscribers there are on a connection worker: of sessions in memory, counted here as they come and go, and of
 * stored sessions, connected or not, which their slots count. One per worker, on its thread.
 */
import type { SubscriptionCounts as StoredCounts } from '../../../core/sessions/session-table.ts';
import type { MqttMetrics } from '../metrics.ts';
import type { Session } from '../state/session.ts';

const none: StoredCounts = { subscriptions: 0, shared: 0, subscribers: 0 };

export class SubscriptionCounts {
  readonly #metrics: MqttMetrics;
  /** Undefined: no session is stored. */
  readonly #stored: () => StoredCounts | undefined;
  readonly #live = { subscriptions: 0, shared: 0, subscribers: 0 };

  constructor(metrics: MqttMetrics, stored: () => StoredCounts | undefined) {
    this.#metrics = metrics;
    this.#stored = stored;
  }

  /** A subscription that the session has now. */
  added({ isKept, subscriptions }: Session, isShared: boolean): void {
    if (!isKept) this.#count(1, isShared, subscriptions.size === 1);
    this.update();
  }

  /** A subscription that the session had; `isLast`: it has no other one. */
  removed({ isKept }: Session, isShared: boolean, isLast: boolean): void {
    if (!isKept) this.#count(-1, isShared, isLast);
    this.update();
  }

  /** Writes the figures down. Those of stored sessions change without a word when something has been stored. */
  update(): void {
    const { block, subscriptions, sharedSubscriptions, subscribers, durableSubscriptions } = this.#metrics;
    const stored = this.#stored() ?? none;
    const live = this.#live;
    block.set(subscriptions, live.subscriptions + stored.subscriptions);
    block.set(sharedSubscriptions, live.shared + stored.shared);
    block.set(subscribers, live.subscribers + stored.subscribers);
    block.set(durableSubscriptions, stored.subscriptions);
  }

  #count(by: 1 | -1, isShared: boolean, isOther: boolean): void {
    const live = this.#live;
    live.subscriptions += by;
    if (isShared) live.shared += by;
    if (isOther) live.subscribers += by;
  }
}
