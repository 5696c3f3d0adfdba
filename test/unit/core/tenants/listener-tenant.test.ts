/** The tenant that a listener gives: its own, by host name, by certificate. */
import { describe, expect, it } from 'vitest';
import type { ListenerTenancy, PeerCertificate } from '../../../../src/core/ports/connection.ts';
import { listenerTenant, partOf } from '../../../../src/core/tenants/listener-tenant.ts';

const table = [
  { value: 'acme.example', tenant: 'acme' },
  { value: 'Other Ltd', tenant: 'other' },
];

function at(tenancy: ListenerTenancy | undefined, more: { serverName?: string; tls?: Partial<PeerCertificate> } = {}) {
  const listener = { name: 'l', index: 0, protocol: 'x', ...(tenancy && { tenancy }) };
  const tls = { verified: true, subject: '', commonName: '', subjectAltNames: [], fingerprint256: '', ...more.tls };
  return listenerTenant({ listener, serverName: more.serverName, ...(more.tls && { tls }) });
}

describe('listenerTenant()', () => {
  it('answers null where the listener says nothing', () => {
    expect(at(undefined, { serverName: 'acme.example' })).toBeNull();
  });

  it("answers the listener's own, whatever the client shows", () => {
    expect(at({ from: 'listener', name: 'acme', table: [] }, { serverName: 'other' })).toBe('acme');
  });

  it('goes by the host name, in any case and with the dot of the root', () => {
    const tenancy = { from: 'server-name', name: '', table } as const;
    expect(at(tenancy, { serverName: 'ACME.example.' })).toBe('acme');
    expect(at(tenancy, { serverName: 'x.acme.example' })).toBe('');
    expect(at(tenancy)).toBe('');
    expect(at({ ...tenancy, name: 'rest' })).toBe('rest');
  });

  it('goes by a part of a verified certificate, and by none of another', () => {
    const tenancy = { from: 'certificate-organization', name: '', table } as const;
    const subject = 'CN=dev-1,OU=acme.example,O=Other Ltd,C=DE';
    expect(at(tenancy, { tls: { subject } })).toBe('other');
    expect(at(tenancy, { tls: { subject, verified: false } })).toBe('');
    expect(at({ ...tenancy, from: 'certificate-unit' }, { tls: { subject } })).toBe('acme');
    expect(at({ ...tenancy, from: 'certificate-common-name' }, { tls: { commonName: 'acme.example' } })).toBe('acme');
    expect(at(tenancy)).toBe('');
  });
});

describe('partOf()', () => {
  it.each([
    ['CN=x,O=Acme\\, Inc.', 'Acme, Inc.'],
    ['CN=O\\=fake,O=real', 'real'],
    ['CN=a\\,O\\=fake,O=real', 'real'],
    ['CN=x + O=two', 'two'],
    ['O=one + CN=x', 'one'],
    ['O=J\\C3\\BCrgen', 'Jürgen'],
    ['O=\u{1f600}\\ ', '\u{1f600} '],
    ['o=lower', 'lower'],
    ['O=specific,O=general', 'specific'],
    ['CN=x', ''],
    ['O=#0401', ''],
    ['O', ''],
    ['', ''],
    ['O=end\\', 'end'],
  ])('of %j is %j', (subject, value) => {
    expect(partOf(subject, 'O')).toBe(value);
  });
});
