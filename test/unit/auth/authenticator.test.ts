/** Who gets in: all mechanisms in their order, over accounts in memory and real hashes. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Authenticator, type AuthenticatorStep } from '../../../src/auth/authenticator.ts';
import { FailureLimiter } from '../../../src/auth/failure-limiter.ts';
import type { MechanismSettings } from '../../../src/auth/mechanism.ts';
import { PasswordVerifier } from '../../../src/auth/password-verifier.ts';
import { mechanisms } from '../../../src/auth/registry.ts';
import { deriveScramKeys } from '../../../src/auth/scram-keys.ts';
import type { Account, LoginRequest } from '../../../src/core/ports/access.ts';
import type { PeerCertificate } from '../../../src/core/ports/connection.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { ScramClient } from '../../support/scram-client.ts';

/** Quick, since what is tested here is not the hash. */
const quick = (password: Uint8Array | string): string => `quick:${createHash('sha256').update(password).digest('hex')}`;

const scramOfAnn = deriveScramKeys('scram-sha-256', Buffer.from('secret-word'), 4_096) ?? '';

function account(user: string, fields: Partial<Account> = {}): Account {
  const flags = { isSuperuser: false, isAdministrator: false, isEnabled: true };
  const lists = { groups: [], clients: [], addresses: [] };
  return { tenant: 'default', user, verifiers: [quick('secret-word')], ...flags, ...lists, ...fields };
}

interface Rig {
  readonly authenticator: Authenticator;
  readonly checked: string[][];
  nowMs: number;
}

function rigOf(
  accounts: readonly Account[],
  settings: Partial<MechanismSettings> = {},
  names: readonly string[] = ['scram', 'password', 'certificate', 'anonymous'],
): Rig {
  const rig = { checked: [] as string[][], nowMs: 0 };
  const passwords = new PasswordVerifier({
    work: async (password, verifiers) => {
      rig.checked.push([...verifiers]);
      return verifiers.includes(quick(password));
    },
    waitingMax: 2,
    rememberMs: 1_000,
    now: () => rig.nowMs,
  });
  const tools = {
    accounts: {
      find: async (tenant: string, user: string) =>
        accounts.find((each) => each.tenant === tenant && each.user === user) ?? null,
      hasAny: async (tenant: string) => accounts.some((each) => each.tenant === tenant),
    },
    passwords,
    settings: {
      anonymous: 'loopback',
      certificateName: 'common-name',
      certificateNeedsAccount: false,
      ...settings,
    } as const,
  };
  const byName = new Map(mechanisms.map((each) => [each.name, each]));
  const authenticator = new Authenticator({
    mechanisms: names.map((name) => byName.get(name)!.create(tools)),
    limiter: new FailureLimiter(3, 60_000),
    log: createLogger({ level: 'error', format: 'text' }),
    now: () => rig.nowMs,
  });
  return Object.assign(rig, { authenticator });
}

function requestOf(fields: Partial<LoginRequest>): LoginRequest {
  return { tenant: 'default', clientId: 'c1', address: '127.0.0.1', isLocal: true, certificate: null, ...fields };
}

function login({ authenticator }: Rig, fields: Partial<LoginRequest>): Promise<AuthenticatorStep> {
  return new Promise((resolve) => authenticator.begin(requestOf(fields), resolve));
}

async function reasonOf(rig: Rig, fields: Partial<LoginRequest>): Promise<string> {
  const step = await login(rig, fields);
  return step.type === 'refused' ? step.reason : step.type;
}

const secret = { password: Buffer.from('secret-word') };

describe('Authenticator with names and passwords', () => {
  test('begin() accepts the right password and says who it is', async () => {
    const rig = rigOf([account('ann', { isSuperuser: true, groups: ['staff'] })]);
    const step = await login(rig, { user: 'ann', ...secret });
    expect(step).toMatchObject({
      type: 'accepted',
      identity: { user: 'ann', clientId: 'c1', isSuperuser: true, groups: ['staff'], mechanism: 'password' },
    });
  });

  test.each<[string, Partial<LoginRequest>]>([
    ['a wrong password', { user: 'ann', password: Buffer.from('secret-wort') }],
    ['an empty password', { user: 'ann', password: Buffer.alloc(0) }],
    ['no password', { user: 'ann' }],
    ['a password alone', secret],
    ['an empty name', { user: '', ...secret }],
    ['an empty name alone', { user: '' }],
    ['another case', { user: 'Ann', ...secret }],
    ['a name with U+0000 behind it', { user: 'ann\u0000', ...secret }],
    ['a name in another normal form', { user: 'e\u0301ric', ...secret }],
    ['a name of Object.prototype', { user: '__proto__', ...secret }],
    ['a space behind it', { user: 'ann ', ...secret }],
    ['a password of 1,025 bytes', { user: 'ann', password: Buffer.alloc(1_025) }],
    ['another tenant', { tenant: 'acme', user: 'ann', ...secret, isLocal: false }],
  ])('begin() refuses %s as bad credentials, also on this machine', async (_, fields) => {
    expect(await reasonOf(rigOf([account('ann'), account('\u00e9ric')]), fields)).toBe('bad-credentials');
  });

  test('begin() computes a hash for a name that nobody has', async () => {
    const rig = rigOf([account('ann')]);
    expect(await reasonOf(rig, { user: 'bob', ...secret })).toBe('bad-credentials');
    expect(rig.checked).toEqual([[]]);
  });

  test('begin() refuses an account that is switched off, and one for other clients and addresses', async () => {
    expect(await reasonOf(rigOf([account('ann', { isEnabled: false })]), { user: 'ann', ...secret })).toBe(
      'bad-credentials',
    );
    expect(await reasonOf(rigOf([account('ann', { clients: ['c2'] })]), { user: 'ann', ...secret })).toBe(
      'not-authorized',
    );
    expect(await reasonOf(rigOf([account('ann', { addresses: ['10.0.0.0/8'] })]), { user: 'ann', ...secret })).toBe(
      'not-authorized',
    );
  });

  test('begin() takes any name from this machine as nobody while there is no account, and from nowhere else', async () => {
    expect(await login(rigOf([]), { user: 'root', ...secret })).toMatchObject({
      type: 'accepted',
      identity: { user: '', mechanism: 'anonymous', isSuperuser: false },
    });
    expect(await reasonOf(rigOf([]), { user: 'root', ...secret, isLocal: false })).toBe('bad-credentials');
    expect(await reasonOf(rigOf([], { anonymous: 'never' }), { user: 'root', ...secret })).toBe('bad-credentials');
  });

  test('begin() refuses unseen after too many failures from one address, and not others', async () => {
    const rig = rigOf([account('ann')]);
    const wrong = { user: 'ann', password: Buffer.from('secret-wort'), address: '10.0.0.1' };
    for (let index = 0; index < 3; index++) expect(await reasonOf(rig, wrong)).toBe('bad-credentials');
    expect(await reasonOf(rig, { ...wrong, ...secret })).toBe('too-many-attempts');
    expect(rig.checked).toHaveLength(3);
    expect(await reasonOf(rig, { user: 'ann', ...secret, address: '10.0.0.2' })).toBe('accepted');
    rig.nowMs = 60_001;
    expect(await reasonOf(rig, { ...wrong, ...secret })).toBe('accepted');
  });

  test('begin() remembers only what was right, for its time, and never across a change of the verifiers', async () => {
    const ann = account('ann') as { -readonly [K in keyof Account]: Account[K] };
    const rig = rigOf([ann]);
    for (let index = 0; index < 3; index++) await login(rig, { user: 'ann', ...secret });
    expect(rig.checked).toHaveLength(1);
    rig.nowMs = 1_001;
    await login(rig, { user: 'ann', ...secret });
    expect(rig.checked).toHaveLength(2);
    ann.verifiers = [quick('another-word')];
    expect(await reasonOf(rig, { user: 'ann', ...secret })).toBe('bad-credentials');
  });

  test('begin() bounds what waits and says busy', async () => {
    const rig = rigOf([account('ann')]);
    const logins = ['a', 'b', 'c'].map((each) =>
      reasonOf(rig, { user: 'ann', password: Buffer.from(each), address: `10.0.0.${each.charCodeAt(0)}` }),
    );
    expect((await Promise.all(logins)).sort()).toEqual(['bad-credentials', 'bad-credentials', 'busy']);
  });
});

describe('Authenticator without names', () => {
  test('begin() lets nameless clients in by the setting', async () => {
    const accounts = [account('ann')];
    expect(await reasonOf(rigOf(accounts), {})).toBe('accepted');
    expect(await reasonOf(rigOf(accounts), { isLocal: false })).toBe('not-authorized');
    expect(await reasonOf(rigOf(accounts, { anonymous: 'always' }), { isLocal: false })).toBe('accepted');
    expect(await reasonOf(rigOf(accounts, {}, ['password']), {})).toBe('not-authorized');
  });
});

describe('Authenticator with certificates', () => {
  const certificate: PeerCertificate = {
    verified: true,
    subject: 'CN=dev-1,O=Example',
    commonName: 'dev-1',
    subjectAltNames: ['DNS:dev-1.example.com', 'email:dev-1@example.com'],
    fingerprint256: 'AA:BB',
  };

  test.each<[MechanismSettings['certificateName'], string]>([
    ['common-name', 'dev-1'],
    ['subject', 'CN=dev-1,O=Example'],
    ['dns-name', 'dev-1.example.com'],
    ['email', 'dev-1@example.com'],
    ['fingerprint', 'AA:BB'],
  ])('begin() takes the %s for the name', async (certificateName, user) => {
    const step = await login(rigOf([], { certificateName }), { certificate, isLocal: false });
    expect(step).toMatchObject({
      type: 'accepted',
      identity: { user, certificateName: 'dev-1', mechanism: 'certificate' },
    });
  });

  test('begin() believes no certificate that is not verified, and none without a usable name', async () => {
    const rig = rigOf([account('dev-1')]);
    expect(await reasonOf(rig, { certificate: { ...certificate, verified: false }, isLocal: false })).toBe(
      'not-authorized',
    );
    expect(await reasonOf(rig, { certificate: { ...certificate, commonName: '' } })).toBe('bad-credentials');
    expect(await reasonOf(rig, { certificate: { ...certificate, commonName: 'dev-1\u0000evil' } })).toBe(
      'bad-credentials',
    );
  });

  test('begin() asks for an account where the settings do', async () => {
    const settings = { certificateNeedsAccount: true };
    expect(await reasonOf(rigOf([account('x')], settings), { certificate })).toBe('bad-credentials');
    expect(await reasonOf(rigOf([account('dev-1')], settings), { certificate })).toBe('accepted');
    expect(await reasonOf(rigOf([account('dev-1', { isEnabled: false })]), { certificate })).toBe('bad-credentials');
  });

  test('begin() judges a client by the password that it gives, not by its certificate', async () => {
    expect(
      await reasonOf(rigOf([account('ann')]), { certificate, user: 'ann', password: Buffer.from('wrong-word') }),
    ).toBe('bad-credentials');
  });
});

/** Goes through an exchange: `answer` makes the client's next message of the server's. */
function exchange(
  rig: Rig,
  fields: Partial<LoginRequest>,
  answer: (data: string) => string,
): Promise<AuthenticatorStep> {
  return new Promise((resolve) => {
    const running = rig.authenticator.begin(requestOf(fields), (step) => {
      if (step.type !== 'continue') resolve(step);
      else running.answer(Buffer.from(answer(Buffer.from(step.data).toString())));
    });
  });
}

describe('Authenticator with methods', () => {
  const accounts = [account('ann', { verifiers: [quick('secret-word'), scramOfAnn] }), account('bob')];
  const method = 'SCRAM-SHA-256';

  async function scram(
    user: string,
    password: string,
    change = (text: string): string => text,
  ): Promise<AuthenticatorStep> {
    const client = new ScramClient('sha256', user, password);
    return exchange(rigOf(accounts), { method, data: Buffer.from(client.first) }, (data) => change(client.final(data)));
  }

  test('begin() of SCRAM accepts the right password and proves the server', async () => {
    const client = new ScramClient('sha256', 'ann', 'secret-word');
    const step = await exchange(rigOf(accounts), { method, data: Buffer.from(client.first) }, (data) =>
      client.final(data),
    );
    expect(step).toMatchObject({ type: 'accepted', identity: { user: 'ann', mechanism: 'scram' } });
    expect(step.type === 'accepted' && client.isServer(Buffer.from(step.data ?? []).toString())).toBe(true);
  });

  test('begin() of SCRAM without a first message asks for it', async () => {
    const client = new ScramClient('sha256', 'ann', 'secret-word');
    const step = await exchange(rigOf(accounts), { method }, (data) =>
      data === '' ? client.first : client.final(data),
    );
    expect(step.type).toBe('accepted');
  });

  test.each<[string, () => Promise<AuthenticatorStep>]>([
    ['a wrong password', () => scram('ann', 'secret-wort')],
    ['a user without keys', () => scram('bob', 'secret-word')],
    ['an unknown user', () => scram('nobody', 'secret-word')],
    ['another nonce', () => scram('ann', 'secret-word', (text) => text.replace('r=', 'r=x'))],
    ['another channel binding', () => scram('ann', 'secret-word', (text) => text.replace('c=biws', 'c=eSws'))],
    ['a short proof', () => scram('ann', 'secret-word', (text) => text.replace(/p=.*/, 'p=AAAA'))],
  ])('begin() of SCRAM refuses %s as bad credentials', async (_, run) => {
    expect(await run()).toMatchObject({ type: 'refused', reason: 'bad-credentials' });
  });

  test('begin() of SCRAM answers an unknown name with the same salt each time', async () => {
    const rig = rigOf(accounts);
    const saltOf = (): Promise<string> =>
      new Promise((resolve) => {
        const data = Buffer.from(new ScramClient('sha256', 'nobody', '').first);
        rig.authenticator.begin(requestOf({ method, data }), (step) => {
          if (step.type === 'continue') resolve(/s=([^,]*)/.exec(Buffer.from(step.data).toString())?.[1] ?? '');
        });
      });
    expect(await saltOf()).toBe(await saltOf());
  });

  test.each([
    '',
    'n,,',
    'n,,n=ann',
    'p=tls-unique,,n=ann,r=abc',
    'n,,m=x,n=ann,r=abc',
    'n,,n=a=2Xb,r=abc',
    'n,,n=ann,r=a\u0000b',
    'x'.repeat(5_000),
  ])('begin() of SCRAM refuses the first message %j', async (first) => {
    expect(await reasonOf(rigOf(accounts), { method, data: Buffer.from(first) })).toBe('protocol-error');
  });

  test('begin() of SCRAM refuses to act for another user', async () => {
    expect(await reasonOf(rigOf(accounts), { method, data: Buffer.from('n,a=bob,n=ann,r=abc') })).toBe(
      'not-authorized',
    );
  });

  test('begin() of PLAIN takes name and password in one message', async () => {
    const plain = (text: string) => reasonOf(rigOf(accounts), { method: 'PLAIN', data: Buffer.from(text) });
    expect(await plain('\u0000ann\u0000secret-word')).toBe('accepted');
    expect(await plain('ann\u0000ann\u0000secret-word')).toBe('accepted');
    expect(await plain('bob\u0000ann\u0000secret-word')).toBe('not-authorized');
    expect(await plain('\u0000ann\u0000secret-wort')).toBe('bad-credentials');
    expect(await plain('\u0000ann\u0000secret-word\u0000')).toBe('protocol-error');
    expect(await plain('ann')).toBe('protocol-error');
  });

  test('begin() names a method that nobody knows, and answer() out of turn ends the login', async () => {
    expect(await reasonOf(rigOf(accounts), { method: 'CRAM-MD5' })).toBe('bad-method');
    const step = await new Promise((resolve) => {
      const running = rigOf(accounts).authenticator.begin(requestOf({ user: 'ann', ...secret }), resolve);
      running.answer(Buffer.from('x'));
    });
    expect(step).toMatchObject({ reason: 'protocol-error' });
  });

  test('begin() refuses as unavailable when accounts cannot be read', async () => {
    const tools = {
      accounts: {
        find: () => Promise.reject(new Error('no leader')),
        hasAny: () => Promise.reject(new Error('no leader')),
      },
      passwords: { verify: async () => true },
      settings: { anonymous: 'always', certificateName: 'common-name', certificateNeedsAccount: false } as const,
    };
    const authenticator = new Authenticator({
      mechanisms: mechanisms.map((each) => each.create(tools)),
      limiter: new FailureLimiter(0, 1),
      log: createLogger({ level: 'error', format: 'text' }),
      now: () => 0,
    });
    const step = await new Promise((resolve) => authenticator.begin(requestOf({ user: 'ann', ...secret }), resolve));
    expect(step).toMatchObject({ type: 'refused', reason: 'unavailable' });
  });
});

describe('Authenticator with a tenant that the client has chosen', () => {
  const chosen = { tenant: 'acme', needsAccount: true };
  const certificate: PeerCertificate = {
    ...{ verified: true, subject: 'CN=dev', commonName: 'dev', subjectAltNames: [], fingerprint256: '' },
  };

  test('begin() lets in who has an account of that tenant, and nobody else', async () => {
    const rig = rigOf([account('ann', { tenant: 'acme' }), account('bob')], { anonymous: 'always' });
    expect(await login(rig, { ...chosen, user: 'ann', ...secret })).toMatchObject({
      type: 'accepted',
      identity: { tenant: 'acme', user: 'ann', needsAccount: true },
    });
    expect(await reasonOf(rig, { ...chosen, user: 'bob', ...secret })).toBe('bad-credentials');
    expect(await reasonOf(rig, { ...chosen, user: 'ann' })).toBe('bad-credentials');
    expect(await reasonOf(rig, { user: 'ann', ...secret })).toBe('bad-credentials');
    expect(await reasonOf(rig, chosen)).toBe('not-authorized');
  });

  test('begin() answers for a tenant without accounts as for a wrong name, after as much work', async () => {
    const rig = rigOf([], { anonymous: 'always' });
    expect(await reasonOf(rig, { ...chosen, user: 'ann', ...secret })).toBe('bad-credentials');
    expect(rig.checked).toEqual([[]]);
    expect(await reasonOf(rig, { tenant: 'acme', user: 'ann', ...secret })).toBe('accepted');
  });

  test('begin() takes a certificate only with an account of that tenant', async () => {
    expect(await reasonOf(rigOf([account('dev')]), { ...chosen, certificate })).toBe('not-authorized');
    expect(await reasonOf(rigOf([account('dev', { tenant: 'acme' })]), { ...chosen, certificate })).toBe('accepted');
    expect(await reasonOf(rigOf([]), { tenant: 'acme', certificate })).toBe('accepted');
  });

  test('begin() counts failures of a name in each tenant by itself', async () => {
    const rig = rigOf([account('ann'), account('ann', { tenant: 'acme' })]);
    const wrong = { user: 'ann', password: Buffer.from('wrong-word') };
    for (let times = 0; times < 3; times++) await reasonOf(rig, { ...wrong, tenant: 'acme' });
    expect(await reasonOf(rig, { ...wrong, tenant: 'acme' })).toBe('too-many-attempts');
    expect(await reasonOf(rig, { user: 'ann', ...secret })).toBe('accepted');
  });
});
