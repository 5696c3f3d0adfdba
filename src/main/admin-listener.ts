/**
 * The HTTP port of a node: the administration API over the adapter that loads here. Main thread, started by the broker.
 *
 * Imported lazily by the broker, so that its modules load while the workers start.
 */

import type { MembersSource } from '../admin/api/cluster-members.ts';
import type { Health } from '../admin/api/health.ts';
import { adminRoutes } from '../admin/api/routes.ts';
import { chooseHttpAdapter } from '../net/http/choose.ts';
import type { HttpListener, HttpRequest, HttpResponse, HttpRoute } from '../net/http/port.ts';
import { type MetricFamily, type MetricsSource, renderExposition } from '../observability/exposition.ts';
import type { Logger } from '../observability/log.ts';
import { collectProcessMetrics } from '../observability/process-metrics.ts';
import type { TaskPool } from '../workers/task-pool.ts';

export interface AdminListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly adapter: 'auto' | 'uws' | 'node';
  readonly version: string;
  readonly health: Health;
  readonly counters: readonly MetricsSource[];
  readonly placement: MembersSource;
  readonly tasks: TaskPool;
  readonly log: Logger;
}

const LIMITS = {
  bodyBytesMax: 65_536,
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
    routes: routesOf(options),
    limits: LIMITS,
    onHandlerError: (error: unknown, request: HttpRequest) => {
      log.error('HTTP handler failed', { path: request.path, error });
    },
  });
}

function routesOf({ version, health, counters, placement, tasks }: AdminListenerOptions): readonly HttpRoute[] {
  let processFamilies: readonly MetricFamily[] = [];
  const metrics = { exposition: () => renderExposition(counters, processFamilies) };
  const routes = adminRoutes({ identity: { name: 'ringmq', version }, health, metrics, placement });
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
