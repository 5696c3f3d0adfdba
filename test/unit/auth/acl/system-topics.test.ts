/** Who may read what the broker tells of itself. */
import { describe, expect, it } from 'vitest';
import { ClientPermissions, Policy } from '../../../../src/auth/acl/policy.ts';
import type { AccessRule, Identity } from '../../../../src/core/ports/access.ts';
import { ruleOf } from '../../../support/access.ts';

const someone: Identity = {
  ...{ tenant: 'default', user: 'ann', clientId: 'c1', address: '10.0.0.7', isSuperuser: false, groups: [] },
  ...{ mechanism: 'password', certificateName: '' },
};

function maySubscribe(filter: string, who: Partial<Identity> = {}, rules: readonly AccessRule[] = [], isOpen = true) {
  const policy = new Policy(isOpen);
  policy.replace(rules, null);
  return new ClientPermissions(policy, { ...someone, ...who }).maySubscribe(filter, 0);
}

describe('maySubscribe() to topics below $SYS', () => {
  it.each(['$SYS/#', '$SYS', '$SYS/+/x', '$SYS/brokers'])('is false for %s where no rule speaks of it', (filter) => {
    expect(maySubscribe(filter)).toBe(false);
    // An address can be another machine's that goes through a proxy here.
    expect(maySubscribe(filter, { address: '127.0.0.1' })).toBe(false);
  });

  it('is true for clients on the machine and for superusers', () => {
    expect(maySubscribe('$SYS/#', { isLocal: true })).toBe(true);
    expect(maySubscribe('$SYS/#', { isSuperuser: true })).toBe(true);
  });

  it('is what a rule says', () => {
    const allow = ruleOf({ permission: 'allow', actions: ['subscribe'], topics: ['$SYS/brokers/#'] });
    expect(maySubscribe('$SYS/brokers/a', {}, [allow])).toBe(true);
    expect(maySubscribe('$SYS/#', {}, [allow])).toBe(false);
    const deny = ruleOf({ permission: 'deny', topics: ['$SYS/#'] });
    expect(maySubscribe('$SYS/brokers/a', { isLocal: true }, [deny])).toBe(false);
  });

  it('is false without a rule where the default denies', () => {
    expect(maySubscribe('$SYS/#', { isLocal: true }, [], false)).toBe(false);
  });

  it.each(['#', '+/#', '$SYSTEM/a', '$sys/a', 'a/$SYS'])('changes nothing for %s', (filter) => {
    expect(maySubscribe(filter)).toBe(true);
  });
});
