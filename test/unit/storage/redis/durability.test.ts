import { describe, expect, it } from 'vitest';
import {
  hasWaitAof,
  judgeDurability,
  type ServerFacts,
  versionProblem,
} from '../../../../src/storage/redis/durability.ts';

const good: ServerFacts = {
  version: '7.0.15',
  appendOnly: 'yes',
  appendFsync: 'always',
  evictionPolicy: 'noeviction',
};

describe('judgeDurability()', () => {
  it('is content with a server that syncs before it answers', () => {
    expect(judgeDurability(good, false)).toEqual({ kind: 'synced', reason: '' });
    expect(judgeDurability(good, true)).toEqual({ kind: 'synced', reason: '' });
    expect(judgeDurability({ ...good, evictionPolicy: 'volatile-lru' }, false).kind).toBe('synced');
    expect(judgeDurability({ ...good, evictionPolicy: null }, false).kind).toBe('synced');
  });

  it('waits for the sync where the server can tell when it was', () => {
    const everySecond = { ...good, appendFsync: 'everysec', version: '7.2.0' };
    expect(judgeDurability(everySecond, false)).toEqual({ kind: 'wait', reason: '' });
    expect(judgeDurability(everySecond, true).kind).toBe('none');
    expect(judgeDurability({ ...everySecond, version: '7.0.15' }, false).kind).toBe('none');
    expect(judgeDurability({ ...everySecond, appendFsync: 'no' }, false).kind).toBe('none');
  });

  it('says why records can be lost', () => {
    const cases: [Partial<ServerFacts>, string][] = [
      [{ appendOnly: null }, 'it does not let CONFIG GET be asked'],
      [{ appendFsync: null }, 'it does not let CONFIG GET be asked'],
      [{ appendOnly: 'no' }, 'appendonly is "no" and not "yes"'],
      [{ appendFsync: 'everysec' }, 'appendfsync is "everysec" and not "always"'],
      [{ evictionPolicy: 'allkeys-lru' }, 'maxmemory-policy is "allkeys-lru"'],
    ];
    for (const [facts, reason] of cases) {
      expect(judgeDurability({ ...good, ...facts }, false)).toEqual({ kind: 'none', reason });
    }
  });
});

describe('versions', () => {
  it('versionProblem() names a server that is too old', () => {
    for (const version of ['6.2.0', '6.10.1', '7.0.15', '8.0.2', '255.255.255'])
      expect(versionProblem(version)).toBe('');
    for (const version of ['6.0.16', '5.0.14', '0', '']) {
      expect(versionProblem(version)).toBe(`version ${version} is older than 6.2`);
    }
  });

  it('hasWaitAof() is true from 7.2 on', () => {
    expect(['7.0.15', '6.2.0'].map(hasWaitAof)).toEqual([false, false]);
    expect(['7.2.0', '8.0.2'].map(hasWaitAof)).toEqual([true, true]);
  });
});
