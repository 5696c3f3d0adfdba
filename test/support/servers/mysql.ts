/**
 * Debian's MariaDB server for tests: on a free port of 127.0.0.1, with data of its own in a temporary folder, never a service of the
 * system. Commits are durable as in production. Thread of the test.
 */
import { existsSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestCertificate } from './postgres.ts';
import { dataTemplate, runAs, ServerProcess, type ServerProgram, serverUser } from './server-process.ts';

const serverPath = '/usr/sbin/mariadbd';
const installPath = '/usr/bin/mariadb-install-db';
const password = 'test-mysql-password';
const small = ['--innodb-log-file-size=32M', '--innodb-buffer-pool-size=64M', '--innodb-undo-tablespaces=0'];

/** Run at each start, as one statement in each line. */
const accounts = [
  'CREATE DATABASE IF NOT EXISTS ringmq;',
  `CREATE USER IF NOT EXISTS 'ringmq'@'127.0.0.1' IDENTIFIED BY '${password}';`,
  "GRANT ALL ON *.* TO 'ringmq'@'127.0.0.1' WITH GRANT OPTION;",
];

export interface TestMysql {
  readonly process: ServerProcess;
  readonly port: number;
  /** May do everything. */
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** `tls`: it offers encryption with this certificate. */
export async function startMysql(tls?: TestCertificate): Promise<TestMysql> {
  for (const path of [serverPath, installPath]) {
    if (!existsSync(path)) throw new Error(`Cannot find "${path}": install the package "mariadb-server" first`);
  }
  const user = serverUser('mysql');
  const template = dataTemplate('mariadb-2', user, (data) => {
    // It insists on a folder that it makes itself, and then fills it.
    rmdirSync(data);
    const args = ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db'];
    runAs(user, installPath, [...args, ...small, '--skip-log-bin', '--force']);
    writeFileSync(join(data, 'accounts.sql'), `${accounts.join('\n')}\n`);
  });
  const program: ServerProgram = {
    name: 'mariadb',
    user: 'mysql',
    command: serverPath,
    arguments: (data, port) => [
      '--no-defaults',
      `--datadir=${data}`,
      `--socket=${join(data, 'socket')}`,
      '--bind-address=127.0.0.1',
      `--port=${port}`,
      `--init-file=${join(data, 'accounts.sql')}`,
      '--skip-name-resolve',
      '--skip-log-bin',
      '--innodb-flush-log-at-trx-commit=1',
      '--max-allowed-packet=64M',
      '--max-connections=60',
      ...small,
      ...tlsArguments(tls),
    ],
    ready: /ready for connections/,
    stopSignal: 'SIGTERM',
  };
  const process = await ServerProcess.start(
    program,
    template,
    user,
    tls === undefined ? [] : [tls.certificate, tls.key],
  );
  return { process, port: process.port, user: 'ringmq', password, database: 'ringmq' };
}

function tlsArguments(tls: TestCertificate | undefined): string[] {
  if (tls === undefined) return [];
  return [`--ssl-cert={folder}/${basename(tls.certificate)}`, `--ssl-key={folder}/${basename(tls.key)}`];
}
