/**
 * Alarms of the node. Lives on the main thread.
 *
 * `GET /api/v1/alarms` lists those that are active, `GET …/history` those that are over, newest first, `DELETE …/history` forgets them. An
 * active alarm ends with its reason and by nothing else.
 */
import type { AlarmSource } from '../../core/ports/alarms.ts';
import type { HttpRoute } from '../../net/http/port.ts';
import { orInvalid } from './request.ts';
import { json } from './response.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/alarms';
const HISTORY_PATH = `${PATH}/history`;
const listMax = 1_000;

export function alarmsRoutes(alarms: AlarmSource): readonly HttpRoute[] {
  return [
    { method: 'GET', path: PATH, handler: () => json(200, { alarms: alarms.active() }) },
    {
      method: 'GET',
      path: HISTORY_PATH,
      handler: (request) =>
        orInvalid(async () => {
          const limit = Fields.ofQuery(request, ['limit']).integer('limit', 100, 1, listMax);
          const all = alarms.history();
          return json(200, { alarms: all.slice(0, limit), isComplete: all.length <= limit });
        }),
    },
    { method: 'DELETE', path: HISTORY_PATH, handler: () => json(200, { deleted: alarms.clearHistory() }) },
  ];
}
