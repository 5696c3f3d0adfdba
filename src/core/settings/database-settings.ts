/**
 * How a database server is reached: the settings that all storage adapters over such a server have in common, and what they come
 * to. Thread: schema on any; `databaseTarget` on the one that holds the store. Called by the adapters.
 */

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Static } from 'typebox';
import { toError } from '../../std/errors.ts';
import { boolean, choice, integer, section, text } from './schema-builders.ts';

export interface DatabaseKind {
  /** For descriptions. */
  readonly name: string;
  readonly port: number;
  /** Schemes of its URLs, without the colon; the first one is in examples. */
  readonly schemes: readonly [string, ...string[]];
}

/** The settings; an adapter adds its own. */
export function databaseProperties(kind: DatabaseKind) {
  const [scheme] = kind.schemes;
  const file = (description: string) => text({ description, default: '', maxLength: 4_096 });
  return {
    url: text({
      description: `Address, user, password and database in one: ${scheme}://user:password@host:${kind.port}/database. Wins over the settings that follow. Empty: those are used.`,
      default: '',
      maxLength: 4_096,
      writeOnly: true,
    }),
    host: text({
      description: 'Host name or address of the server, or the path of its socket, with a slash in front.',
      default: '127.0.0.1',
      minLength: 1,
      maxLength: 255,
    }),
    port: integer({ description: 'TCP port of the server.', default: kind.port, minimum: 1, maximum: 65_535 }),
    user: text({ description: 'User of the database.', default: 'ringmq', minLength: 1, maxLength: 128 }),
    password: text({ description: 'Password of the user.', default: '', maxLength: 1_024, writeOnly: true }),
    passwordFile: file(
      'File with the password, read for each new connection, so that it can be changed. Wins over `password`.',
    ),
    database: text({ description: 'Name of the database. It must exist.', default: 'ringmq', maxLength: 128 }),
    tls: section(
      {
        mode: choice(['off', 'verify', 'unverified'], {
          description:
            'verify: TLS, with a certificate that is signed by a known authority for the name of the host. unverified: TLS with whoever answers.',
          default: 'off',
        }),
        ca: file('File with the authority that signs the certificate of the server, PEM. Empty: the known ones.'),
        certificate: file('File with the certificate that this broker shows, PEM.'),
        key: file('File with its key, PEM.'),
      },
      { description: 'Encryption of the connections.' },
    ),
    connections: integer({
      description: 'Connections that are open at most. A third of them is for appends.',
      default: 6,
      minimum: 2,
      maximum: 64,
    }),
    connectTimeoutMs: integer({
      description: 'Time limit for a new connection, ms.',
      default: 5_000,
      minimum: 100,
      maximum: 120_000,
    }),
    lockTimeoutMs: integer({
      description: 'How long a statement waits for a row that another one holds, ms; then it is tried again.',
      default: 5_000,
      minimum: 1_000,
      maximum: 120_000,
    }),
    allowUnsafe: boolean({
      description: `Accepts a server whose own settings can lose committed records in a crash. Only for tests.`,
      default: false,
    }),
  };
}

export type DatabaseSettings = Static<ReturnType<typeof databaseSchema>>;

/** For its type: a section with nothing of an adapter's own. */
export function databaseSchema(kind: DatabaseKind) {
  return section(databaseProperties(kind), { description: `Records in ${kind.name}.` });
}

export interface DatabaseTls {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface DatabaseTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  /** Null: no encryption. */
  readonly tls: DatabaseTls | null;
  /** As it is now. */
  password(): Promise<string>;
}

/**
 * What the settings come to. Messages of errors never contain the URL or a password.
 *
 * @throws Error with a message that names the setting
 */
export function databaseTarget(kind: DatabaseKind, settings: DatabaseSettings): DatabaseTarget {
  const { passwordFile } = settings;
  const from = settings.url === '' ? settings : fromUrl(kind, settings.url);
  return {
    host: from.host,
    port: from.port,
    user: from.user,
    database: from.database,
    tls: tlsOf(settings.tls),
    password: () => (passwordFile === '' ? Promise.resolve(from.password) : readPassword(passwordFile)),
  };
}

function fromUrl(kind: DatabaseKind, value: string) {
  const url = URL.parse(value);
  if (url === null) throw problem('url', 'it is not a URL');
  if (!kind.schemes.includes(url.protocol.slice(0, -1))) {
    throw problem('url', `its scheme is none of ${kind.schemes.join(', ')}`);
  }
  if (url.search !== '' || url.hash !== '') throw problem('url', 'it has parameters; use the other settings');
  const database = decode(url.pathname.slice(1));
  const user = decode(url.username);
  if (url.hostname === '' || database === '' || user === '') throw problem('url', 'host, user or database is missing');
  const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : decode(url.hostname);
  return { host, port: Number(url.port || kind.port), user, database, password: decode(url.password) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw problem('url', 'a percent sign in it has no two hexadecimal digits behind it');
  }
}

function tlsOf({ mode, ca, certificate, key }: DatabaseSettings['tls']): DatabaseTls | null {
  if (mode === 'off') {
    if (ca !== '' || certificate !== '' || key !== '') throw problem('tls', 'it has files, and its mode is off');
    return null;
  }
  if ((certificate === '') !== (key === '')) throw problem('tls', 'certificate and key belong together');
  return {
    rejectUnauthorized: mode === 'verify',
    ...(ca === '' ? {} : { ca: readPem('tls.ca', ca) }),
    ...(certificate === '' ? {} : { cert: readPem('tls.certificate', certificate), key: readPem('tls.key', key) }),
  };
}

function readPem(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw problem(setting, toError(error).message);
  }
}

async function readPassword(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    throw problem('passwordFile', toError(error).message);
  }
}

function problem(setting: string, state: string): Error {
  return new Error(`Cannot use setting "${setting}" of the database: ${state}`);
}
