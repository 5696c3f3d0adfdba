/** Rules of the settings that are about some tenants. */
import { describe, expect, it } from 'vitest';
import { TenantRules } from '../../../../../src/protocols/mqtt/handlers/tenant-rules.ts';

const rename = { action: 'all', source: 'a', pattern: 'a', target: 'b' } as const;
const subscription = { filter: 'x', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 };
const none = (): undefined => undefined;

describe('TenantRules', () => {
  it('has one set of rules for all where none of them names a tenant', () => {
    const rules = new TenantRules({ topicRewrite: [rename], autoSubscribe: [{ ...subscription, tenants: [] }] });
    expect(rules.of('acme')).toBe(rules.of('default'));
    expect(rules.of('acme').rewrite?.topic('a', none)).toBe('b');
    expect(new TenantRules({ topicRewrite: [], autoSubscribe: [] }).of('acme').rewrite).toBeNull();
  });

  it('has those of a tenant and those of all, in their order', () => {
    const rules = new TenantRules({
      topicRewrite: [{ ...rename, target: 'acme', tenants: ['acme', 'other'] }, rename],
      autoSubscribe: [{ ...subscription, tenants: ['default'] }],
    });
    expect(rules.of('acme').rewrite?.topic('a', none)).toBe('acme');
    expect(rules.of('default').rewrite?.topic('a', none)).toBe('b');
    expect(rules.of('default').autoSubscribe).toHaveLength(1);
    expect(rules.of('acme').autoSubscribe).toEqual([]);
    expect(rules.of('acme')).toBe(rules.of('acme'));
  });

  it('keeps a bounded number of them', () => {
    const rules = new TenantRules({ topicRewrite: [{ ...rename, tenants: ['acme'] }], autoSubscribe: [] });
    for (let number = 0; number < 3_000; number++) expect(rules.of(`t${number}`).rewrite).toBeNull();
    expect(rules.of('acme').rewrite).not.toBeNull();
  });
});
