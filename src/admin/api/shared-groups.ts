/**
 * Groups of shared subscriptions that messages are kept for. Lives on the main thread; every connection worker is asked for those that it
 * owns.
 *
 * `GET /api/v1/shared-groups` lists them, those with most messages that wait first.
 */
import type { HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { orInvalid, RequestInvalidError } from './request.ts';
import { json } from './response.ts';
import type { WorkerQuestions } from './slow-subscriptions.ts';
import { Fields } from './streams-fields.ts';

/** A group as its worker knows it; see `core/sessions/groups/group-figures.ts`. */
interface WorkerGroup {
  readonly name: string;
  readonly waiting: number;
}

/** What a worker answers; null: it stores no sessions. */
interface WorkerAnswer {
  readonly count: number;
  readonly groups: readonly WorkerGroup[];
}

const SUBJECT = 'shared-groups';
const listMax = 1_000;
const nameMax = 65_535;

export function sharedGroupsRoutes(workers: WorkerQuestions): readonly HttpRoute[] {
  return [
    {
      method: 'GET',
      path: '/api/v1/shared-groups',
      handler: (request) => orInvalid(() => list(workers, Fields.ofQuery(request, ['limit', 'name']))),
    },
  ];
}

async function list(workers: WorkerQuestions, fields: Fields): Promise<HttpResponse> {
  const limit = fields.integer('limit', 100, 1, listMax);
  const name = fields.value('name') === undefined ? null : fields.text('name');
  if (name !== null && name.length > nameMax)
    throw new RequestInvalidError(`"name" has more than ${nameMax} characters`);
  const { answers, missingCount } = await workers.ask(SUBJECT, { limit, name });
  const known = answers.filter((answer): answer is WorkerAnswer => answer !== null);
  const groups = known.flatMap((answer) => answer.groups).sort((one, other) => other.waiting - one.waiting);
  const count = known.reduce((sum, answer) => sum + answer.count, 0);
  return json(200, { groups: groups.slice(0, limit), count, missingWorkers: missingCount });
}
