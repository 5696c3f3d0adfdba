/**
 * The members of the placement group. Lives on the main thread.
 *
 * `GET /api/v1/cluster/members` lists them, `POST` there adds a learner; `POST …/members/promote`, `/remove` and
 * `/transfer` take the replica of one. Any node answers: what only the leader can do is passed on to it.
 */
import type { GroupStatus, PlacementNode } from '../../core/ports/placement.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import type { StatusSource } from './cluster-status.ts';
import { orFailure } from './placement-failure.ts';
import { orInvalid, readTexts } from './request.ts';
import { json } from './response.ts';

export type MembersSource = StatusSource &
  Pick<PlacementNode, 'addLearner' | 'promote' | 'remove' | 'transferLeadership'>;

const PATH = '/api/v1/cluster/members';

export function clusterMembersRoutes(source: MembersSource): readonly HttpRoute[] {
  return [
    {
      method: 'GET',
      path: PATH,
      handler: () => orFailure(async () => json(200, await membersOf(source))),
    },
    {
      method: 'POST',
      path: PATH,
      handler: (request) => change(() => source.addLearner(readTexts(request, ['replica', 'name', 'address']))),
    },
    onReplica('promote', (replica) => source.promote(replica)),
    onReplica('remove', (replica) => source.remove(replica)),
    onReplica('transfer', (replica) => source.transferLeadership(replica)),
  ];
}

async function membersOf(source: StatusSource): Promise<object> {
  const { clusterId, leader, members } = await source.freshStatus();
  return { clusterId, leader, members };
}

function onReplica(verb: string, run: (replica: string) => Promise<GroupStatus>): HttpRoute {
  return {
    method: 'POST',
    path: `${PATH}/${verb}`,
    handler: (request: HttpRequest) => change(() => run(readTexts(request, ['replica']).replica)),
  };
}

function change(run: () => Promise<GroupStatus>): Promise<HttpResponse> {
  return orInvalid(() => orFailure(async () => json(200, await run())));
}
