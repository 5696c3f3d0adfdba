/**
 * Rules of access. Lives on the main thread.
 *
 * `GET /api/v1/acl` lists them in the order in which they are asked, `POST` there adds one, `POST …/delete` takes its name.
 * `POST …/check` asks them as if a client did and says which one decided, `GET …/status` says whether they are in force.
 */
import { type AccessRule, accessActions } from '../../core/ports/access.ts';
import type { AccessAdministration } from '../../core/ports/access-administration.ts';
import type { HttpRequest, HttpRoute } from '../../net/http/port.ts';
import { accessRoute } from './access-failure.ts';
import { tenantOf, textOr, textsOf, wordIn, wordOf, wordsOf } from './access-fields.ts';
import { json } from './response.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/acl';
const orderDefault = 1_000;
const orderMax = 1_000_000_000;
const whoNames = ['users', 'groups', 'clients', 'addresses'];
const ruleNames = ['tenant', 'name', 'permission', 'actions', ...whoNames, 'topics', 'exact', 'qos', 'retain'];

export function aclRoutes(access: AccessAdministration): readonly HttpRoute[] {
  return [
    accessRoute('GET', PATH, async (request) =>
      json(200, { rules: await access.rules(tenantOf(Fields.ofQuery(request, ['tenant']))) }),
    ),
    accessRoute('POST', PATH, async (request) => {
      const fields = Fields.ofBody(request, [...ruleNames, 'order', 'description']);
      const rule = ruleOf(fields);
      await access.addRule(rule, fields.integer('order', orderDefault, 0, orderMax), textOr(fields, 'description', ''));
      return json(201, { name: rule.rule });
    }),
    accessRoute('POST', `${PATH}/delete`, async (request) => {
      const fields = Fields.ofBody(request, ['tenant', 'name']);
      const name = fields.text('name');
      await access.deleteRule(tenantOf(fields), name);
      return json(200, { name });
    }),
    accessRoute('POST', `${PATH}/check`, async (request) => json(200, await check(access, request))),
    accessRoute('GET', `${PATH}/status`, async () => json(200, access.status())),
  ];
}

function ruleOf(fields: Fields): AccessRule {
  const qos = fields.value('qos') ?? [];
  if (!Array.isArray(qos) || qos.some((each) => each !== 0 && each !== 1 && each !== 2)) {
    throw fields.wrong('qos', 'must be a list of 0, 1 and 2');
  }
  return {
    tenant: tenantOf(fields),
    rule: fields.text('name'),
    permission: wordIn(fields, 'permission', ['allow', 'deny']),
    actions: wordsOf(fields, 'actions', accessActions) ?? [],
    users: textsOf(fields, 'users') ?? [],
    groups: textsOf(fields, 'groups') ?? [],
    clients: textsOf(fields, 'clients') ?? [],
    addresses: textsOf(fields, 'addresses') ?? [],
    topics: textsOf(fields, 'topics') ?? [],
    isExact: fields.flag('exact'),
    qos: qos as readonly number[],
    retain: wordOf(fields, 'retain', ['any', 'retained', 'plain'], 'any'),
  };
}

function check(access: AccessAdministration, request: HttpRequest): Promise<object> {
  const names = ['tenant', 'user', 'client', 'address', 'certificate', 'action', 'topic', 'qos', 'retained'];
  const fields = Fields.ofBody(request, names);
  const action = wordIn(fields, 'action', accessActions);
  return access.check({
    tenant: tenantOf(fields),
    user: textOr(fields, 'user', ''),
    clientId: textOr(fields, 'client', ''),
    address: textOr(fields, 'address', ''),
    certificateName: textOr(fields, 'certificate', ''),
    action,
    topic: action === 'connect' ? '' : fields.text('topic'),
    qos: fields.integer('qos', 0, 0, 2),
    isRetained: fields.flag('retained'),
  });
}
