import { describe, expect, it } from 'vitest';
import { Admissions, type Admittance, type Entrant, tenantsMax } from '../../../../src/core/limits/admissions.ts';
import type { ClientLimitSettings, TenantLimits } from '../../../../src/core/limits/limit-settings.ts';
import { noClientLimits, noTenantLimits } from '../../../support/client-limits.ts';

const someone: Entrant = { tenant: 'default', user: 'ann', clientId: 'c', address: '192.0.2.1', isAddressRated: true };

function tenantsWith(limits: Partial<TenantLimits>): Pick<ClientLimitSettings, 'tenants'> {
  return { tenants: { default: { ...noTenantLimits, ...limits }, named: [] } };
}

/** Lets clients in one after the other, each with a number of its own on worker 0. */
class Door {
  readonly admissions: Admissions;
  private nextId = 1;

  constructor(settings: Partial<ClientLimitSettings>) {
    this.admissions = new Admissions({ ...noClientLimits, ...settings });
  }

  enter(entrant: Partial<Entrant>, nowMs = 0, worker = 0): string {
    const admittance: Admittance = this.admissions.enter(worker, this.nextId++, { ...someone, ...entrant }, nowMs);
    return admittance.type === 'admitted' ? `in ${admittance.tenantSlot}` : admittance.limit;
  }
}

describe('Admissions', () => {
  it('enter() counts the clients of a tenant, a user and an address', () => {
    const tenant = new Door(tenantsWith({ connectionsMax: 2 }));
    const ids = ['a', 'b', 'c'];
    expect(ids.map((clientId) => tenant.enter({ clientId }))).toEqual(['in 0', 'in 0', 'tenant-connections']);
    expect(tenant.enter({ tenant: 'other', clientId: 'c' })).toBe('in 1');
    const user = new Door({ userConnectionsMax: 2 });
    expect(ids.map((clientId) => user.enter({ clientId }))).toEqual(['in 0', 'in 0', 'user-connections']);
    expect(user.enter({ clientId: 'c', user: 'bob' })).toBe('in 0');
    const address = new Door({ addressConnectionsMax: 2 });
    expect(ids.map((clientId) => address.enter({ clientId }))).toEqual(['in 0', 'in 0', 'address-connections']);
    expect(address.enter({ clientId: 'c', address: '192.0.2.2' })).toBe('in 0');
  });

  it('enter() does not count anonymous clients as one user, nor Unix sockets as one address', () => {
    const door = new Door({ userConnectionsMax: 1, addressConnectionsMax: 1 });
    for (const clientId of ['a', 'b', 'c']) expect(door.enter({ clientId, user: '', address: '' })).toBe('in 0');
  });

  it('enter() lets a client id in that is still counted: it takes over', () => {
    const door = new Door({ userConnectionsMax: 1 });
    expect(door.enter({})).toBe('in 0');
    expect(door.enter({})).toBe('in 0');
    door.admissions.leave(0, 1);
    expect(door.enter({ clientId: 'other' })).toBe('user-connections');
    door.admissions.leave(0, 2);
    expect(door.enter({ clientId: 'other' })).toBe('in 0');
  });

  it('enter() keeps users of different tenants apart, whatever their names are', () => {
    const door = new Door({ userConnectionsMax: 1 });
    expect(door.enter({ tenant: 'a', user: 'b","c' })).toBe('in 0');
    expect(door.enter({ tenant: 'a","b', user: 'c', clientId: 'd' })).toBe('in 1');
    expect(door.enter({ tenant: '__proto__', user: 'constructor' })).toBe('in 2');
  });

  it('enter() keeps to the rate of a tenant, and refused clients use it up', () => {
    const door = new Door(tenantsWith({ connectRatePerS: 2 }));
    expect([1, 2, 3].map(() => door.enter({}))).toEqual(['in 0', 'in 0', 'tenant-connect-rate']);
    expect(door.enter({}, 400)).toBe('tenant-connect-rate');
    expect(door.enter({}, 500)).toBe('in 0');
  });

  it('enter() keeps to the rate of an address that the acceptor could not see', () => {
    const door = new Door({ addressAcceptRatePerS: 1 });
    const isAddressRated = false;
    expect(door.enter({ isAddressRated })).toBe('in 0');
    expect(door.enter({ isAddressRated })).toBe('address-connect-rate');
    expect(door.enter({})).toBe('in 0');
  });

  it('leave() of somebody unknown changes nothing', () => {
    const door = new Door({ userConnectionsMax: 1 });
    door.enter({});
    door.admissions.leave(0, 99);
    door.admissions.leave(7, 1);
    expect(door.enter({ clientId: 'other' })).toBe('user-connections');
  });

  it('workerGone() lets all its clients go, and no others', () => {
    const door = new Door(tenantsWith({ connectionsMax: 2 }));
    door.enter({ clientId: 'a' }, 0, 0);
    door.enter({ clientId: 'b' }, 0, 1);
    door.admissions.workerGone(1);
    expect(door.enter({ clientId: 'c' }, 0, 1)).toBe('in 0');
    expect(door.enter({ clientId: 'd' }, 0, 1)).toBe('tenant-connections');
  });

  it('gives the last budget to all tenants that are too many, and never to one that is named', () => {
    const named = [{ name: 'acme', connectRatePerS: 0 }];
    const door = new Door({ tenants: { default: { ...noTenantLimits, connectRatePerS: 2 }, named } });
    for (let at = 0; at < tenantsMax - 2; at++) door.enter({ tenant: `t${at}` });
    const last = [1, 2, 3].map((at) => door.enter({ tenant: `more ${at}` }));
    expect(last).toEqual([`in ${tenantsMax - 1}`, `in ${tenantsMax - 1}`, 'tenant-connect-rate']);
    expect(door.enter({ tenant: 't0' })).toBe('in 1');
    expect(door.enter({ tenant: 'acme' })).toBe('in 0');
  });
});
