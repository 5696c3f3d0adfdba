/** What settings of listeners say against each other, and the flags that make listeners. */
import { describe, expect, it } from 'vitest';
import { loadConfiguration } from '../../../src/config/load.ts';
import { section } from '../../../src/core/settings/schema-builders.ts';

const parts = [{ name: 'carrier', defaultPort: 7007, settings: section({}, { description: 'A toy.' }) }];
const load = (settings: object | undefined, flags: readonly string[] = []) =>
  loadConfiguration({ environment: {}, flags, parts, ...(settings === undefined ? {} : { settings }) });
const problemOf = (listener: object): Promise<unknown> =>
  load({
    listeners: [{ name: 'a', protocol: 'carrier', address: '127.0.0.1:0', ...listener }],
  }).then(
    () => 'none',
    (error: Error) => error.message,
  );
const files = { certificate: 'a.crt', key: 'a.key' };
const names = [{ value: 'a.example', tenant: 'acme' }];
const proxy = { enabled: true, trusted: ['10.0.0.0/8'] };

describe('checkListener()', () => {
  it.each([
    [{ transport: 'unix' }, /"listeners\.0\.address": the transport "unix" needs an address such as unix:\/path/],
    [{ address: 'unix:/a' }, /"listeners\.0\.transport": a Unix socket needs the transport "unix"/],
    [{ transport: 'tls' }, /"listeners\.0\.tls\.certificate": TLS needs a certificate and a key/],
    [{ transport: 'tls', tls: { certificate: 'a.crt' } }, /"certificate" and "key" belong together/],
    [
      { transport: 'wss', tls: { ...files, names: [{ certificate: 'b.crt' }] } },
      /"listeners\.0\.tls\.names\.0\.certificate"/,
    ],
    [{ transport: 'tls', tls: { ...files, clientCertificate: 'optional' } }, /client certificates need an authority/],
    [{ transport: 'tls', tls: { ...files, crl: 'a.crl' } }, /no client certificate is asked for/],
    [{ transport: 'tls', tls: { ...files, ocsp: 'file' } }, /"ocspFile" is missing/],
    [{ proxyProtocol: { enabled: true } }, /without a network of proxies every connection would be refused/],
    [{ proxyProtocol: { trusted: ['10.0.0.0/33'] } }, /"10\.0\.0\.0\/33" is no network/],
    [{ transport: 'ws', webSocket: { originsAllowed: ['example.com'] } }, /"example\.com" is no origin/],
    [{ transport: 'ws', webSocket: { originsAllowed: ['https://example.com/'] } }, /is no origin/],
    [{ transport: 'tcp', webSocket: { adapter: 'uws' } }, /"uws" serves the transport "ws" on a TCP port/],
    [{ socketMode: '0888' }, /socketMode/],
    [{ webSocket: { path: 'no-slash' } }, /webSocket\.path/],
    [{ tenant: { name: 'x'.repeat(256) } }, /tenant\.name/],
    [{ tenant: { name: 'a\0b' } }, /tenant\.name/],
    [{ tenant: { name: '\ud800' } }, /"listeners\.0\.tenant\.name": it is not well-formed/],
    [{ tenant: { names }, transport: 'tls', tls: files }, /"from" does not say what they are names of/],
    [{ tenant: { from: 'server-name' }, transport: 'tls', tls: files }, /which names stand for which tenants/],
    [{ tenant: { from: 'server-name', names } }, /only TLS and the PROXY protocol tell the host name/],
    [
      { tenant: { from: 'certificate-unit', names }, transport: 'tls', tls: files },
      /no client certificate is asked for/,
    ],
    [{ tenant: { from: 'certificate-unit', names }, proxyProtocol: proxy }, /only the common name is known/],
    [
      { tenant: { from: 'server-name', names: [...names, { value: 'A.example', tenant: 'x' }] }, proxyProtocol: proxy },
      /"listeners\.0\.tenant\.names\.1\.value": "A\.example" is there twice/,
    ],
    [
      { tenant: { from: 'server-name', names: [{ value: 'a', tenant: '' }] }, proxyProtocol: proxy },
      /tenant\.names\.0/,
    ],
  ])('refuses %j', async (listener, expected) => {
    expect(await problemOf(listener)).toMatch(expected);
  });

  it.each([
    [{ transport: 'unix', address: 'unix:/run/a.sock', proxyProtocol: { enabled: true } }],
    [{ transport: 'ws', address: 'unix:/run/a.sock' }],
    [{ transport: 'tls', tls: { ...files, clientCertificate: 'required', ca: 'ca.crt', crl: 'a.crl' } }],
    [{ transport: 'ws', webSocket: { adapter: 'uws', originsAllowed: ['*', 'https://example.com:8443'] } }],
    [{ proxyProtocol: { enabled: true, trusted: ['10.0.0.0/8', '::1'] } }],
    [{ tenant: { name: 'a/b + #' } }],
    [{ tenant: { from: 'server-name', name: 'rest', names }, transport: 'tls', tls: files }],
    [{ tenant: { from: 'certificate-common-name', names }, proxyProtocol: proxy }],
    [
      {
        transport: 'tls',
        tls: { ...files, clientCertificate: 'optional', ca: 'ca.crt' },
        tenant: { from: 'certificate-organization', names: [...names, { value: 'A.example', tenant: 'x' }] },
      },
    ],
  ])('takes %j', async (listener) => {
    expect(await problemOf(listener)).toBe('none');
  });
});

describe('the flags of listeners', () => {
  it('add one listener for each transport, called as the flag', async () => {
    const { node } = await load(undefined, [
      ...['--carrier', ':1', '--carrier-tls', ':2', '--carrier-ws=:3', '--carrier-wss', '[::1]:4'],
      ...['--carrier-unix', '/run/a.sock', '--tls-certificate', 'a.crt', '--tls-key', 'a.key', '--tls-ca', 'ca.crt'],
    ]);
    expect(node.listeners.map(({ name, transport, address }) => [name, transport, address])).toEqual([
      ['carrier', 'tcp', '127.0.0.1:1'],
      ['carrier-tls', 'tls', '127.0.0.1:2'],
      ['carrier-ws', 'ws', '127.0.0.1:3'],
      ['carrier-wss', 'wss', '[::1]:4'],
      ['carrier-unix', 'unix', 'unix:/run/a.sock'],
    ]);
    expect(node.tls).toEqual({ certificate: 'a.crt', key: 'a.key', keyPasswordFile: '', ca: 'ca.crt' });
  });

  it('move the address of a listener that is there, and know no other transport', async () => {
    const { node } = await load(undefined, ['--carrier-ws', ':1', '--carrier-ws', ':2']);
    expect(node.listeners.map(({ address }) => address)).toEqual(['127.0.0.1:7007', '127.0.0.1:2']);
    await expect(load(undefined, ['--carrier-quic', ':1'])).rejects.toThrow(/unknown flag/);
  });
});
