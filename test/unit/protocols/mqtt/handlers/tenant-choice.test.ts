/** Which tenant a CONNECT is for: what the listener says, what the client may choose, what is refused. */
import { describe, expect, it } from 'vitest';
import type { ListenerTenancy } from '../../../../../src/core/ports/connection.ts';
import { sessionName, tenantOf } from '../../../../../src/protocols/mqtt/handlers/tenant-choice.ts';

const off = { choice: false, open: [] };
const on = { choice: true, open: ['public'] };

interface Asked {
  readonly clientId?: string;
  readonly username?: string;
  readonly tenant?: string | readonly string[];
}

function of(asked: Asked, settings = on, tenancy?: ListenerTenancy) {
  const { clientId = 'c', username, tenant = [] } = asked;
  const values = typeof tenant === 'string' ? [tenant] : tenant;
  const userProperties = values.map((value): [string, string] => ['tenant', value]);
  const listener = { name: 'l', index: 0, protocol: 'mqtt', ...(tenancy && { tenancy }) };
  return tenantOf({ clientId, username, userProperties }, { listener }, settings);
}

describe('tenantOf() without choice', () => {
  it('is the default tenant, whatever the client says', () => {
    const asked = { clientId: 'acme@c', username: 'acme@u', tenant: 'acme' };
    expect(of(asked, off)).toEqual({ tenant: 'default', clientId: 'acme@c', user: 'acme@u', needsAccount: false });
  });

  it('is that of the listener', () => {
    const tenancy = { from: 'listener', name: 'acme', table: [] } as const;
    expect(of({ tenant: 'x' }, off, tenancy)).toMatchObject({ tenant: 'acme', needsAccount: false });
  });
});

describe('tenantOf() with choice', () => {
  it('takes the user property first, then the user name, then the client id', () => {
    const all = { clientId: 'three@c', username: 'two@u', tenant: 'one' };
    expect(of(all)).toEqual({ tenant: 'one', clientId: 'three@c', user: 'two@u', needsAccount: true });
    const { tenant: _, ...names } = all;
    expect(of(names)).toEqual({ tenant: 'two', clientId: 'three@c', user: 'u', needsAccount: true });
    expect(of({ clientId: 'three@c' })).toEqual({
      tenant: 'three',
      clientId: 'c',
      user: undefined,
      needsAccount: true,
    });
    expect(of({ clientId: 'c', username: 'u' })).toMatchObject({ tenant: 'default', needsAccount: false });
  });

  it('needs no account for the default tenant and those that are open', () => {
    expect(of({ tenant: 'default' })).toMatchObject({ tenant: 'default', needsAccount: false });
    expect(of({ tenant: 'public' })).toMatchObject({ tenant: 'public', needsAccount: false });
  });

  it('parts at the first @', () => {
    expect(of({ username: 'acme@ann@example.com' })).toMatchObject({ tenant: 'acme', user: 'ann@example.com' });
    expect(of({ clientId: 'acme@@' })).toMatchObject({ tenant: 'acme', clientId: '@' });
  });

  it.each<[string, Asked]>([
    ['an empty tenant', { tenant: '' }],
    ['an empty tenant in the user name', { username: '@u' }],
    ['an empty tenant in the client id', { clientId: '@c' }],
    ['no client id behind the tenant', { clientId: 'acme@' }],
    ['two tenants', { tenant: ['a', 'b'] }],
    ['one tenant twice', { tenant: ['a', 'a'] }],
    ['a name that is too long', { tenant: 'x'.repeat(256) }],
  ])('refuses %s', (_, asked) => {
    expect(of(asked)).toBeNull();
  });
});

describe('tenantOf() at a listener with a tenant', () => {
  const tenancy = { from: 'listener', name: 'acme', table: [] } as const;

  it('refuses whoever asks for another one', () => {
    expect(of({ tenant: 'other' }, on, tenancy)).toBeNull();
    expect(of({ tenant: 'default' }, on, tenancy)).toBeNull();
    expect(of({ tenant: 'acme' }, on, tenancy)).toMatchObject({ tenant: 'acme' });
  });

  it('takes names as they are', () => {
    const asked = { clientId: 'other@c', username: 'other@u' };
    expect(of(asked, on, tenancy)).toEqual({
      tenant: 'acme',
      clientId: 'other@c',
      user: 'other@u',
      needsAccount: false,
    });
  });

  it('refuses whoever it knows no tenant for', () => {
    expect(of({}, off, { from: 'server-name', name: '', table: [] })).toBeNull();
  });
});

describe('sessionName()', () => {
  it('is the client id in the default tenant, and has the tenant in front in others', () => {
    expect(sessionName('default', 'c')).toBe('c');
    expect(sessionName('acme', 'c')).toBe('\0acme\0c');
  });

  it('is null when both are too long together', () => {
    expect(sessionName('default', 'x'.repeat(65_535))).toHaveLength(65_535);
    expect(sessionName('acme', 'x'.repeat(65_535))).toBeNull();
  });
});
