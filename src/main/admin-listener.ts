/**
 * The HTTP port of a node: the administration API over the adapter that loads here. Main thread, started by the broker.
 *
 * Imported lazily by the broker, so that its modules load while the workers start.
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
import { chooseHttpAdapter } from '../net/http/choose.ts';
import type { HttpListener, HttpRequest, HttpResponse, HttpRoute } from '../net/http/port.ts';
import { type MetricFamily, type MetricsSource, renderExposition } from '../observability/exposition.ts';
import type { Logger } from '../observability/log.ts';
import { collectProcessMetrics } from '../observability/process-metrics.ts';
import type { TaskPool } from '../workers/task-pool.ts';
import type { AccessService } from './access/access-service.ts';
import { createAdminAuthenticator } from './access/admin-authenticator.ts';

export interface AdminListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly adapter: 'auto' | 'uws' | 'node';
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

const LIMITS = {
  /** Records come as JSON, and those that are no text as base64. */
  bodyBytesMax: 4 * 1024 * 1024,
  connectionsMax: 1_000,
  requestTimeoutMs: 10_000,
  keepAliveTimeoutMs: 60_000,
};
/** Compressing less than this is not worth a thread. */
const COMPRESSED_BYTES_MIN = 65_536;

/** Rejects with `HTTP_LISTEN_FAILED` or `HTTP_ADAPTER_UNAVAILABLE`. */
export async function startAdminListener(options: AdminListenerOptions): Promise<HttpListener> {
  const { host, port, log } = options;
  const { adapter, reason } = await chooseHttpAdapter(options.adapter);
  log.info('HTTP adapter chosen', { adapter: adapter.name, reason });
  return adapter.listen({
    host,
    port,
    routes: guarded(options),
    limits: LIMITS,
    onHandlerError: (error: unknown, request: HttpRequest) => {
      log.error('HTTP handler failed', { path: request.path, error });
    },
  });
}

/** On loopback against web pages of other names, elsewhere against strangers; `http.authentication` may say otherwise. */
function guarded(options: AdminListenerOptions): readonly HttpRoute[] {
  const { host, authentication, token, access, log } = options;
  const isLocal = isLoopback(host);
  const isAsked = authentication === 'required' || (authentication === 'auto' && !isLocal);
  if (!isAsked && !isLocal) log.warn('Administration API is open to everybody who reaches it', { host });
  const authenticator = isAsked ? createAdminAuthenticator(access.administrators, token) : null;
  const routes = guardAccess(routesOf(options), { authenticator, log });
  return isLocal ? guardHost(routes) : routes;
}

function routesOf(options: AdminListenerOptions): readonly HttpRoute[] {
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
