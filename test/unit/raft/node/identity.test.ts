import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  newReplicaId,
  openIdentity,
  readIdentity,
  seedsInForce,
  writeIdentity,
} from '../../../../src/raft/node/identity.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-identity-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('openIdentity()', () => {
  it('gives a new folder a random replica id and keeps it', () => {
    const place = join(folder, 'deep', 'placement');
    const identity = openIdentity(place);
    expect(identity).toMatchObject({ clusterId: '', isFounder: false, wantsVote: false, seeds: [] });
    expect(openIdentity(place)).toEqual(identity);
    rmSync(place, { recursive: true });
    expect(openIdentity(place).replica).not.toBe(identity.replica);
  });

  it('reads what writeIdentity() wrote and leaves no draft', () => {
    const identity = {
      replica: Number.MAX_SAFE_INTEGER,
      name: 'node',
      clusterId: 'group',
      isFounder: true,
      wantsVote: true,
      port: 9200,
      seeds: [{ replica: 5, name: 'other', address: 'host:1' }],
    };
    writeIdentity(folder, identity);
    expect(readIdentity(folder)).toEqual(identity);
    expect(readdirSync(folder)).toEqual(['identity.json']);
  });

  it('throws CorruptionError for a file that is damaged or of another version', () => {
    openIdentity(folder);
    const file = join(folder, 'identity.json');
    const whole = readFileSync(file, 'utf8');
    const damaged = [
      whole.slice(0, -10),
      whole.replace('"version": 1', '"version": 2'),
      whole.replace(/"replica": "\d+"/, '"replica": "0"'),
      whole.replace('"seeds": []', '"seeds": [{}]'),
      'null',
    ];
    for (const text of damaged) {
      writeFileSync(file, text);
      expect(() => openIdentity(folder), text).toThrow(expect.objectContaining({ name: 'CorruptionError' }));
    }
  });
});

describe('seedsInForce()', () => {
  it('forgets them once the group itself has said who this is', () => {
    const seeds = [{ replica: 5, name: 'other', address: 'host:1' }];
    expect(seedsInForce({ replica: 7, seeds }, new Map([[5, {}]]))).toEqual(seeds);
    expect(seedsInForce({ replica: 7, seeds }, new Map([[7, {}]]))).toEqual([]);
  });
});

describe('newReplicaId()', () => {
  it('is a safe whole number above 0 and does not repeat', () => {
    const ids = Array.from({ length: 1_000 }, newReplicaId);
    for (const id of ids) expect(Number.isSafeInteger(id) && id > 0).toBe(true);
    expect(new Set(ids).size).toBe(1_000);
    expect(Math.max(...ids)).toBeGreaterThan(2 ** 50);
  });
});
