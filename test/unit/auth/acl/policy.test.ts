/** Rules and what they mean for one client: order, templates, subsets, caches. */
import { describe, expect, test } from 'vitest';
import { ruleError } from '../../../../src/auth/acl/check-rule.ts';
import { ClientPermissions, Policy } from '../../../../src/auth/acl/policy.ts';
import type { AccessRule, Identity } from '../../../../src/core/ports/access.ts';
import { ruleOf } from '../../../support/access.ts';

const someone: Identity = {
  tenant: 'default',
  user: 'ann',
  clientId: 'c1',
  address: '10.0.0.7',
  isSuperuser: false,
  groups: ['staff'],
  mechanism: 'password',
  certificateName: '',
};

function permissionsOf(rules: readonly AccessRule[], who: Partial<Identity> = {}, isDefaultAllow = false) {
  const policy = new Policy(isDefaultAllow);
  policy.replace(rules, null);
  return { policy, permissions: new ClientPermissions(policy, { ...someone, ...who }) };
}

describe('ClientPermissions', () => {
  test('mayPublish() follows the first rule that matches, then the default', () => {
    const rules = [
      ruleOf({ permission: 'deny', actions: ['publish'], topics: ['a/secret'] }),
      ruleOf({ permission: 'allow', actions: ['publish'], topics: ['a/#'] }),
    ];
    const { permissions } = permissionsOf(rules);
    expect(permissions.mayPublish('a/secret', 0, false)).toBe(false);
    expect(permissions.mayPublish('a/b', 0, false)).toBe(true);
    expect(permissions.mayPublish('b', 0, false)).toBe(false);
    expect(permissionsOf(rules, {}, true).permissions.mayPublish('b', 0, false)).toBe(true);
    expect(permissions.maySubscribe('a/b', 0)).toBe(false);
  });

  test.each<[string, Partial<AccessRule>, boolean]>([
    ['another user', { users: ['bob'] }, false],
    ['the user', { users: ['bob', 'ann'] }, true],
    ['the anonymous user', { users: [''] }, false],
    ['a group', { groups: ['staff'] }, true],
    ['another group', { groups: ['guests'] }, false],
    ['a client id', { clients: ['c1'] }, true],
    ['a client id that only begins so', { clients: ['c'] }, false],
    ['a range', { addresses: ['10.0.0.0/24'] }, true],
    ['another range', { addresses: ['10.0.1.0/24'] }, false],
    ['all of them, one of which is wrong', { users: ['ann'], clients: ['c2'] }, false],
    ['another tenant', { tenant: 'acme' }, false],
  ])('mayPublish() asks a rule about %s', (_, who, expected) => {
    const { permissions } = permissionsOf([ruleOf({ permission: 'allow', ...who })]);
    expect(permissions.mayPublish('t', 0, false)).toBe(expected);
  });

  test('mayPublish() looks at quality of service and retain', () => {
    const { permissions } = permissionsOf([
      ruleOf({ permission: 'deny', qos: [2] }),
      ruleOf({ permission: 'deny', retain: 'retained', topics: ['a'] }),
      ruleOf({ permission: 'allow' }),
    ]);
    expect(permissions.mayPublish('a', 0, false)).toBe(true);
    expect(permissions.mayPublish('a', 0, true)).toBe(false);
    expect(permissions.mayPublish('a', 2, false)).toBe(false);
    expect(permissions.mayPublish('b', 1, true)).toBe(true);
    // Asked again, from the cache.
    expect(permissions.mayPublish('a', 0, true)).toBe(false);
    expect(permissions.mayPublish('a', 0, false)).toBe(true);
  });

  test.each<[string, string, boolean]>([
    ['devices/c1/up', `devices/\${clientid}/#`, true],
    ['devices/c2/up', `devices/\${clientid}/#`, false],
    ['users/ann', `users/\${username}`, true],
    ['certs/', `certs/\${certcn}`, false],
  ])('mayPublish() to %s with a rule for %s is %s', (topic, filter, expected) => {
    const { permissions } = permissionsOf([ruleOf({ permission: 'allow', topics: [filter] })]);
    expect(permissions.mayPublish(topic, 0, false)).toBe(expected);
  });

  test.each(['+', '#', 'a/b', 'a+b', '', '\u0000', '$SYS', '../x/'])(
    'a template never becomes wider by the client id "%s"',
    (clientId) => {
      const { permissions } = permissionsOf(
        [ruleOf({ permission: 'allow', topics: [`\${clientid}/#`, `d/\${clientid}/#`] })],
        {
          clientId,
        },
      );
      for (const topic of ['x', 'd/x', 'd/a/b', 'd', '$SYS/broker', 'a/b']) {
        expect(permissions.mayPublish(topic, 0, false)).toBe(false);
        expect(permissions.maySubscribe(topic, 0)).toBe(false);
      }
      expect(permissions.maySubscribe('d/+/up', 0)).toBe(false);
    },
  );

  test('a rule that denies is not escaped by a client id that cannot be put in', () => {
    const rules = [
      ruleOf({ permission: 'deny', topics: [`inbox/\${clientid}/admin`] }),
      ruleOf({ permission: 'allow', topics: ['#'] }),
    ];
    expect(permissionsOf(rules, { clientId: 'a/b' }).permissions.mayPublish('inbox/a/b/admin', 0, false)).toBe(false);
    expect(permissionsOf(rules, { clientId: 'a' }).permissions.mayPublish('inbox/a/admin', 0, false)).toBe(false);
    expect(permissionsOf(rules, { clientId: 'a' }).permissions.mayPublish('inbox/b/admin', 0, false)).toBe(true);
  });

  test.each<[string, boolean]>([
    ['a/b', true],
    ['a/+', false],
    ['a/#', false],
    ['#', false],
    ['a/secret', false],
    ['a/c/+', true],
    ['a/c/#', true],
    ['+/secret', false],
    ['b/#', false],
  ])('maySubscribe("%s") is %s when a/secret is denied and a/# is allowed', (filter, expected) => {
    const { permissions } = permissionsOf([
      ruleOf({ permission: 'deny', topics: ['a/secret'] }),
      ruleOf({ permission: 'allow', topics: ['a/#'] }),
    ]);
    expect(permissions.maySubscribe(filter, 0)).toBe(expected);
  });

  test('maySubscribe() of an exact rule compares the filter as text', () => {
    const { permissions } = permissionsOf([ruleOf({ permission: 'deny', topics: ['#'], isExact: true })], {}, true);
    expect(permissions.maySubscribe('#', 0)).toBe(false);
    expect(permissions.maySubscribe('a/#', 0)).toBe(true);
  });

  test('mayPublish() follows new rules at once, without a word to the permissions', () => {
    const { policy, permissions } = permissionsOf([], {}, true);
    expect(permissions.mayPublish('a', 0, false)).toBe(true);
    policy.replace([ruleOf({ permission: 'deny', topics: ['a'] })], null);
    expect(permissions.mayPublish('a', 0, false)).toBe(false);
    policy.replace([], null);
    expect(permissions.mayPublish('a', 0, false)).toBe(true);
  });

  test('everything is denied while rules are unknown or broken, but not to a superuser', () => {
    const policy = new Policy(true);
    const permissions = new ClientPermissions(policy, someone);
    expect(permissions.mayConnect() || permissions.mayPublish('a', 0, false) || permissions.maySubscribe('a', 0)).toBe(
      false,
    );
    policy.replace([ruleOf({ permission: 'allow' })], 'the file is broken');
    expect(permissions.decideSubscribe('a', 0)).toMatchObject({ isAllowed: false, why: 'the file is broken' });
    expect(new ClientPermissions(policy, { ...someone, isSuperuser: true }).mayPublish('a', 0, false)).toBe(true);
  });

  test('a rule that names topics says nothing of connecting, one about retained messages nothing of subscribing', () => {
    const { permissions } = permissionsOf(
      [ruleOf({ permission: 'deny', topics: ['a'] }), ruleOf({ permission: 'deny', retain: 'retained' })],
      {},
      true,
    );
    expect(permissions.mayConnect()).toBe(true);
    expect(permissions.maySubscribe('b', 0)).toBe(true);
    expect(permissionsOf([ruleOf({ permission: 'deny' })], {}, true).permissions.mayConnect()).toBe(false);
  });

  test('revoke() ends everything, also for a superuser', () => {
    const { permissions } = permissionsOf([], { isSuperuser: true }, true);
    expect(permissions.mayPublish('a', 0, false)).toBe(true);
    permissions.revoke();
    expect(permissions.mayPublish('a', 0, false)).toBe(false);
    expect(permissions.maySubscribe('a', 0)).toBe(false);
  });

  test('mayPublish() stays right beyond what its cache holds', () => {
    const { permissions } = permissionsOf([ruleOf({ permission: 'allow', topics: ['ok/#'] })]);
    const wrong: number[] = [];
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 3_000; index++) {
        const isAllowed = permissions.mayPublish(`${index % 2 === 0 ? 'ok' : 'no'}/${index}`, 0, false);
        if (isAllowed !== (index % 2 === 0)) wrong.push(index);
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('ruleError()', () => {
  test.each<[string, Partial<AccessRule>]>([
    ['wildcard', { topics: ['a/b#'] }],
    ['placeholder', { topics: [`a/\${password}`] }],
    ['placeholder', { topics: [`a/\${clientid`] }],
    ['no IP address', { addresses: ['10.0.0.0/40'] }],
    ['connecting', { actions: ['connect'], topics: ['a'] }],
    ['connecting', { actions: ['publish', 'connect'], qos: [1] }],
    ['subscribing', { actions: ['subscribe'], retain: 'retained' }],
    ['exact', { isExact: true }],
    ['0, 1 or 2', { qos: [3] }],
  ])('says "%s" for %j', (message, fields) => {
    expect(ruleError(ruleOf({ permission: 'allow', ...fields }))).toContain(message);
  });
  test('is undefined for a rule that can be used', () => {
    expect(
      ruleError(ruleOf({ permission: 'deny', topics: [`+/\${clientid}/#`], addresses: ['::/0'] })),
    ).toBeUndefined();
  });
});
