/** A client's certificate as protocols see it, read off Node's. Lives on the worker that owns the connection. */
import type { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from '../../core/ports/connection.ts';

/** A certificate with more names than this is cut short: it is the client that chose them. */
const namesMax = 64;

export function describePeer(certificate: X509Certificate, verified: boolean): PeerCertificate {
  // One relative name per line, the most general first, special characters escaped as RFC 4514 says.
  const lines = certificate.subject === undefined ? [] : certificate.subject.split('\n').filter((line) => line !== '');
  const commonName = lines.findLast((line) => line.startsWith('CN='));
  return {
    verified,
    subject: lines.toReversed().join(','),
    commonName: commonName === undefined ? '' : unescapeName(commonName.slice(3)),
    subjectAltNames: splitAltNames(certificate.subjectAltName ?? ''),
    fingerprint256: certificate.fingerprint256,
  };
}

/** `\,` and `\C3\BC` (RFC 4514, section 2.4) as what they stand for. */
export function unescapeName(text: string): string {
  if (!text.includes('\\')) return text;
  const bytes: Buffer[] = [];
  for (const [, hex, escaped, plain] of text.matchAll(/\\([0-9A-Fa-f]{2})|\\([\s\S])|([^\\]+)/g)) {
    bytes.push(hex === undefined ? Buffer.from(escaped ?? plain ?? '') : Buffer.from(hex, 'hex'));
  }
  return Buffer.concat(bytes).toString('utf8');
}

/** Node writes `DNS:a, IP Address:::1, DNS:"b, DNS:c"`: what could be misread is a JSON string. */
export function splitAltNames(text: string): string[] {
  const names: string[] = [];
  for (const [, kind, quoted, plain] of text.matchAll(
    /([A-Za-z][A-Za-z0-9 ]*):(?:("(?:[^"\\]|\\.)*")|([^,]*))(?:, |$)/gy,
  )) {
    const value = quoted === undefined ? (plain ?? '') : parseQuoted(quoted);
    names.push(`${kind === 'IP Address' ? 'IP' : kind}:${value}`);
    if (names.length === namesMax) break;
  }
  return names;
}

function parseQuoted(text: string): string {
  try {
    return JSON.parse(text) as string;
  } catch {
    return text; // Not as Node promises: better an odd name than another one.
  }
}
