/** `GET /livez`: 200 while the process works, 503 with the reason otherwise. Lives on the main thread. */
import type { HttpRoute } from '../../net/http/port.ts';
import type { Health } from './health.ts';
import { json } from './response.ts';

export function livezRoute(health: Health): HttpRoute {
  return {
    method: 'GET',
    path: '/livez',
    handler: () => {
      const liveness = health.alive();
      return json(liveness.alive ? 200 : 503, liveness);
    },
  };
}
