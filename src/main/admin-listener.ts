/**
 * The HTTP port of a node: opens it over the adapter that loads here. Main thread, started by the broker.
 *
 * Imported lazily by the broker, so that its modules load while the workers start. Those of the API are many, and load when nobody
 * waits for the start any more.
 */
import { chooseHttpAdapter } from '../net/http/choose.ts';
import type { HttpListener, HttpRequest, HttpRoute } from '../net/http/port.ts';
import { toError } from '../std/errors.ts';
import type { AdminRoutesOptions } from './admin-routes.ts';

export interface AdminListenerOptions extends AdminRoutesOptions {
  readonly port: number;
  readonly adapter: 'auto' | 'uws' | 'node';
}

export interface AdminListener extends HttpListener {
  /** Loads the API ahead of the first request. Never rejects: what is wrong is logged, and requests are answered with 500. */
  load(): Promise<void>;
}

const LIMITS = {
  /** Records come as JSON, and those that are no text as base64. */
  bodyBytesMax: 4 * 1024 * 1024,
  connectionsMax: 1_000,
  requestTimeoutMs: 10_000,
  keepAliveTimeoutMs: 60_000,
};

/** Rejects with `HTTP_LISTEN_FAILED` or `HTTP_ADAPTER_UNAVAILABLE`. */
export async function startAdminListener(options: AdminListenerOptions): Promise<AdminListener> {
  const { host, port, log } = options;
  const { adapter, reason } = await chooseHttpAdapter(options.adapter);
  log.info('HTTP adapter chosen', { adapter: adapter.name, reason });
  let loading: Promise<readonly HttpRoute[]> | null = null;
  const routes = (): Promise<readonly HttpRoute[]> => {
    loading ??= import('./admin-routes.ts').then(({ guardedRoutes }) => guardedRoutes(options));
    return loading;
  };
  const listener = await adapter.listen({
    host,
    port,
    routes,
    limits: LIMITS,
    onHandlerError: (error: unknown, request: HttpRequest) => {
      log.error('HTTP handler failed', { path: request.path, error });
    },
  });
  const load = async (): Promise<void> => {
    try {
      await routes();
    } catch (error) {
      log.error('Administration API cannot be loaded', { reason: toError(error).message });
    }
  };
  return { ...listener, load };
}
