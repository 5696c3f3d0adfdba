import { describe, expect, it } from 'vitest';
import { classOf, countsClients, tenantLimitsOf } from '../../../../src/core/limits/limit-settings.ts';
import { everybody, noClientLimits, noTenantLimits } from '../../../support/client-limits.ts';

describe('tenantLimitsOf()', () => {
  it('takes what the tenant has of its own, and the default for the rest', () => {
    const settings = {
      ...noClientLimits,
      tenants: {
        default: { ...noTenantLimits, connectionsMax: 10, publishRatePerS: 5 },
        named: [{ name: 'acme', connectionsMax: 0, subscriptionsMax: 7 }],
      },
    };
    expect(tenantLimitsOf(settings, 'acme')).toEqual({
      ...noTenantLimits,
      connectionsMax: 0,
      publishRatePerS: 5,
      subscriptionsMax: 7,
    });
    expect(tenantLimitsOf(settings, 'constructor')).toMatchObject({ connectionsMax: 10, subscriptionsMax: 0 });
  });
});

describe('classOf()', () => {
  it('answers the first class of which tenant, user and listener fit', () => {
    const anonymous = { ...everybody, users: [''], publishRatePerS: 1 };
    const gateway = { ...everybody, users: ['gate'], listeners: ['internal'], publishRatePerS: 100 };
    const others = { ...everybody, publishRatePerS: 10 };
    const settings = { ...noClientLimits, clients: [anonymous, gateway, others] };
    const of = (user: string, listener: string) => classOf(settings, { tenant: 'default', user, listener });
    expect(of('', 'internal')).toBe(anonymous);
    expect(of('gate', 'internal')).toBe(gateway);
    expect(of('gate', 'public')).toBe(others);
    expect(classOf({ ...noClientLimits, clients: [gateway] }, { tenant: 'x', user: '', listener: 'y' })).toBeNull();
  });
});

describe('countsClients()', () => {
  it('is false while nothing has to be counted over all workers', () => {
    expect(countsClients(noClientLimits)).toBe(false);
    expect(countsClients({ ...noClientLimits, clients: [{ ...everybody, publishRatePerS: 1 }] })).toBe(false);
  });

  it('is true with a limit of users, addresses, or any tenant', () => {
    expect(countsClients({ ...noClientLimits, userConnectionsMax: 1 })).toBe(true);
    expect(countsClients({ ...noClientLimits, addressConnectionsMax: 1 })).toBe(true);
    expect(countsClients({ ...noClientLimits, addressAcceptRatePerS: 1 })).toBe(true);
    const tenants = { default: noTenantLimits, named: [{ name: 'a', publishBytesPerS: 1 }] };
    expect(countsClients({ ...noClientLimits, tenants })).toBe(true);
  });
});
