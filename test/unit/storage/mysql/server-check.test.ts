import { describe, expect, it } from 'vitest';
import { checkServer, type ServerFacts } from '../../../../src/storage/mysql/server-check.ts';

function facts(changes: Partial<ServerFacts> = {}): ServerFacts {
  return {
    version: '10.11.6-MariaDB-0+deb12u1',
    flushLogAtCommit: 1,
    hasBinaryLog: true,
    syncBinaryLog: 1,
    binaryLogFormat: 'MIXED',
    ...changes,
  };
}

describe('checkServer()', () => {
  it('knows both products by their versions', () => {
    for (const version of ['8.0.19', '8.4.2-debug', '9.1.0', '10.6.0-MariaDB', '11.4.2-MariaDB-log']) {
      expect(() => checkServer(facts({ version }), false)).not.toThrow();
    }
    for (const version of ['8.0.18', '5.7.44-log', '10.5.29-MariaDB', 'nonsense']) {
      expect(() => checkServer(facts({ version }), true)).toThrow(/is the oldest that is supported/);
    }
  });

  it('refuses what can lose commits, unless that is allowed', () => {
    for (const risk of [
      { flushLogAtCommit: 2 },
      { flushLogAtCommit: 0 },
      { syncBinaryLog: 0 },
      { syncBinaryLog: 100 },
    ]) {
      expect(() => checkServer(facts(risk), false)).toThrow(/can lose committed records/);
      expect(() => checkServer(facts(risk), true)).not.toThrow();
    }
    expect(() => checkServer(facts({ hasBinaryLog: false, syncBinaryLog: 0 }), false)).not.toThrow();
    expect(() => checkServer(facts({ flushLogAtCommit: 3 }), false)).not.toThrow();
  });

  it('refuses a binary log of statements', () => {
    expect(() => checkServer(facts({ binaryLogFormat: 'STATEMENT' }), true)).toThrow(/ROW or MIXED is needed/);
    expect(() => checkServer(facts({ binaryLogFormat: 'STATEMENT', hasBinaryLog: false }), false)).not.toThrow();
  });
});
