/** The administration API as a route table, one file per resource. Called once on the main thread before it listens. */
import type { StreamStore } from '../../core/ports/stream-store.ts';
import { StreamCatalog } from '../../core/streams/stream-catalog.ts';
import type { HttpRoute } from '../../net/http/port.ts';
import { clusterMembersRoutes, type MembersSource } from './cluster-members.ts';
import { clusterStatusRoute } from './cluster-status.ts';
import type { Health } from './health.ts';
import { livezRoute } from './livez.ts';
import { type MetricsSource, metricsRoute } from './metrics.ts';
import { readyzRoute } from './readyz.ts';
import { recordsRoutes } from './records.ts';
import { type Identity, rootRoute } from './root.ts';
import { streamsRoutes } from './streams.ts';

export interface AdminSources {
  readonly identity: Identity;
  readonly health: Health;
  readonly metrics: MetricsSource;
  readonly placement: MembersSource;
  readonly storage: StreamStore;
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
    ...recordsRoutes(catalog),
  ];
  const links = resources.filter(({ method }) => method === 'GET').map(({ path }) => path);
  return [rootRoute(sources.identity, links), ...resources];
}
