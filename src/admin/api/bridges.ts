/**
 * Bridges to other brokers. Lives on the main thread; every connection worker is asked, since each counts for itself, and one of them has
 * the connection.
 *
 * `GET /api/v1/bridges` lists them with their state.
 */
import type { HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';
import type { WorkerQuestions } from './slow-subscriptions.ts';

/** What a worker answers for each bridge, see `protocols/*` for who does. */
interface WorkerBridge {
  readonly name: string;
  readonly droppedOut: number;
  readonly droppedIn: number;
  /** Null: another worker has it. */
  readonly status: object | null;
}

const SUBJECT = 'bridges';

export function bridgesRoutes(workers: WorkerQuestions): readonly HttpRoute[] {
  return [{ method: 'GET', path: '/api/v1/bridges', handler: () => list(workers) }];
}

async function list(workers: WorkerQuestions): Promise<HttpResponse> {
  const { answers, missingCount } = await workers.ask(SUBJECT, null);
  const byName = new Map<string, { droppedOut: number; droppedIn: number; status: object }>();
  for (const answer of answers as readonly (readonly WorkerBridge[] | null)[]) {
    for (const { name, droppedOut, droppedIn, status } of answer ?? []) {
      const sum = byName.get(name) ?? { droppedOut: 0, droppedIn: 0, status: { state: 'unknown' } };
      byName.set(name, {
        droppedOut: sum.droppedOut + droppedOut,
        droppedIn: sum.droppedIn + droppedIn,
        status: status ?? sum.status,
      });
    }
  }
  const bridges = [...byName].map(([name, { status, ...dropped }]) => ({ name, ...status, ...dropped }));
  bridges.sort((one, other) => (one.name < other.name ? -1 : 1));
  return json(200, { bridges, missingWorkers: missingCount });
}
