/**
 * Headers of the PROXY protocol: vectors written out by hand from the specification, every cut of each of them, and noise.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../../src/core/batch/crc32c.ts';
import { type ProxyHeader, parseProxyHeader, proxyHeaderBytesMax } from '../../../../src/net/proxy/proxy-header.ts';

const signature = '0d0a0d0a000d0a515549540a';
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const line = (text: string): Buffer => Buffer.from(`${text}\r\n`, 'latin1');

function field(type: number, value: Uint8Array): Buffer {
  const head = Buffer.from([type, value.length >> 8, value.length & 0xff]);
  return Buffer.concat([head, value]);
}

/** Version 2 with command and family as given, over 192.0.2.1:56324 → 198.51.100.7:1883. */
function binary(fields: Buffer = Buffer.alloc(0), commandAndFamily = '21 11'): Buffer {
  const addresses = hex('c0000201 c6336407 dc04 075b');
  const body = Buffer.concat([addresses, fields]);
  const length = Buffer.from([body.length >> 8, body.length & 0xff]);
  return Buffer.concat([hex(signature), hex(commandAndFamily), length, body]);
}

function ssl(client: number, verify: number, ...inner: Buffer[]): Buffer {
  const head = Buffer.alloc(5);
  head[0] = client;
  head.writeUInt32BE(verify, 1);
  return field(0x20, Buffer.concat([head, ...inner]));
}

const plain = { source: { address: '192.0.2.1', port: 56324 }, authority: '', ssl: null };

const vectors: readonly (readonly [string, Buffer, Omit<ProxyHeader, 'length'>])[] = [
  ['version 1, IPv4', line('PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883'), plain],
  [
    'version 1, IPv6',
    line('PROXY TCP6 2001:db8::1 2001:db8::7 56324 1883'),
    { ...plain, source: { address: '2001:db8::1', port: 56324 } },
  ],
  ['version 1, the longest line', line(`PROXY UNKNOWN ${'f'.repeat(91)}`), { ...plain, source: null }],
  ['version 1, unknown', line('PROXY UNKNOWN'), { ...plain, source: null }],
  ['version 2, IPv4', binary(), plain],
  [
    'version 2, IPv6',
    hex(`${signature} 21 21 0024 20010db8000000000000000000000001 20010db8000000000000000000000007 dc04 075b`),
    { ...plain, source: { address: '2001:db8::1', port: 56324 } },
  ],
  [
    'version 2, IPv4 within IPv6',
    hex(`${signature} 21 21 0024 00000000000000000000ffffc0000201 00000000000000000000ffffc6336407 dc04 075b`),
    plain,
  ],
  ['version 2, LOCAL', hex(`${signature} 20 00 0000`), { ...plain, source: null }],
  [
    'version 2, LOCAL with what is to be skipped',
    binary(Buffer.from('not a field at all'), '20 11'),
    { ...plain, source: null },
  ],
  ['version 2, unspecified family', hex(`${signature} 21 00 0000`), { ...plain, source: null }],
  [
    'version 2, a Unix socket on the proxy',
    Buffer.concat([hex(`${signature} 21 31 00d8`), Buffer.alloc(216)]),
    { ...plain, source: null },
  ],
  [
    'version 2, fields that mean nothing to us',
    binary(Buffer.concat([field(0x04, Buffer.alloc(7)), field(0xea, Buffer.from('x')), field(0x04, Buffer.alloc(0))])),
    plain,
  ],
  ['version 2, authority', binary(field(0x02, Buffer.from('mq.example'))), { ...plain, authority: 'mq.example' }],
  [
    'version 2, TLS with a verified certificate',
    binary(ssl(0x05, 0, field(0x21, Buffer.from('TLSv1.3')), field(0x22, Buffer.from('device-1')))),
    { ...plain, ssl: { version: 'TLSv1.3', commonName: 'device-1', verified: true } },
  ],
  [
    'version 2, TLS with a certificate that was not verified',
    binary(ssl(0x03, 18, field(0x22, Buffer.from('device-1')))),
    { ...plain, ssl: { version: '', commonName: 'device-1', verified: false } },
  ],
  [
    'version 2, TLS without a certificate',
    binary(ssl(0x01, 1, field(0x22, Buffer.from('nobody')))),
    { ...plain, ssl: { version: '', commonName: null, verified: false } },
  ],
  ['version 2, no TLS', binary(ssl(0x00, 0)), plain],
];

function withChecksum(): Buffer {
  const header = binary(field(0x03, Buffer.alloc(4)));
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

describe('parseProxyHeader()', () => {
  it.each(vectors)('reads %s', (_name, bytes, expected) => {
    const result = parseProxyHeader(Buffer.concat([bytes, Buffer.from('what follows')]));
    expect(result).toEqual({ kind: 'header', header: { ...expected, length: bytes.length } });
  });

  it.each(vectors)('waits for the rest of %s at every byte', (_name, bytes) => {
    for (let length = 0; length < bytes.length; length++) {
      expect(parseProxyHeader(bytes.subarray(0, length))).toEqual({ kind: 'incomplete' });
    }
  });

  it('checks a checksum', () => {
    const header = withChecksum();
    expect(parseProxyHeader(header).kind).toBe('header');
    header[17] ^= 1;
    expect(parseProxyHeader(header)).toMatchObject({ kind: 'malformed', reason: 'its checksum is wrong' });
  });

  it.each([
    ['another protocol', Buffer.from([0x10, 0x0c])],
    ['TLS', hex('160301')],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
    ['lower case', Buffer.from('proxy TCP4')],
    ['a line without an end', Buffer.from(`PROXY TCP4 ${'1'.repeat(100)}`)],
    ['a line end of one byte', Buffer.from(`PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883\n${' '.repeat(80)}`)],
    ['a word too many', line('PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883 7')],
    ['a word too few', line('PROXY TCP4 192.0.2.1 198.51.100.7 56324')],
    ['two spaces', line('PROXY TCP4  192.0.2.1 198.51.100.7 56324 1883')],
    ['an unknown family', line('PROXY UDP4 192.0.2.1 198.51.100.7 56324 1883')],
    ['an address of the other family', line('PROXY TCP6 192.0.2.1 198.51.100.7 56324 1883')],
    ['an address that is none', line('PROXY TCP4 192.0.2.256 198.51.100.7 56324 1883')],
    ['an address with a zone', line('PROXY TCP6 fe80::1%eth0 fe80::2 56324 1883')],
    ['a port that is none', line('PROXY TCP4 192.0.2.1 198.51.100.7 65536 1883')],
    ['a port with a sign', line('PROXY TCP4 192.0.2.1 198.51.100.7 +1 1883')],
    ['a port with a zero in front', line('PROXY TCP4 192.0.2.1 198.51.100.7 01 1883')],
    ['version 3', hex(`${signature} 31 11 0000`)],
    ['version 1 in binary', hex(`${signature} 11 11 0000`)],
    ['an unknown command', hex(`${signature} 22 11 0000`)],
    ['an unknown address family', hex(`${signature} 21 41 0000`)],
    ['a length without room for the addresses', hex(`${signature} 21 11 0004 c0000201`)],
    ['a length beyond the limit', hex(`${signature} 21 11 ffff`)],
    ['a field that goes beyond the end', binary(hex('02 0010 61'))],
    ['a field without its length', binary(hex('02 00'))],
    ['too many fields', binary(Buffer.concat(Array.from({ length: 70 }, () => field(0x04, Buffer.alloc(0)))))],
    ['a TLS field that is too short', binary(field(0x20, Buffer.alloc(4)))],
    ['a TLS field whose fields do not fit', binary(ssl(0x01, 0, hex('21 0009 41')))],
    ['a checksum of another length', binary(field(0x03, Buffer.alloc(3)))],
  ])('refuses %s', (_name, bytes) => {
    expect(parseProxyHeader(bytes).kind).toBe('malformed');
  });

  it('never throws, never reads beyond the end, and never waits for more than it allows', () => {
    const starts = fc.constantFrom(
      hex(signature),
      Buffer.from('PROXY TCP4 '),
      hex(`${signature}2111`),
      Buffer.alloc(0),
    );
    fc.assert(
      fc.property(starts, fc.uint8Array({ maxLength: 300 }), (start, noise) => {
        const result = parseProxyHeader(Buffer.concat([start, noise]));
        if (result.kind === 'header') expect(result.header.length).toBeLessThanOrEqual(start.length + noise.length);
      }),
      { numRuns: 2_000 },
    );
    const endless = Buffer.concat([hex(signature), hex('21 11 0fff'), Buffer.alloc(proxyHeaderBytesMax)]);
    expect(parseProxyHeader(endless).kind).not.toBe('incomplete');
  });

  it('survives every flipped bit of every vector', () => {
    for (const [, bytes] of vectors) {
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const broken = Buffer.from(bytes);
        broken[bit >> 3] ^= 1 << (bit & 7);
        expect(['header', 'incomplete', 'malformed']).toContain(parseProxyHeader(broken).kind);
      }
    }
  });
});
