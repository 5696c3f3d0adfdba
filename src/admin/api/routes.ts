/** The administration API as a route table, one file per resource. Called once on the main thread before it listens. */
import type { AccessAdministration } from '../../core/ports/access-administration.ts';
import type { AlarmSource } from '../../core/ports/alarms.ts';
import type { BrokerServices } from '../../core/ports/services.ts';
import type { StreamStore } from '../../core/ports/stream-store.ts';
import { StreamCatalog } from '../../core/streams/stream-catalog.ts';
import type { HttpRoute } from '../../net/http/port.ts';
import { aclRoutes } from './acl.ts';
import { alarmsRoutes } from './alarms.ts';
import { blocksRoutes } from './blocks.ts';
import { bridgesRoutes } from './bridges.ts';
import { clusterMembersRoutes, type MembersSource } from './cluster-members.ts';
import { clusterStatusRoute } from './cluster-status.ts';
import { deadLettersRoutes } from './dead-letters.ts';
import { delayedRoutes } from './delayed.ts';
import { groupsRoutes } from './groups.ts';
import type { Health } from './health.ts';
import { type ListenersSource, listenersRoutes } from './listeners.ts';
import { livezRoute } from './livez.ts';
import { type MetricsSource, metricsRoute } from './metrics.ts';
import { queuesRoutes } from './queues.ts';
import { readyzRoute } from './readyz.ts';
import { recordsRoutes } from './records.ts';
import { retainedRoutes } from './retained.ts';
import { type Identity, rootRoute } from './root.ts';
import { sharedGroupsRoutes } from './shared-groups.ts';
import { slowSubscriptionsRoutes, type WorkerQuestions } from './slow-subscriptions.ts';
import { streamsRoutes } from './streams.ts';
import { transactionsRoutes } from './transactions.ts';
import { usersRoutes } from './users.ts';

export interface AdminSources {
  readonly identity: Identity;
  readonly health: Health;
  readonly metrics: MetricsSource;
  readonly placement: MembersSource;
  readonly storage: StreamStore;
  readonly services: BrokerServices;
  readonly access: AccessAdministration;
  /** Absent where nothing listens but HTTP. */
  readonly listeners?: ListenersSource;
  /** Absent where nothing raises alarms. */
  readonly alarms?: AlarmSource;
  /** Absent where there are no connection workers. */
  readonly workers?: WorkerQuestions;
}

export function adminRoutes(sources: AdminSources): readonly HttpRoute[] {
  const catalog = new StreamCatalog(sources.storage);
  const resources = [
    metricsRoute(sources.metrics),
    livezRoute(sources.health),
    readyzRoute(sources.health),
    clusterStatusRoute(sources.placement),
    ...clusterMembersRoutes(sources.placement),
    ...streamsRoutes(sources.storage, catalog),
    ...recordsRoutes(catalog, sources.services.delayed),
    ...queuesRoutes(sources.services.queues, catalog),
    ...deadLettersRoutes(sources.services, sources.storage),
    ...groupsRoutes(sources.services.cursors, sources.storage, catalog),
    ...delayedRoutes(sources.services.delayed),
    ...transactionsRoutes(sources.services.transactions),
    ...usersRoutes(sources.access),
    ...aclRoutes(sources.access),
    ...blocksRoutes(sources.access),
    ...(sources.listeners === undefined ? [] : listenersRoutes(sources.listeners)),
    ...(sources.alarms === undefined ? [] : alarmsRoutes(sources.alarms)),
    ...(sources.workers === undefined ? [] : slowSubscriptionsRoutes(sources.workers)),
    ...(sources.workers === undefined ? [] : retainedRoutes(sources.workers)),
    ...(sources.workers === undefined ? [] : bridgesRoutes(sources.workers)),
    ...(sources.workers === undefined ? [] : sharedGroupsRoutes(sources.workers)),
  ];
  const links = resources.filter(({ method }) => method === 'GET').map(({ path }) => path);
  return [rootRoute(sources.identity, links), ...resources];
}
