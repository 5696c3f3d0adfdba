/**
 * Debian's PostgreSQL server for tests: on a free port of 127.0.0.1, with data of its own in a temporary folder, never a service of the
 * system. Commits are durable as in production. Thread of the test.
 */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { dataTemplate, runAs, ServerProcess, type ServerProgram, serverUser } from './server-process.ts';

const versions = '/usr/lib/postgresql';
const password = 'test-postgres-password';

const settings = [
  "listen_addresses = '127.0.0.1'",
  "unix_socket_directories = ''",
  'fsync = on',
  'synchronous_commit = on',
  'full_page_writes = on',
  'max_connections = 60',
  'shared_buffers = 64MB',
  'min_wal_size = 32MB',
  "log_min_messages = 'warning'",
];

export interface TestPostgres {
  readonly process: ServerProcess;
  readonly port: number;
  /** A superuser. */
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** The folder of the programs of the newest version that is installed. */
function binaries(): string {
  const found = (existsSync(versions) ? readdirSync(versions) : [])
    .filter((version) => existsSync(join(versions, version, 'bin/initdb')))
    .sort((one, other) => Number(one) - Number(other))
    .at(-1);
  if (found === undefined) {
    throw new Error(`Cannot find PostgreSQL in "${versions}": install the package "postgresql" first`);
  }
  return join(versions, found, 'bin');
}

export interface TestCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** `tls`: it offers encryption with this certificate. */
export async function startPostgres(tls?: TestCertificate): Promise<TestPostgres> {
  const folder = binaries();
  const user = serverUser('postgres');
  const template = dataTemplate(`postgres-${folder.split('/').at(-2)}-1`, user, (data) => {
    // Beside the data, which must be empty.
    const passwordFile = `${data}.password`;
    writeFileSync(passwordFile, password, { mode: 0o644 });
    const args = ['--username=postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--encoding=UTF8'];
    runAs(user, join(folder, 'initdb'), [...args, '--locale=C', '--no-sync', '-D', data]);
    rmSync(passwordFile);
    writeFileSync(join(data, 'postgresql.conf'), `${settings.join('\n')}\n`);
  });
  const program: ServerProgram = {
    name: 'postgres',
    user: 'postgres',
    command: join(folder, 'postgres'),
    arguments: (data, port) => ['-D', data, '-p', String(port), ...tlsArguments(tls)],
    ready: /ready to accept connections/,
    stopSignal: 'SIGINT',
  };
  const process = await ServerProcess.start(
    program,
    template,
    user,
    tls === undefined ? [] : [tls.certificate, tls.key],
  );
  return { process, port: process.port, user: 'postgres', password, database: 'postgres' };
}

function tlsArguments(tls: TestCertificate | undefined): string[] {
  if (tls === undefined) return [];
  const files = [`ssl_cert_file={folder}/${basename(tls.certificate)}`, `ssl_key_file={folder}/${basename(tls.key)}`];
  return ['-c', 'ssl=on', ...files.flatMap((file) => ['-c', file])];
}
