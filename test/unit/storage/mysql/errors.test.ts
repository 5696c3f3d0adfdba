import { describe, expect, it } from 'vitest';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { EngineFailedError } from '../../../../src/core/streams/store-engine.ts';
import { connectError, describe as say, setupError, statementError } from '../../../../src/storage/mysql/errors.ts';

function server(errno: number, sqlState = 'HY000'): Error {
  return Object.assign(new Error('what the server said'), { errno, sqlState });
}

function kindOf(error: Error): string {
  return error instanceof StorageError ? error.code : error.name;
}

describe('statementError()', () => {
  it('says that nothing happened when the server rolled the statement back', () => {
    for (const errno of [1205, 1213, 1040, 1062, 1142, 1290]) {
      expect(kindOf(statementError(server(errno)))).toBe('STORAGE_UNAVAILABLE');
    }
    expect(kindOf(statementError(server(1114)))).toBe('STORAGE_DISK_FULL');
    expect(kindOf(statementError(server(1712)))).toBe('STORAGE_CORRUPTED');
  });

  it('leaves the outcome open when the connection ended, and after any error of a commit', () => {
    const lost = Object.assign(new Error('read ECONNRESET'), { errno: -104, code: 'ECONNRESET' });
    for (const error of [server(1053), server(1317), server(9999), lost, new Error('lost'), 'text']) {
      expect(kindOf(statementError(error))).toBe('EngineLostError');
    }
    for (const errno of [1205, 1213, 1114]) expect(kindOf(statementError(server(errno), true))).toBe('EngineLostError');
  });
});

describe('connectError()', () => {
  it('gives up on what only the operator can change, but not once there was a connection', () => {
    for (const errno of [1045, 1044, 1049, 1698]) {
      expect(kindOf(connectError(server(errno), true))).toBe('EngineFailedError');
      expect(kindOf(connectError(server(errno), false))).toBe('STORAGE_UNAVAILABLE');
    }
    expect(kindOf(connectError(server(1040), true))).toBe('STORAGE_UNAVAILABLE');
    expect(kindOf(connectError(new EngineFailedError('too old'), false))).toBe('STORAGE_UNAVAILABLE');
  });
});

describe('setupError()', () => {
  it('tells rights and foreign tables from a server that went away', () => {
    expect(setupError(server(1142, '42000')).message).toContain('lacks a right');
    expect(setupError(server(1054, '42S22')).message).toContain('other tables');
    expect(kindOf(setupError(server(1053)))).toBe('EngineLostError');
  });
});

describe('describe()', () => {
  it('names the product, and the number when the server gave one', () => {
    expect(say(server(1205))).toBe('MySQL: what the server said (1205)');
    expect(say(Object.assign(new Error('connect'), { errno: -111 }))).toBe('MySQL: connect');
  });
});
