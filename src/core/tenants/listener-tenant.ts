/**
 * The tenant that a listener gives its clients: its own, or the one of the host name that a client asked for, or of a part of its
 * certificate. Pure; connection workers; called by protocols when a client wants in.
 */
import type { Connection, ListenerTenancy, PeerCertificate } from '../ports/connection.ts';

/**
 * Null when the listener says nothing, and whoever else may say it does; '' when it is to say it and cannot: the client comes in nowhere.
 */
export function listenerTenant({
  listener,
  serverName,
  tls,
}: Pick<Connection, 'listener' | 'serverName' | 'tls'>): string | null {
  const { tenancy } = listener;
  if (tenancy === undefined) return null;
  if (tenancy.from === 'listener') return tenancy.name;
  const value = shownBy(tenancy.from, serverName, tls);
  const found = value === '' ? undefined : tenancy.table.find((each) => each.value === value);
  return found?.tenant ?? tenancy.name;
}

/** '' for none. */
function shownBy(from: ListenerTenancy['from'], serverName = '', certificate?: PeerCertificate): string {
  // Host names do not know upper case (RFC 4343); the table has them in lower case.
  if (from === 'server-name') return serverName.toLowerCase().replace(/\.$/, '');
  if (certificate?.verified !== true) return '';
  switch (from) {
    case 'certificate-common-name':
      return certificate.commonName;
    case 'certificate-organization':
      return partOf(certificate.subject, 'O');
    default:
      return partOf(certificate.subject, 'OU');
  }
}

/** The most specific value of an attribute in a name as RFC 4514 writes it; '' when there is none, or when it is not text. */
export function partOf(subject: string, attribute: string): string {
  for (let at = 0; at < subject.length; ) {
    const equals = subject.indexOf('=', at);
    if (equals === -1) return '';
    const { value, end } = valueAt(subject, equals + 1);
    if (subject.slice(at, equals).trim().toUpperCase() === attribute) return value;
    at = end + 1;
  }
  return '';
}

/** From `start` to the next `,` or `+` that is no part of the value. */
function valueAt(subject: string, start: number): { readonly value: string; readonly end: number } {
  const bytes: Buffer[] = [];
  /** Without the space in front of `+`. */
  let length = 0;
  let at = start;
  for (; at < subject.length && subject[at] !== ',' && subject[at] !== '+'; at++) {
    if (subject[at] !== '\\') {
      const code = subject.codePointAt(at) as number;
      bytes.push(Buffer.from(String.fromCodePoint(code)));
      if (subject[at] !== ' ') length = bytes.length;
      if (code > 0xffff) at++;
      continue;
    }
    const pair = subject.slice(at + 1, at + 3);
    const isHex = /^[0-9a-f]{2}$/i.test(pair);
    bytes.push(isHex ? Buffer.from(pair, 'hex') : Buffer.from(pair.slice(0, 1)));
    length = bytes.length;
    at += isHex ? 2 : 1;
  }
  const value = Buffer.concat(bytes.slice(0, length)).toString();
  // `#` begins the hexadecimal encoding of what is no text.
  return { value: subject[start] === '#' ? '' : value, end: at };
}
