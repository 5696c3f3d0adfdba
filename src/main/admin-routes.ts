/**
 * The routes of a node's HTTP port: the administration API with who may use it, and `/metrics` compressed. Main thread; loaded by
 * `admin-listener.ts` when the node serves, or with the first request.
 */
import { BlockList, isIP } from 'node:net';
import { guardAccess } from '../admin/api/authentication.ts';
import type { MembersSource } from '../admin/api/cluster-members.ts';
import type { Health } from '../admin/api/health.ts';
import { guardHost } from '../admin/api/host-guard.ts';
import type { ListenersSource } from '../admin/api/listeners.ts';
import { adminRoutes } from '../admin/api/routes.ts';
import type { WorkerQuestions } from '../admin/api/slow-subscriptions.ts';
import type { AlarmSource } from '../core/ports/alarms.ts';
import type { BrokerServices } from '../core/ports/services.ts';
import type { StreamStore } from '../core/ports/stream-store.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../net/http/port.ts';
import { type MetricFamily, type MetricsSource, renderExposition } from '../observability/exposition.ts';
import type { Logger } from '../observability/log.ts';
import { collectProcessMetrics } from '../observability/process-metrics.ts';
import type { TaskPool } from '../workers/task-pool.ts';
import type { AccessService } from './access/access-service.ts';
import { createAdminAuthenticator } from './access/admin-authenticator.ts';

export interface AdminRoutesOptions {
  /** Where they are reached. */
  readonly host: string;
  readonly authentication: 'auto' | 'required' | 'none';
  /** Null: none. */
  readonly token: string | null;
  readonly version: string;
  readonly health: Health;
  readonly counters: readonly MetricsSource[];
  readonly placement: MembersSource;
  readonly storage: StreamStore;
  readonly services: BrokerServices;
  readonly listeners: ListenersSource;
  readonly alarms: AlarmSource;
  readonly workers: WorkerQuestions;
  readonly tasks: TaskPool;
  readonly access: AccessService;
  readonly log: Logger;
}

/** Compressing less than this is not worth a thread. */
const COMPRESSED_BYTES_MIN = 65_536;

/** On loopback against web pages of other names, elsewhere against strangers; `http.authentication` may say otherwise. */
export function guardedRoutes(options: AdminRoutesOptions): readonly HttpRoute[] {
  const { host, authentication, token, access, log } = options;
  const isLocal = isLoopback(host);
  const isAsked = authentication === 'required' || (authentication === 'auto' && !isLocal);
  if (!isAsked && !isLocal) log.warn('Administration API is open to everybody who reaches it', { host });
  const authenticator = isAsked ? createAdminAuthenticator(access.administrators, token) : null;
  const routes = guardAccess(routesOf(options), { authenticator, log });
  return isLocal ? guardHost(routes) : routes;
}

function routesOf(options: AdminRoutesOptions): readonly HttpRoute[] {
  const { version, health, counters, placement, storage, services, listeners, alarms, workers, tasks, access } =
    options;
  let processFamilies: readonly MetricFamily[] = [];
  const metrics = { exposition: () => renderExposition(counters, processFamilies) };
  const { administration } = access;
  const identity = { name: 'ringmq', version };
  const own = { access: administration, listeners, alarms, workers };
  const sources = { identity, health, metrics, placement, storage, services, ...own };
  const routes = adminRoutes(sources);
  return routes.map((route) => {
    if (route.path !== '/metrics') return route;
    const handler = async (request: HttpRequest): Promise<HttpResponse> => {
      // Asking the operating system takes a while, so it is done before the exposition is made, not within.
      processFamilies = await collectProcessMetrics(version);
      return compress(request, await route.handler(request), tasks);
    };
    return { ...route, handler };
  });
}

/** Thousands of series repeat the same words: a twentieth of the bytes, at a cost that the main thread need not bear. */
async function compress(request: HttpRequest, response: HttpResponse, tasks: TaskPool): Promise<HttpResponse> {
  const { body, headers } = response;
  if (typeof body !== 'string' || body.length < COMPRESSED_BYTES_MIN) return response;
  if (!/\bgzip\b/.test(request.headers.get('accept-encoding') ?? '')) return response;
  const compressed = await tasks.run('gzip', body);
  return {
    ...response,
    headers: { ...headers, 'content-encoding': 'gzip', vary: 'accept-encoding' },
    body: compressed,
  };
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

function isLoopback(host: string): boolean {
  const version = isIP(host);
  return host === 'localhost' || (version !== 0 && loopback.check(host, version === 4 ? 'ipv4' : 'ipv6'));
}
