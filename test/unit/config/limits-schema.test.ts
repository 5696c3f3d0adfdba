import { describe, expect, it } from 'vitest';
import { loadConfiguration } from '../../../src/config/load.ts';
import { protocols } from '../../../src/protocols/registry.ts';

async function problemsOf(limits: object): Promise<string> {
  try {
    await loadConfiguration({ environment: {}, flags: [], settings: { limits }, parts: protocols, adapters: [] });
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('limits of clients', () => {
  it('are all off as a default', async () => {
    const { node } = await loadConfiguration({ environment: {}, flags: [], parts: protocols, adapters: [] });
    expect(node.limits).toMatchObject({
      addressAcceptRatePerS: 0,
      addressConnectionsMax: 0,
      userConnectionsMax: 0,
      publishExceeded: 'slow',
      tenants: { default: { connectionsMax: 0, publishRatePerS: 0 }, named: [] },
      clients: [],
    });
  });

  it('of a named tenant may leave out what is that of the default', async () => {
    expect(await problemsOf({ tenants: { named: [{ name: 'a', connectionsMax: 1 }] } })).toBe('');
  });

  it('name listeners that exist, and each tenant once', async () => {
    const clients = [{ listeners: ['mqtt'] }, { listeners: ['mqtt', 'gone'] }];
    expect(await problemsOf({ clients })).toContain(
      'Cannot use "limits.clients.1.listeners.1": there is no listener "gone"',
    );
    const named = [{ name: 'a' }, { name: 'b' }, { name: 'a' }];
    expect(await problemsOf({ tenants: { named } })).toContain(
      'Cannot use "limits.tenants.named.2.name": there are limits of tenant "a" before it',
    );
  });

  it('have no burst without a rate', async () => {
    expect(await problemsOf({ addressAcceptBurst: 1 })).toContain('there is no "addressAcceptRatePerS"');
    expect(await problemsOf({ clients: [{ publishBurst: 1 }] })).toContain('there is no "publishRatePerS"');
  });
});
