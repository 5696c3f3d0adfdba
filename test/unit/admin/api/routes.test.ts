/** The administration API over a real listener: what a scraper or a probe gets. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MembersSource } from '../../../../src/admin/api/cluster-members.ts';
import type { Liveness, Readiness } from '../../../../src/admin/api/health.ts';
import { adminRoutes } from '../../../../src/admin/api/routes.ts';
import type { AccessAdministration } from '../../../../src/core/ports/access-administration.ts';
import { type GroupStatus, PlacementError } from '../../../../src/core/ports/placement.ts';
import { loadHttpAdapter } from '../../../../src/net/http/choose.ts';
import type { HttpListener } from '../../../../src/net/http/port.ts';
import { openMemoryStore } from '../../../../src/storage/memory/memory-store.ts';
import { type LocalServices, startLocalServices } from '../../../support/storage/local-services.ts';

let listener: HttpListener;
let services: LocalServices;
let readiness: Readiness;
let liveness: Liveness;
let errors: unknown[];
let placementCalls: unknown[];
let placementError: PlacementError | null;

/** Nobody and nothing. */
const emptyAccess = {
  users: async () => ({ users: [], hasMore: false }),
  rules: async () => [],
  blocks: async () => [],
  status: () => ({ ruleCount: 0 }),
} as unknown as AccessAdministration;

/** Remembers what it was asked for and answers with one status. */
function fakePlacement(): MembersSource {
  const answer = async (...call: unknown[]): Promise<GroupStatus> => {
    placementCalls.push(call);
    if (placementError !== null) throw placementError;
    return status;
  };
  return {
    freshStatus: () => answer('status'),
    addLearner: (member) => answer('add', member),
    promote: (replica) => answer('promote', replica),
    remove: (replica) => answer('remove', replica),
    transferLeadership: (replica) => answer('transfer', replica),
  };
}

const status: GroupStatus = {
  clusterId: 'c',
  replica: '1',
  leader: '1',
  role: 'leader',
  term: 2,
  commitIndex: 3,
  appliedIndex: 3,
  lastIndex: 3,
  firstIndex: 1,
  revision: 1,
  compactedRevision: 0,
  logBytes: 10,
  stateBytes: 20,
  members: [
    {
      replica: '1',
      name: 'one',
      address: '127.0.0.1:1',
      role: 'voter',
      isLeader: true,
      matchIndex: 3,
      isReachable: true,
    },
  ],
  fault: null,
};

beforeEach(async () => {
  readiness = { ready: false, reason: 'starting' };
  liveness = { alive: true };
  errors = [];
  placementCalls = [];
  placementError = null;
  const storage = await openMemoryStore({ bytesMax: 1_000_000 });
  services = startLocalServices(storage);
  const adapter = await loadHttpAdapter('node');
  listener = await adapter.listen({
    host: '127.0.0.1',
    port: 0,
    routes: adminRoutes({
      identity: { name: 'ringmq', version: '1.2.3' },
      health: { ready: () => readiness, alive: () => liveness },
      metrics: { exposition: () => '# TYPE a counter\na 1\n' },
      placement: fakePlacement(),
      storage,
      services: services.client,
      access: emptyAccess,
    }),
    limits: { bodyBytesMax: 1_000, connectionsMax: 10, requestTimeoutMs: 5_000, keepAliveTimeoutMs: 5_000 },
    onHandlerError: (error) => errors.push(error),
  });
});

afterEach(async () => {
  await listener.stop(0);
  await services.stop();
  expect(errors).toEqual([]);
});

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${listener.port}${path}`, init);
}

describe('adminRoutes()', () => {
  test('GET / says who answers and where the rest is', async () => {
    const response = await ask('/');
    expect(response.status).toBe(200);
    const body = (await response.json()) as { links: string[] };
    const links = [
      ...['/metrics', '/livez', '/readyz', '/api/v1/cluster/status', '/api/v1/cluster/members'],
      ...['/api/v1/streams', '/api/v1/streams/describe', '/api/v1/records', '/api/v1/records/offset'],
      ...['/api/v1/queues', '/api/v1/queues/describe', '/api/v1/queues/dead-letters'],
      ...['/api/v1/groups', '/api/v1/groups/describe', '/api/v1/delayed'],
      ...['/api/v1/transactions', '/api/v1/transactions/describe'],
      ...['/api/v1/users', '/api/v1/acl', '/api/v1/acl/status', '/api/v1/blocks'],
    ];
    expect(body).toEqual({ name: 'ringmq', version: '1.2.3', links });
    for (const link of body.links) expect((await ask(link)).status, link).not.toBe(404);
  });

  test('GET /metrics gives the exposition with its content type', async () => {
    const response = await ask('/metrics?name=a');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await response.text()).toBe('# TYPE a counter\na 1\n');
  });

  test('GET /readyz is 503 with the reason until ready and again while draining', async () => {
    const starting = await ask('/readyz');
    expect([starting.status, await starting.json()]).toEqual([503, { ready: false, reason: 'starting' }]);
    readiness = { ready: true };
    const ready = await ask('/readyz');
    expect([ready.status, await ready.json()]).toEqual([200, { ready: true }]);
    readiness = { ready: false, reason: 'draining' };
    expect((await ask('/readyz')).status).toBe(503);
  });

  test('GET /livez is independent of readiness', async () => {
    expect((await ask('/livez')).status).toBe(200);
    liveness = { alive: false, reason: 'worker 0 stalls' };
    const response = await ask('/livez');
    expect([response.status, await response.json()]).toEqual([503, { alive: false, reason: 'worker 0 stalls' }]);
  });

  test.each(['/', '/metrics', '/livez', '/readyz'])('HEAD %s is GET without the body', async (path) => {
    const [head, get] = [await ask(path, { method: 'HEAD' }), await ask(path)];
    expect(head.status).toBe(get.status);
    expect(head.headers.get('content-length')).toBe(String((await get.arrayBuffer()).byteLength));
    expect(await head.text()).toBe('');
  });

  test.each(['/', '/metrics', '/livez', '/readyz'])('%s has the security headers', async (path) => {
    const { headers } = await ask(path);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toBe('no-store');
  });

  test('other methods and paths are refused', async () => {
    expect((await ask('/metrics', { method: 'POST' })).status).toBe(405);
    expect((await ask('/metrics', { method: 'POST', body: 'x'.repeat(1_001) })).status).toBe(413);
    expect((await ask('/metrics/')).status).toBe(404);
  });
});

describe('resources of the cluster', () => {
  const post = (path: string, body: unknown, type = 'application/json') =>
    ask(path, { method: 'POST', headers: { 'content-type': type }, body: JSON.stringify(body) });

  test('GET /api/v1/cluster/status gives the state of the group, /members its members', async () => {
    expect(await (await ask('/api/v1/cluster/status')).json()).toEqual(status);
    const members = await ask('/api/v1/cluster/members');
    expect(await members.json()).toEqual({ clusterId: 'c', leader: '1', members: status.members });
  });

  test('POST /api/v1/cluster/members adds a learner; promote, remove and transfer take a replica', async () => {
    const member = { replica: '2', name: 'two', address: '127.0.0.1:2' };
    expect((await post('/api/v1/cluster/members', member)).status).toBe(200);
    for (const verb of ['promote', 'remove', 'transfer']) {
      const response = await post(`/api/v1/cluster/members/${verb}`, { replica: '2' });
      expect([response.status, await response.json()]).toEqual([200, status]);
    }
    expect(placementCalls).toEqual([
      ['add', member],
      ['promote', '2'],
      ['remove', '2'],
      ['transfer', '2'],
    ]);
  });

  test('a body that is not exactly what is expected, or not declared as JSON, is refused', async () => {
    const path = '/api/v1/cluster/members/promote';
    const bodies: [unknown, string, string][] = [
      [{}, 'application/json', 'the field "replica" must be a text'],
      [{ replica: 2 }, 'application/json', 'the field "replica" must be a text'],
      [{ replica: '2', force: true }, 'application/json', 'unknown field "force"'],
      [null, 'application/json', 'the body must be an object'],
      [{ replica: '2' }, 'text/plain', 'the content type must be application/json'],
    ];
    for (const [body, type, message] of bodies) {
      const response = await post(path, body, type);
      expect([response.status, await response.json()]).toEqual([400, { code: 'INVALID_ARGUMENT', message }]);
    }
    expect(placementCalls).toEqual([]);
  });

  test('an error of the placement centre becomes a status with its code', async () => {
    placementError = new PlacementError('MEMBERSHIP_REFUSED', 'The last voter cannot be removed');
    const refused = await post('/api/v1/cluster/members/remove', { replica: '1' });
    expect([refused.status, await refused.json()]).toEqual([
      409,
      { code: 'MEMBERSHIP_REFUSED', message: 'The last voter cannot be removed', leaderAddress: null },
    ]);
    placementError = new PlacementError('NO_LEADER', 'No replica leads the group');
    expect((await ask('/api/v1/cluster/status')).status).toBe(503);
  });
});
