/**
 * Retained messages. Lives on the main thread; one of the connection workers, which all have them, is asked.
 *
 * `GET /api/v1/retained` lists those of a tenant by filter, page by page; `GET …/value` shows one, `POST …/delete` removes one.
 */
import { filterError, topicError } from '../../core/routing/topic.ts';
import { innerName } from '../../core/tenants/tenant-names.ts';
import type { HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { tenantOf } from './access-fields.ts';
import { orInvalid } from './request.ts';
import { json } from './response.ts';
import type { WorkerQuestions } from './slow-subscriptions.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/retained';
const SUBJECT = 'retained';
const listMax = 1_000;
/** Questions for one page: where little matches, the rest of the way is for the next page. */
const questionsMax = 50;

/** What the worker answers, see `protocols/*` for who does. */
type WorkerAnswer =
  | { readonly type: 'page'; readonly values: readonly unknown[]; readonly cursor: string | null }
  | { readonly type: 'value'; readonly value: object; readonly payload: string }
  | { readonly type: 'deleted' | 'unknown' | 'busy' | 'stale' | 'loading' };

export function retainedRoutes(workers: WorkerQuestions): readonly HttpRoute[] {
  return [
    {
      method: 'GET',
      path: PATH,
      handler: (request) =>
        orInvalid(() => list(workers, Fields.ofQuery(request, ['tenant', 'filter', 'limit', 'cursor']))),
    },
    {
      method: 'GET',
      path: `${PATH}/value`,
      handler: (request) => orInvalid(() => one(workers, 'get', Fields.ofQuery(request, ['tenant', 'topic']))),
    },
    {
      method: 'POST',
      path: `${PATH}/delete`,
      handler: (request) => orInvalid(() => one(workers, 'delete', Fields.ofBody(request, ['tenant', 'topic']))),
    },
  ];
}

async function list(workers: WorkerQuestions, fields: Fields): Promise<HttpResponse> {
  const filter = fields.value('filter') === undefined ? '#' : fields.text('filter');
  const problem = filterError(filter);
  if (problem !== undefined) throw fields.wrong('filter', `is no topic filter: ${problem}`);
  const inner = innerName(tenantOf(fields), filter);
  const limit = fields.integer('limit', 100, 1, listMax);
  let cursor = fields.value('cursor') === undefined ? null : fields.text('cursor');
  const values: unknown[] = [];
  for (let questions = 0; questions < questionsMax; questions++) {
    const answer = await ask(workers, { type: 'list', filter: inner, limit: limit - values.length, cursor });
    if (answer?.type === 'stale') return json(410, stale);
    if (answer?.type !== 'page') return unavailable(answer);
    values.push(...answer.values);
    cursor = answer.cursor;
    if (cursor === null || values.length >= limit) break;
  }
  return json(200, { values, cursor });
}

async function one(workers: WorkerQuestions, type: 'get' | 'delete', fields: Fields): Promise<HttpResponse> {
  const topic = fields.text('topic');
  const problem = topicError(topic);
  if (problem !== undefined) throw fields.wrong('topic', `is no topic: ${problem}`);
  const answer = await ask(workers, { type, topic: innerName(tenantOf(fields), topic) });
  if (answer?.type === 'unknown') {
    return json(404, {
      code: 'RETAINED_UNKNOWN',
      message: `Cannot find a retained message of ${JSON.stringify(topic)}`,
    });
  }
  if (answer?.type === 'value') return json(200, { ...answer.value, payload: answer.payload });
  return answer?.type === 'deleted' ? json(200, { topic, deleted: true }) : unavailable(answer);
}

/** The answer of the worker that answers for all; null when it is being replaced. */
async function ask(workers: WorkerQuestions, request: object): Promise<WorkerAnswer | null> {
  const { answers } = await workers.ask(SUBJECT, request);
  const found = answers.find((answer) => answer !== null);
  return (found as WorkerAnswer | undefined) ?? null;
}

const stale = { code: 'CURSOR_UNKNOWN', message: 'The list is not under way any more: begin anew without a cursor' };

function unavailable(answer: WorkerAnswer | null): HttpResponse {
  const reason = answer?.type === 'loading' ? 'they are being read' : 'a connection worker is busy or being replaced';
  return json(503, { code: 'WORKERS_UNAVAILABLE', message: `Cannot look at retained messages: ${reason}; ask again` });
}
