/** The limits of subscriptions: of the filter, of the session, of the tenant. Thread: the connection's worker. */
import type { LimitKind } from '../../../observability/limit-metrics.ts';
import type { ClientState } from '../handlers/client-state.ts';
import type { Session } from '../state/session.ts';

/** The limit that one more subscription would be beyond, or null. */
export function subscriptionLimit({ host, place }: ClientState, session: Session, filter: string): LimitKind | null {
  const beyond = host.topicLimits.beyond(filter);
  if (beyond !== null) return beyond;
  const ofClass = place?.own?.subscriptionsMax ?? 0;
  const { subscriptionsMax } = host.settings;
  const max = ofClass > 0 ? Math.min(ofClass, subscriptionsMax) : subscriptionsMax;
  if (session.subscriptions.size >= max) return 'client-subscriptions';
  return session.subscriptionCount?.isFull === true ? 'tenant-subscriptions' : null;
}

/** From now on what the session subscribes to counts for its tenant, until the session ends. */
export function startCounting({ place }: ClientState, session: Session): void {
  if (session.subscriptionCount !== null || place === null || place.subscriptions === null) return;
  session.subscriptionCount = place.subscriptions;
  session.subscriptionCount.add(session.subscriptions.size);
}
