/**
 * Users. Lives on the main thread.
 *
 * `GET /api/v1/users` lists a page of them, or with `name` tells about one; `POST` there makes one, `POST …/change`,
 * `/password` and `/delete` take its name. Passwords come in and never go out.
 */
import type { AccessAdministration, NewPassword, UserFields } from '../../core/ports/access-administration.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { accessRoute } from './access-failure.ts';
import { tenantOf, textOr, textsOf, wordOf, wordsOf } from './access-fields.ts';
import { json } from './response.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/users';
const pageMax = 1_000;
const flagNames = ['isSuperuser', 'isAdministrator', 'isEnabled'] as const;
const listNames = ['groups', 'clients', 'addresses'] as const;
const userNames = ['tenant', 'name', ...flagNames, ...listNames, 'description'];
const passwordNames = ['password', 'passwordBase64', 'hash', 'scram'];

export function usersRoutes(access: AccessAdministration): readonly HttpRoute[] {
  return [
    accessRoute('GET', PATH, (request) => list(access, request)),
    accessRoute('POST', PATH, async (request) => {
      const fields = Fields.ofBody(request, [...userNames, ...passwordNames]);
      const given = passwordOf(fields);
      return json(201, await access.createUser(tenantOf(fields), fields.text('name'), userFields(fields), given));
    }),
    accessRoute('POST', `${PATH}/change`, async (request) => {
      const fields = Fields.ofBody(request, userNames);
      return json(200, await access.changeUser(tenantOf(fields), fields.text('name'), userFields(fields)));
    }),
    accessRoute('POST', `${PATH}/password`, async (request) => {
      const fields = Fields.ofBody(request, ['tenant', 'name', ...passwordNames]);
      const given = passwordOf(fields);
      if (given === null) throw fields.wrong('password', 'must be there');
      return json(200, await access.setPassword(tenantOf(fields), fields.text('name'), given));
    }),
    accessRoute('POST', `${PATH}/delete`, async (request) => {
      const fields = Fields.ofBody(request, ['tenant', 'name']);
      const name = fields.text('name');
      await access.deleteUser(tenantOf(fields), name);
      return json(200, { name });
    }),
  ];
}

async function list(access: AccessAdministration, request: HttpRequest): Promise<HttpResponse> {
  const fields = Fields.ofQuery(request, ['tenant', 'name', 'after', 'limit']);
  const tenant = tenantOf(fields);
  const name = textOr(fields, 'name', null);
  if (name !== null) return json(200, { users: [await access.user(tenant, name)], hasMore: false });
  const limit = fields.integer('limit', pageMax, 1, pageMax);
  return json(200, await access.users(tenant, textOr(fields, 'after', ''), limit));
}

/** Only what is there. */
function userFields(fields: Fields): UserFields {
  const given: [string, unknown][] = [];
  for (const name of flagNames) if (fields.value(name) !== undefined) given.push([name, fields.flag(name)]);
  for (const name of listNames) {
    const texts = textsOf(fields, name);
    if (texts !== undefined) given.push([name, texts]);
  }
  if (fields.value('description') !== undefined) given.push(['description', fields.text('description')]);
  return Object.fromEntries(given);
}

function passwordOf(fields: Fields): NewPassword | null {
  const password = fields.bytes('password');
  if (password === null) return null;
  const hash = wordOf(fields, 'hash', ['scrypt', 'argon2id'], 'scrypt');
  return { password, hash, scram: wordsOf(fields, 'scram', ['scram-sha-256', 'scram-sha-512']) ?? [] };
}
