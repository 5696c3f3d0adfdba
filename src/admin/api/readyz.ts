/** `GET /readyz`: 200 while new clients are welcome, 503 with the reason otherwise. Lives on the main thread. */
import type { HttpRoute } from '../../net/http/port.ts';
import type { Health } from './health.ts';
import { json } from './response.ts';

export function readyzRoute(health: Health): HttpRoute {
  return {
    method: 'GET',
    path: '/readyz',
    handler: () => {
      const readiness = health.ready();
      return json(readiness.ready ? 200 : 503, readiness);
    },
  };
}
