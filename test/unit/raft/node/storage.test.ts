/** What is found at the start when log and state are opened together. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stateFolder } from '../../../../src/raft/node/folders.ts';
import { openStorage } from '../../../../src/raft/node/storage.ts';
import { uint53Key } from '../../../../src/raft/placement/bytes.ts';
import { CorruptionError } from '../../../../src/raft/placement/errors.ts';
import { openLmdbStore } from '../../../../src/raft/placement/lmdb-store.ts';
import { emptyRoot } from '../../../../src/raft/placement/root-record.ts';
import { StateTables } from '../../../../src/raft/placement/state-core.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-storage-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('openStorage()', () => {
  it('opens an empty folder twice', async () => {
    for (let times = 0; times < 2; times += 1) {
      const storage = openStorage(folder, 7, 0, () => undefined);
      expect(storage.state.appliedIndex).toBe(0);
      await storage.close();
    }
  });

  it('calls a stored row that cannot be decoded damage', async () => {
    await openStorage(folder, 7, 0, () => undefined).close();
    const store = openLmdbStore({ path: stateFolder(folder) });
    await new Promise<void>((resolve, reject) => {
      const key = new StateTables(store, emptyRoot.half).changes.storeKey(uint53Key(1));
      store.commit([{ key, value: Buffer.of(1) }], (error) => (error === null ? resolve() : reject(error)));
    });
    await store.closed();
    expect(() => openStorage(folder, 7, 0, () => undefined)).toThrow(CorruptionError);
    expect(() => openStorage(folder, 7, 0, () => undefined)).toThrow('The state cannot be read: ');
  });
});
