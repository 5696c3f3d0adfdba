/** What a server of MySQL or MariaDB must be like. Pure. Any thread; called for each new connection. */

import { EngineFailedError } from '../../core/streams/store-engine.ts';

export interface ServerFacts {
  /** As `version()` says it. */
  readonly version: string;
  readonly flushLogAtCommit: number;
  readonly hasBinaryLog: boolean;
  readonly syncBinaryLog: number;
  readonly binaryLogFormat: string;
}

const mysqlMin = [8, 0, 19] as const;
const mariadbMin = [10, 6, 0] as const;

/** @throws EngineFailedError */
export function checkServer(facts: ServerFacts, allowUnsafe: boolean): void {
  const isMariadb = /mariadb/i.test(facts.version);
  const min = isMariadb ? mariadbMin : mysqlMin;
  if (isOlder(facts.version, min)) {
    const name = isMariadb ? 'MariaDB' : 'MySQL';
    throw new EngineFailedError(
      `the server is ${name} ${facts.version}: version ${min.join('.')} is the oldest that is supported`,
    );
  }
  if (facts.hasBinaryLog && facts.binaryLogFormat.toUpperCase() === 'STATEMENT') {
    throw new EngineFailedError('the server has binlog_format STATEMENT: ROW or MIXED is needed');
  }
  const risk = riskOf(facts);
  if (risk === null || allowUnsafe) return;
  throw new EngineFailedError(`the server can lose committed records in a crash: its setting ${risk}`);
}

function riskOf({ flushLogAtCommit, hasBinaryLog, syncBinaryLog }: ServerFacts): string | null {
  // 3 is MariaDB's: as 1, and one sync more.
  if (flushLogAtCommit !== 1 && flushLogAtCommit !== 3) {
    return `innodb_flush_log_at_trx_commit is ${flushLogAtCommit} and not 1`;
  }
  // With a binary log it decides after a crash what was committed.
  if (hasBinaryLog && syncBinaryLog !== 1) return `sync_binlog is ${syncBinaryLog} and not 1`;
  return null;
}

function isOlder(version: string, min: readonly number[]): boolean {
  const numbers = /(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number) ?? [0, 0, 0];
  for (const [at, number] of min.entries()) {
    if (numbers[at] !== number) return numbers[at] < number;
  }
  return false;
}
