import { describe, expect, it } from 'vitest';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { EngineFailedError, EngineLostError } from '../../../../src/core/streams/store-engine.ts';
import { connectError, describe as say, setupError, statementError } from '../../../../src/storage/postgres/errors.ts';

function server(code: string, severity = 'ERROR'): Error {
  return Object.assign(new Error('what the server said'), { code, severity });
}

function kindOf(error: Error): string {
  return error instanceof StorageError ? error.code : error.name;
}

describe('statementError()', () => {
  it('says that nothing happened when the server rolled the statement back', () => {
    for (const code of ['40001', '40P01', '55P03', '53300', '42501', '23505', '22003', '25006']) {
      expect(kindOf(statementError(server(code)))).toBe('STORAGE_UNAVAILABLE');
    }
    expect(kindOf(statementError(server('53100')))).toBe('STORAGE_DISK_FULL');
    expect(kindOf(statementError(server('XX001')))).toBe('STORAGE_CORRUPTED');
  });

  it('leaves the outcome open when the connection ended, or the server stopped it', () => {
    const open = [
      server('57P01', 'FATAL'),
      server('53100', 'PANIC'),
      server('57014'),
      server('XX000'),
      server('08006'),
    ];
    for (const error of [...open, new Error('Connection terminated unexpectedly'), 'text']) {
      expect(kindOf(statementError(error))).toBe('EngineLostError');
    }
  });

  it('keeps what is known already', () => {
    const known = new EngineLostError('x');
    expect(statementError(known)).toBe(known);
  });
});

describe('connectError()', () => {
  it('gives up on what only the operator can change, but not once there was a connection', () => {
    for (const code of ['28P01', '28000', '3D000']) {
      expect(kindOf(connectError(server(code, 'FATAL'), true))).toBe('EngineFailedError');
      expect(kindOf(connectError(server(code, 'FATAL'), false))).toBe('STORAGE_UNAVAILABLE');
    }
    expect(kindOf(connectError(server('57P03', 'FATAL'), true))).toBe('STORAGE_UNAVAILABLE');
    expect(kindOf(connectError(new EngineFailedError('too old'), true))).toBe('EngineFailedError');
    expect(kindOf(connectError(new EngineFailedError('too old'), false))).toBe('STORAGE_UNAVAILABLE');
  });
});

describe('setupError()', () => {
  it('tells rights and foreign tables from a server that went away', () => {
    expect(setupError(server('42501')).message).toContain('lacks a right');
    expect(setupError(server('42703')).message).toContain('other tables');
    expect(kindOf(setupError(server('42703')))).toBe('EngineFailedError');
    expect(kindOf(setupError(server('57P01', 'FATAL')))).toBe('EngineLostError');
  });
});

describe('describe()', () => {
  it('names the product, and the code when the server gave one', () => {
    expect(say(server('40001'))).toBe('PostgreSQL: what the server said (40001)');
    expect(say(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }))).toBe('PostgreSQL: connect');
    expect(say(new AggregateError([new Error('one'), new Error('two')], ''))).toContain('one, Error: two');
  });
});
