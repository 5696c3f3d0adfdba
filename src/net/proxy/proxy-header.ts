/**
 * The header of the PROXY protocol, versions 1 and 2 (the HAProxy specification of it), as a pure parser. Used on the
 * worker that owns the connection, before anything else of the connection is read.
 *
 * Version 1: `PROXY TCP4|TCP6 <source> <destination> <port> <port>\r\n`, or `PROXY UNKNOWN…\r\n`, 107 bytes at most.
 * Version 2: 12 bytes of signature, `version << 4 | command`, `family << 4 | transport`, 16 bits of length; then the
 * addresses, then type-length-value fields.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { crc32c } from '../../core/batch/crc32c.ts';

/** Length of the longest header of version 1, its line end included. */
const textBytesMax = 107;
const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const prefix = Buffer.from('PROXY ', 'latin1');
const fixedBytes = 16;
/** Longest header of version 2 that is read, bytes: certificates in fields of a proxy's own fit well. */
export const proxyHeaderBytesMax = 4096;
const fieldsMax = 64;

const fieldAuthority = 0x02;
const fieldChecksum = 0x03;
const fieldNone = 0x04;
const fieldSsl = 0x20;
const fieldSslVersion = 0x21;
const fieldSslCommonName = 0x22;
const clientSsl = 0x01;
const clientCertificateOfConnection = 0x02;
const clientCertificateOfSession = 0x04;

export interface ProxySsl {
  /** As the proxy writes it, for example 'TLSv1.3', or ''. */
  readonly version: string;
  /** Of the client's certificate; null when it showed none. */
  readonly commonName: string | null;
  /** The proxy found the certificate in order. */
  readonly verified: boolean;
}

export interface ProxyHeader {
  /** Bytes that the header takes. */
  readonly length: number;
  /** Null: the connection is the proxy's own (LOCAL), or it does not tell: the addresses of the socket hold. */
  readonly source: { readonly address: string; readonly port: number } | null;
  /** The host that the client asked for, or ''. */
  readonly authority: string;
  /** Null when the client spoke no TLS with the proxy. */
  readonly ssl: ProxySsl | null;
}

export type ProxyResult =
  | { readonly kind: 'header'; readonly header: ProxyHeader }
  /** More bytes are needed. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'malformed'; readonly reason: string };

const incomplete: ProxyResult = { kind: 'incomplete' };

/** Parses what a connection begins with. Never throws; never asks for more than `proxyHeaderBytesMax` bytes. */
export function parseProxyHeader(bytes: Buffer): ProxyResult {
  if (bytes.length === 0) return incomplete;
  if (startsLike(bytes, signature)) return bytes.length < fixedBytes ? incomplete : parseBinary(bytes);
  if (startsLike(bytes, prefix)) return parseText(bytes);
  return malformed('it begins with something else');
}

/** Whether `bytes` begins with `expected`, as far as both go. */
function startsLike(bytes: Buffer, expected: Buffer): boolean {
  const length = Math.min(bytes.length, expected.length);
  return bytes.compare(expected, 0, length, 0, length) === 0;
}

function malformed(reason: string): ProxyResult {
  return { kind: 'malformed', reason };
}

// ---- version 1

function parseText(bytes: Buffer): ProxyResult {
  const end = bytes.subarray(0, textBytesMax).indexOf('\r\n', 0, 'latin1');
  if (end === -1) return bytes.length < textBytesMax ? incomplete : malformed('its line has no end');
  const words = bytes.toString('latin1', 0, end).split(' ');
  const length = end + 2;
  // What follows UNKNOWN is to be ignored.
  if (words[1] === 'UNKNOWN') return headerOf(length, null);
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = ''] = words;
  if (words.length !== 6) return malformed('its line has not six words');
  if (family !== 'TCP4' && family !== 'TCP6') return malformed('its family is neither TCP4, TCP6 nor UNKNOWN');
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  // A zone belongs to one machine and means nothing on another.
  if (!isAddress(source) || !isAddress(destination) || source.includes('%')) return malformed('an address is wrong');
  if (!isPort(sourcePort) || !isPort(destinationPort)) return malformed('a port is wrong');
  return headerOf(length, { address: source, port: Number(sourcePort) });
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function headerOf(
  length: number,
  source: ProxyHeader['source'],
  authority = '',
  ssl: ProxySsl | null = null,
): ProxyResult {
  return { kind: 'header', header: { length, source, authority, ssl } };
}

// ---- version 2

function parseBinary(bytes: Buffer): ProxyResult {
  const version = bytes[12] >> 4;
  const command = bytes[12] & 0x0f;
  if (version !== 2) return malformed(`its version is ${version}`);
  if (command > 1) return malformed(`its command is ${command}`);
  const length = fixedBytes + bytes.readUInt16BE(14);
  if (length > proxyHeaderBytesMax) return malformed(`it has ${length} bytes, more than ${proxyHeaderBytesMax}`);
  if (bytes.length < length) return incomplete;
  // LOCAL: the proxy asks for itself, a health check for example; whatever follows is skipped.
  if (command === 0) return headerOf(length, null);
  return parseProxied(bytes.subarray(0, length), bytes[13] >> 4);
}

const addressBytes: readonly number[] = [0, 12, 36, 216];

function parseProxied(bytes: Buffer, family: number): ProxyResult {
  const size = addressBytes[family];
  if (size === undefined) return malformed(`its address family is ${family}`);
  if (bytes.length < fixedBytes + size) return malformed('it is too short for its addresses');
  const fields = readFields(bytes, fixedBytes + size, bytes.length);
  if (fields === null) return malformed('its fields do not fit');
  const checksum = fields.get(fieldChecksum);
  if (checksum !== undefined && !isChecksumRight(bytes, checksum)) return malformed('its checksum is wrong');
  const authority = fields.get(fieldAuthority)?.toString('utf8') ?? '';
  const sslField = fields.get(fieldSsl);
  const ssl = sslField === undefined ? null : readSsl(sslField);
  if (ssl === undefined) return malformed('its TLS field does not fit');
  return headerOf(bytes.length, sourceOf(bytes, family), authority, ssl);
}

function sourceOf(bytes: Buffer, family: number): ProxyHeader['source'] {
  if (family === 1) return { address: bytes.subarray(16, 20).join('.'), port: bytes.readUInt16BE(24) };
  if (family === 2) return { address: formatIPv6(bytes.subarray(16, 32)), port: bytes.readUInt16BE(48) };
  return null; // Unspecified, or a path of a Unix socket on the proxy's machine.
}

/** RFC 5952: lower case, the longest run of zero groups shortened; a mapped IPv4 address as such. */
function formatIPv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) return bytes.subarray(12).join('.');
  let runStart = -1;
  let runLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > runLength) {
      runStart = start;
      runLength = end - start;
    }
    if (end > start) start = end;
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (runStart === -1) return text(groups);
  return `${text(groups.slice(0, runStart))}::${text(groups.slice(runStart + runLength))}`;
}

/** The fields by type, the first of each type; null when they do not end where the area ends. */
function readFields(bytes: Buffer, start: number, end: number): Map<number, Buffer> | null {
  const fields = new Map<number, Buffer>();
  let position = start;
  for (let count = 0; position < end; count++) {
    if (end - position < 3 || count === fieldsMax) return null;
    const type = bytes[position];
    const valueEnd = position + 3 + bytes.readUInt16BE(position + 1);
    if (valueEnd > end) return null;
    if (type !== fieldNone && !fields.has(type)) fields.set(type, bytes.subarray(position + 3, valueEnd));
    position = valueEnd;
  }
  return fields;
}

/** Undefined when it is malformed. */
function readSsl(field: Buffer): ProxySsl | null | undefined {
  if (field.length < 5) return undefined;
  const client = field[0];
  if ((client & clientSsl) === 0) return null;
  const inner = readFields(field, 5, field.length);
  if (inner === null) return undefined;
  const hasCertificate = (client & (clientCertificateOfConnection | clientCertificateOfSession)) !== 0;
  const commonName = hasCertificate ? (inner.get(fieldSslCommonName)?.toString('utf8') ?? '') : null;
  // Zero means that a certificate was shown and found in order.
  const verified = hasCertificate && field.readUInt32BE(1) === 0;
  return { version: inner.get(fieldSslVersion)?.toString('latin1') ?? '', commonName, verified };
}

/** CRC32c over the header with the checksum itself as zeros. */
function isChecksumRight(bytes: Buffer, checksum: Buffer): boolean {
  if (checksum.length !== 4) return false;
  const expected = checksum.readUInt32BE(0);
  const cleared = Buffer.from(bytes);
  cleared.fill(0, checksum.byteOffset - bytes.byteOffset, checksum.byteOffset - bytes.byteOffset + 4);
  return crc32c(cleared) === expected;
}
