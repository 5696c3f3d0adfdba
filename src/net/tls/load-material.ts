/**
 * Reads certificates, keys, authorities and revocation lists from files and tries them out, so that workers get only what
 * works. Main thread: at start, and whenever a file has changed.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:tls';
import { BrokerError, toError } from '../../std/errors.ts';
import { contextOptions, SecureContexts } from './secure-contexts.ts';
import type { ClientCertificateMode, TlsIdentity, TlsMaterial } from './tls-material.ts';

/** A file is read whole; more than this is no certificate. */
const fileBytesMax = 8 * 1024 * 1024;
/** Before a certificate or a revocation list ends, its end is told, ms. */
const expiryWarningMs = 14 * 24 * 3_600_000;

export interface IdentityFiles {
  readonly certificate: string;
  readonly key: string;
  /** '': the key is not encrypted. */
  readonly keyPasswordFile: string;
}

export interface TlsFileSettings {
  /** Name of the listener, for messages. */
  readonly listener: string;
  readonly identities: readonly IdentityFiles[];
  readonly clientCertificate: ClientCertificateMode;
  readonly ca: string;
  readonly crl: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly ciphers: string;
  readonly curves: string;
  readonly alpn: readonly string[];
  readonly sessionTimeoutS: number;
}

/** What was read, but for what is added in memory: stapled responses, ticket keys, the generation. */
export interface LoadedTls {
  readonly material: Omit<TlsMaterial, 'ticketKeys' | 'generation'>;
  /** The certificates of `material.identities`, and their issuers where the chain has them. */
  readonly chains: readonly (readonly X509Certificate[])[];
  /** PEM; also when no client is asked for a certificate: an issuer may be among them. */
  readonly authorities: string;
  /** What is about to go wrong, in words. */
  readonly warnings: readonly string[];
}

/** All files that the settings name. */
export function filesOf({ identities, ca, crl }: TlsFileSettings): string[] {
  const names = identities.flatMap(({ certificate, key, keyPasswordFile }) => [certificate, key, keyPasswordFile]);
  return [...names, ca, crl].filter((name) => name !== '');
}

/** Rejects with `BrokerError` `TLS_MATERIAL_UNUSABLE`, which names the file. */
export async function loadTls(settings: TlsFileSettings, nowMs: number): Promise<LoadedTls> {
  const { listener } = settings;
  const warnings: string[] = [];
  const read = await Promise.all(settings.identities.map((files) => loadIdentity(files, listener, nowMs, warnings)));
  const asks = settings.clientCertificate !== 'none';
  const authorities = settings.ca === '' ? '' : await readText(settings.ca, 'the authorities', listener);
  if (authorities !== '') checkAuthorities(authorities, settings.ca, listener, nowMs, warnings);
  const ca = asks ? authorities : '';
  const crl = settings.crl === '' ? '' : await readText(settings.crl, 'the revocation lists', listener);
  if (crl !== '') await checkRevocationLists(crl, settings.crl, listener, nowMs, warnings);
  const { clientCertificate, minVersion, ciphers, curves, alpn, sessionTimeoutS } = settings;
  const identities = read.map(({ identity }) => identity);
  const material = { identities, ca, crl, clientCertificate, minVersion, ciphers, curves, alpn, sessionTimeoutS };
  tryOut(material, listener);
  return { material, chains: read.map(({ chain }) => chain), authorities, warnings };
}

async function loadIdentity(
  files: IdentityFiles,
  listener: string,
  nowMs: number,
  warnings: string[],
): Promise<{ readonly identity: TlsIdentity; readonly chain: readonly X509Certificate[] }> {
  const certificate = await readText(files.certificate, 'the certificate', listener);
  const chain = parseCertificates(certificate, files.certificate, listener);
  const keyText = await readText(files.key, 'the key', listener);
  const password =
    files.keyPasswordFile === ''
      ? undefined
      : (await readText(files.keyPasswordFile, "the key's password", listener)).replace(/\r?\n[\s\S]*$/, '');
  const key = await parseKey(keyText, password, files.key, listener);
  const [own] = chain;
  if (!own.checkPrivateKey(key)) {
    throw unusable(listener, files.key, `it is not the key of the certificate in "${files.certificate}"`);
  }
  noteExpiry(own.validTo, `the certificate in "${files.certificate}"`, nowMs, warnings);
  return {
    identity: {
      certificate,
      key: key.export({ type: 'pkcs8', format: 'pem' }) as string,
      names: namesOf(own),
      fingerprint256: own.fingerprint256,
      ocspResponse: null,
    },
    chain,
  };
}

async function readText(file: string, what: string, listener: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw unusable(listener, file, `${what} cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`, error);
  }
  if (bytes.length > fileBytesMax) throw unusable(listener, file, `it has more than ${fileBytesMax} bytes`);
  return bytes.toString('latin1');
}

function parseCertificates(text: string, file: string, listener: string): X509Certificate[] {
  const blocks = text.match(
    /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[\s\S]+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g,
  );
  if (blocks === null) throw unusable(listener, file, 'it holds no certificate in PEM form');
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw unusable(listener, file, 'a certificate in it cannot be read', error);
  }
}

async function parseKey(text: string, passphrase: string | undefined, file: string, listener: string) {
  try {
    return createPrivateKey(passphrase === undefined ? text : { key: text, passphrase });
  } catch (error) {
    const why = text.includes('ENCRYPTED') ? 'its password is missing or wrong' : 'it holds no private key in PEM form';
    throw unusable(listener, file, why, error);
  }
}

/** The DNS names of the certificate; the common name only when there is none, as clients do. */
function namesOf(certificate: X509Certificate): string[] {
  const names = [...(certificate.subjectAltName ?? '').matchAll(/DNS:([^,\s"]+)/g)].map(([, name]) =>
    name.toLowerCase(),
  );
  if (names.length > 0) return names;
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  return common === undefined ? [] : [common.toLowerCase()];
}

function checkAuthorities(ca: string, file: string, listener: string, nowMs: number, warnings: string[]): void {
  for (const certificate of parseCertificates(ca, file, listener)) {
    if (!certificate.ca) throw unusable(listener, file, `"${oneLine(certificate.subject)}" in it is no authority`);
    noteExpiry(certificate.validTo, `the authority "${oneLine(certificate.subject)}" in "${file}"`, nowMs, warnings);
  }
}

/** A list that has ended makes every client that it could be about a stranger, so its end is told early. */
async function checkRevocationLists(
  text: string,
  file: string,
  listener: string,
  nowMs: number,
  warnings: string[],
): Promise<void> {
  const blocks = [...text.matchAll(/-----BEGIN X509 CRL-----([\s\S]+?)-----END X509 CRL-----/g)];
  if (blocks.length === 0) throw unusable(listener, file, 'it holds no revocation list in PEM form');
  const [{ AsnConvert }, { CertificateList }] = await Promise.all([
    import('@peculiar/asn1-schema'),
    import('@peculiar/asn1-x509'),
  ]);
  for (const [, base64] of blocks) {
    try {
      const list = AsnConvert.parse(Buffer.from(base64, 'base64'), CertificateList);
      const next = list.tbsCertList.nextUpdate?.getTime();
      if (next !== undefined) noteExpiry(next.toUTCString(), `a revocation list in "${file}"`, nowMs, warnings);
    } catch (error) {
      throw unusable(listener, file, 'a revocation list in it cannot be read', error);
    }
  }
}

function noteExpiry(end: string, what: string, nowMs: number, warnings: string[]): void {
  const leftMs = Date.parse(end) - nowMs;
  if (leftMs <= 0) warnings.push(`${what} has expired (${end})`);
  else if (leftMs < expiryWarningMs) warnings.push(`${what} expires soon (${end})`);
}

/** The very calls that the workers make. */
function tryOut(material: LoadedTls['material'], listener: string): void {
  const complete: TlsMaterial = { ...material, ticketKeys: null, generation: 0 };
  try {
    new SecureContexts(complete);
    createServer({ ...contextOptions(complete, complete.identities[0]), ALPNProtocols: [...material.alpn] });
  } catch (error) {
    throw new BrokerError(
      'TLS_MATERIAL_UNUSABLE',
      `Cannot use the TLS settings of listener "${listener}": ${toError(error).message}`,
      { cause: error },
    );
  }
}

function unusable(listener: string, file: string, why: string, cause?: unknown): BrokerError {
  return new BrokerError('TLS_MATERIAL_UNUSABLE', `Cannot use "${file}" for listener "${listener}": ${why}`, { cause });
}

function oneLine(subject: string): string {
  return subject.replaceAll('\n', ', ');
}
