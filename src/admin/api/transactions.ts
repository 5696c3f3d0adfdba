/**
 * Transactional producers: `GET /api/v1/transactions` lists them, `GET …/describe?name=` shows one, `POST …/abort` gives up what it has under
 * way. Lives on the main thread; asked through the services.
 */
import type { TransactionDescription, Transactions } from '../../core/ports/transactions.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';
import { orServiceFailure } from './services-failure.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/transactions';

export function transactionsRoutes(transactions: Transactions): readonly HttpRoute[] {
  const route = (method: 'GET' | 'POST', path: string, handle: (request: HttpRequest) => Promise<HttpResponse>) => {
    return { method, path, handler: (request: HttpRequest) => orServiceFailure(() => handle(request)) };
  };
  return [
    route('GET', PATH, (request) => list(transactions, request)),
    route('GET', `${PATH}/describe`, async (request) => {
      return json(200, toJson(await transactions.describe(Fields.ofQuery(request, ['name']).text('name'))));
    }),
    route('POST', `${PATH}/abort`, async (request) => {
      const name = Fields.ofBody(request, ['name']).text('name');
      await transactions.abort(name);
      return json(200, toJson(await transactions.describe(name)));
    }),
  ];
}

/** With `open` those alone that have a transaction under way. */
async function list(transactions: Transactions, request: HttpRequest): Promise<HttpResponse> {
  const isOpenOnly = Fields.ofQuery(request, ['open']).flag('open');
  const found = (await transactions.list()).filter(({ state }) => !isOpenOnly || isOpen(state));
  return json(200, { transactions: found.map(toJson) });
}

function isOpen(state: TransactionDescription['state']): boolean {
  return state === 'ongoing' || state.startsWith('prepare');
}

function toJson({ name, state, producer, timeoutMs, startedMs, partitions, groups }: TransactionDescription): object {
  const ageMs = startedMs === 0 ? null : Math.max(0, Date.now() - startedMs);
  return { name, state, ...producer, timeoutMs, ageMs, partitions, groups };
}
