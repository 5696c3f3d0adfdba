/** Who may use the administration API, with names, passwords and a token. */
import { describe, expect, test } from 'vitest';
import { guardAccess } from '../../../../src/admin/api/authentication.ts';
import { json } from '../../../../src/admin/api/response.ts';
import { Authenticator } from '../../../../src/auth/authenticator.ts';
import { FailureLimiter } from '../../../../src/auth/failure-limiter.ts';
import { mechanisms } from '../../../../src/auth/registry.ts';
import type { Account } from '../../../../src/core/ports/access.ts';
import { createAdminAuthenticator } from '../../../../src/main/access/admin-authenticator.ts';
import type { HttpRequest, HttpResponse } from '../../../../src/net/http/port.ts';
import { createLogger } from '../../../../src/observability/log.ts';

const logged: string[] = [];
const log = createLogger({ level: 'info', format: 'text', write: (line) => logged.push(line) });

function account(user: string, isAdministrator: boolean): Account {
  const flags = { isSuperuser: false, isEnabled: true, isAdministrator };
  // Client ids are for clients.
  return { tenant: 'default', user, verifiers: ['word'], ...flags, groups: [], clients: ['c1'], addresses: [] };
}

const accounts = [account('root', true), account('ann', false)];
const password = mechanisms
  .find(({ name }) => name === 'password')
  ?.create({
    accounts: {
      find: async (_, user) => accounts.find((each) => each.user === user) ?? null,
      hasAny: async () => true,
    },
    passwords: { verify: async (given, verifiers) => verifiers.includes(Buffer.from(given).toString()) },
    settings: { anonymous: 'always', certificateName: 'common-name', certificateNeedsAccount: false },
  });

function routes(token: string | null) {
  const limiter = new FailureLimiter(3, 60_000);
  const authenticator = new Authenticator({ mechanisms: [password!], limiter, log, now: () => 0 });
  const plain = (['/livez', '/api/v1/users'] as const).map((path) => ({
    method: 'POST' as const,
    path,
    handler: () => json(200, { path }),
  }));
  return guardAccess(plain, { authenticator: createAdminAuthenticator(authenticator, token), log });
}

async function ask(path: string, authorization?: string, token: string | null = null): Promise<HttpResponse> {
  const request: HttpRequest = {
    ...{ method: 'POST', path, query: '', body: Buffer.from('{"password":"hidden"}'), remoteAddress: '10.0.0.1' },
    headers: new Map(authorization === undefined ? [] : [['authorization', authorization]]),
  };
  const route = routes(token).find((each) => each.path === path);
  return await route!.handler(request);
}

function basic(pair: string): string {
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

describe('guardAccess()', () => {
  test('lets probes ask without a name', async () => {
    expect((await ask('/livez')).status).toBe(200);
  });

  test.each<[string, string | undefined, number]>([
    ['nothing', undefined, 401],
    ['a wrong password', basic('root:wort'), 401],
    ['an unknown name', basic('nobody:word'), 401],
    ['an empty name', basic(':word'), 401],
    ['no colon', basic('root'), 401],
    ['no base64', 'Basic ???', 401],
    ['another scheme', 'Digest x', 401],
    ['a user who is no administrator', basic('ann:word'), 403],
    ['an administrator', basic('root:word'), 200],
    ['an administrator, in capitals', basic('root:word').replace('Basic', 'BASIC'), 200],
    ['a token that is not there', 'Bearer a-token-of-some-length', 401],
  ])('answers %s with %s', async (_, authorization, status) => {
    const response = await ask('/api/v1/users', authorization);
    expect(response.status).toBe(status);
    expect(response.headers?.['www-authenticate'] !== undefined).toBe(status === 401);
  });

  test('takes the token of the configuration, and no part of it', async () => {
    const token = 'a-token-of-some-length';
    expect((await ask('/api/v1/users', `Bearer ${token}`, token)).status).toBe(200);
    for (const wrong of ['', 'a-token', `${token}x`]) {
      expect((await ask('/api/v1/users', `Bearer ${wrong}`, token)).status).toBe(401);
    }
  });

  test('writes down who changed something, and never what was sent', async () => {
    logged.length = 0;
    await ask('/api/v1/users', basic('root:word'));
    expect(logged.join('')).toMatch(/Administrator changed something.*root/);
    expect(logged.join('')).not.toContain('hidden');
  });
});
