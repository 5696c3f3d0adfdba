/** `GET /api/v1/cluster/status`: the placement group as this node sees it. Lives on the main thread. */
import type { GroupStatus } from '../../core/ports/placement.ts';
import type { HttpRoute } from '../../net/http/port.ts';
import { orFailure } from './placement-failure.ts';
import { json } from './response.ts';

/** What the resources about the cluster need; the placement client of the main thread has it. */
export interface StatusSource {
  freshStatus(): Promise<GroupStatus>;
}

export function clusterStatusRoute(source: StatusSource): HttpRoute {
  return {
    method: 'GET',
    path: '/api/v1/cluster/status',
    handler: () => orFailure(async () => json(200, await source.freshStatus())),
  };
}
