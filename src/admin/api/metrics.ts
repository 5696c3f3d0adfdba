/** `GET /metrics`: all counters in the Prometheus text format. Lives on the main thread; registered by `routes.ts`. */
import type { HttpRoute } from '../../net/http/port.ts';
import { text } from './response.ts';

export interface MetricsSource {
  /** The exposition as text of version 0.0.4, made anew for each scrape. */
  exposition(): string;
}

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export function metricsRoute(source: MetricsSource): HttpRoute {
  return { method: 'GET', path: '/metrics', handler: () => text(200, CONTENT_TYPE, source.exposition()) };
}
