/**
 * Subscriptions whose messages take long. Lives on the main thread; every connection worker is asked for what it knows.
 *
 * `GET /api/v1/slow-subscriptions` lists the slowest pairs of client and topic, `DELETE` there begins a new list.
 */
import type { HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { orInvalid } from './request.ts';
import { json } from './response.ts';
import { Fields } from './streams-fields.ts';

/** How all connection workers are asked. */
export interface WorkerQuestions {
  /** Never rejects. */
  ask(
    subject: string,
    request: unknown,
  ): Promise<{ readonly answers: readonly unknown[]; readonly missingCount: number }>;
}

/** What a worker answers, see `protocols/*` for who does; null: nothing there measures it. */
interface WorkerAnswer {
  readonly isEnabled: boolean;
  readonly slow: readonly { readonly delayMs: number }[];
}

const PATH = '/api/v1/slow-subscriptions';
const SUBJECT = 'slow-subscriptions';
const listMax = 1_000;

export function slowSubscriptionsRoutes(workers: WorkerQuestions): readonly HttpRoute[] {
  return [
    {
      method: 'GET',
      path: PATH,
      handler: (request) => orInvalid(() => list(workers, Fields.ofQuery(request, ['limit']))),
    },
    { method: 'DELETE', path: PATH, handler: () => clear(workers) },
  ];
}

async function list(workers: WorkerQuestions, fields: Fields): Promise<HttpResponse> {
  const limit = fields.integer('limit', 100, 1, listMax);
  const { answers, missingCount } = await workers.ask(SUBJECT, { type: 'list' });
  const known = answers.filter((answer): answer is WorkerAnswer => answer !== null);
  const slow = known.flatMap((answer) => answer.slow).sort((one, other) => other.delayMs - one.delayMs);
  const isEnabled = known.some((answer) => answer.isEnabled);
  return json(200, { isEnabled, subscriptions: slow.slice(0, limit), missingWorkers: missingCount });
}

/** 503 when a worker may still have its list. */
async function clear(workers: WorkerQuestions): Promise<HttpResponse> {
  const { missingCount } = await workers.ask(SUBJECT, { type: 'clear' });
  if (missingCount === 0) return json(200, { cleared: true });
  const message = `${missingCount} connection workers did not answer: ask again`;
  return json(503, { code: 'WORKERS_UNAVAILABLE', message });
}
