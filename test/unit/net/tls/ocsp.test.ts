/** OCSP against answers that the `openssl` command makes. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ocspRequestOf, readOcspResponse, responderOf } from '../../../../src/net/tls/ocsp.ts';
import { type Issued, RevokingAuthority } from '../../../support/transports/authority.ts';

let authority: RevokingAuthority;
let stranger: RevokingAuthority;
let issued: Issued;
let other: Issued;
const parse = (file: string): X509Certificate => new X509Certificate(readFileSync(file));

beforeAll(() => {
  authority = new RevokingAuthority();
  stranger = new RevokingAuthority('stranger');
  issued = authority.issue('mq', ['DNS:mq.example'], { responder: 'http://127.0.0.1:1/ocsp' });
  other = authority.issue('other', []);
});

afterAll(() => {
  authority.remove();
  stranger.remove();
});

describe('readOcspResponse()', () => {
  const read = (bytes: Buffer, nowMs = Date.now()) =>
    readOcspResponse(bytes, parse(issued.certificate), parse(authority.ca), nowMs);

  it('reads the answer to its own request, good and then revoked', () => {
    const request = ocspRequestOf(parse(other.certificate), parse(authority.ca));
    const ask = () =>
      readOcspResponse(authority.ocspResponse({ request }), parse(other.certificate), parse(authority.ca), Date.now());
    const good = ask();
    expect(good.status).toBe('good');
    expect(good.expiresMs).toBeGreaterThan(Date.now() + 80_000_000);
    authority.revoke(other);
    expect(ask().status).toBe('revoked');
  });

  it('refuses what must not be stapled', () => {
    const right = authority.ocspResponse({ issued });
    expect(read(right).status).toBe('good');
    expect(() => read(authority.ocspResponse({ issued: other }))).toThrow('the response is about another certificate');
    expect(() => read(right, Date.now() + 2 * 86_400_000)).toThrow('the response has expired');
    expect(() => read(right, Date.now() - 86_400_000)).toThrow('the response is from the future');
    expect(() => readOcspResponse(right, parse(issued.certificate), parse(stranger.ca), Date.now())).toThrow(
      /signed neither by the authority/,
    );
    expect(() => read(Buffer.from('nonsense'))).toThrow('the response is not well formed');
    // "tryLater"
    expect(() => read(Buffer.from('30030a0103', 'hex'))).toThrow('the responder answers "tryLater"');
  });

  it('refuses an answer of which any byte was changed, or says the same', () => {
    const right = authority.ocspResponse({ issued });
    let refused = 0;
    for (let index = 0; index < right.length; index += 3) {
      const broken = Buffer.from(right);
      broken[index] ^= 0x01;
      try {
        expect(read(broken).status).toBe('good');
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(20);
  });
});

describe('responderOf()', () => {
  it('finds the address that the certificate names', () => {
    expect(responderOf(parse(issued.certificate))).toBe('http://127.0.0.1:1/ocsp');
    expect(responderOf(parse(other.certificate))).toBeNull();
  });
});
