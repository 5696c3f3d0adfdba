/**
 * The socket towards a remote broker, plain or TLS. The bridge's worker; called once for each attempt, so that files that changed are
 * read anew.
 */
import { readFile } from 'node:fs/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { ServerAddress } from './server-address.ts';
import type { BridgeSettings } from './settings.ts';

/** What has to be read before a connection can be made. */
export interface RemoteMaterial {
  readonly password: Buffer | null;
  /** Null: no TLS. */
  readonly tls: ConnectionOptions | null;
}

const secretBytesMax = 65_535;
const certificateHead = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/;
const keyHead = /-----BEGIN ([A-Z]+ )*PRIVATE KEY-----/;

/** Rejects when a file cannot be read. */
export async function readMaterial(settings: BridgeSettings, address: ServerAddress): Promise<RemoteMaterial> {
  const { password, passwordFile, tls } = settings;
  const fromFile = passwordFile === '' ? null : await readSecret(passwordFile);
  const given = password === '' ? null : Buffer.from(password);
  return { password: fromFile ?? given, tls: address.isSecure ? await readTls(tls, address) : null };
}

async function readTls(tls: BridgeSettings['tls'], { host }: ServerAddress): Promise<ConnectionOptions> {
  const name = tls.serverName === '' ? host : tls.serverName;
  const options: ConnectionOptions = {
    // An address is no name that may be asked for (RFC 6066, section 3); the certificate is compared with it all the same.
    ...(isIP(name) === 0 ? { servername: name } : {}),
    rejectUnauthorized: tls.verify !== 'none',
    minVersion: 'TLSv1.2',
  };
  if (tls.serverName !== '' && isIP(name) !== 0) {
    const { checkServerIdentity } = await import('node:tls');
    options.checkServerIdentity = (_, certificate) => checkServerIdentity(name, certificate);
  }
  // With the authority alone: who it issued the certificate for is not looked at.
  if (tls.verify === 'ca') options.checkServerIdentity = () => undefined;
  if (tls.alpn.length > 0) options.ALPNProtocols = tls.alpn;
  if (tls.ca !== '') options.ca = await readPem(tls.ca, certificateHead);
  if (tls.certificate !== '') options.cert = await readPem(tls.certificate, certificateHead);
  if (tls.key !== '') options.key = await readPem(tls.key, keyHead);
  if (tls.keyPasswordFile !== '') options.passphrase = (await readSecret(tls.keyPasswordFile)).toString();
  return options;
}

/** Without such a block Node would take the file for an empty one, and trust nobody without saying why. */
async function readPem(file: string, head: RegExp): Promise<string> {
  const text = await readFile(file, 'latin1');
  if (!head.test(text))
    throw new Error(`${file} is no PEM file of the right kind: it has no block that matches ${head}`);
  return text;
}

/** The first line of a file. */
async function readSecret(file: string): Promise<Buffer> {
  const bytes = await readFile(file);
  const end = bytes.indexOf(0x0a);
  const line = end < 0 ? bytes : bytes.subarray(0, end);
  const secret = line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
  if (secret.length > secretBytesMax) throw new Error(`the first line of ${file} is longer than a password can be`);
  return secret;
}

/** Begins to connect; the socket says itself how that ends. */
export function openSocket({ host, port }: ServerAddress, { tls }: RemoteMaterial): Socket {
  const socket = tls === null ? connectTcp({ host, port }) : connectTls({ ...tls, host, port });
  return socket.setNoDelay(true);
}
