/**
 * Messages that wait for their time: `GET /api/v1/delayed` shows them, `POST …/cancel` takes one back. They are made with the resource about
 * records. Lives on the main thread; asked through the services.
 */
import type { Delayed, DelayedHandle } from '../../core/ports/delayed.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';
import { orServiceFailure } from './services-failure.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/delayed';
const listMax = 1000;

export function delayedRoutes(delayed: Delayed): readonly HttpRoute[] {
  return [
    { method: 'GET', path: PATH, handler: (request) => orServiceFailure(() => list(delayed, request)) },
    { method: 'POST', path: `${PATH}/cancel`, handler: (request) => orServiceFailure(() => cancel(delayed, request)) },
  ];
}

/** A message that waits is known by its time and its number. */
export function delayedId({ number, dueMs }: DelayedHandle): string {
  return `${dueMs}-${number}`;
}

async function list(delayed: Delayed, request: HttpRequest): Promise<HttpResponse> {
  const limit = Fields.ofQuery(request, ['limit']).integer('limit', 100, 1, listMax);
  const { messages, isComplete } = await delayed.list(limit);
  const shown = messages.map((each) => {
    return { id: delayedId(each), dueMs: each.dueMs, partition: each.target, bytes: each.bytes };
  });
  return json(200, { messages: shown, isComplete });
}

async function cancel(delayed: Delayed, request: HttpRequest): Promise<HttpResponse> {
  const fields = Fields.ofBody(request, ['id']);
  const id = fields.text('id');
  const match = /^(\d{1,16})-(\d{1,16})$/.exec(id);
  if (match === null) throw fields.wrong('id', 'is not that of a message that waits');
  const [dueMs, number] = [Number(match[1]), Number(match[2])];
  return json(200, { id, outcome: await delayed.cancel({ dueMs, number }) });
}
