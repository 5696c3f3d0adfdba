/** The state store contract over LMDB and over the simulator's store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLmdbStore } from '../../src/raft/placement/lmdb-store.ts';
import { SimulatedStore } from '../support/simulated-store.ts';
import { describeStateStore } from './state-store.contract.ts';

describeStateStore('LMDB', async () => {
  const path = await mkdtemp(join(tmpdir(), 'ringmq-store-'));
  const first = openLmdbStore({ path });
  let present = first;
  return {
    store: first,
    async reopen() {
      await present.closed();
      present = openLmdbStore({ path });
      return present;
    },
    async stop() {
      await present.closed();
      await rm(path, { recursive: true });
    },
  };
});

describeStateStore('simulated', () => {
  const store = new SimulatedStore();
  return Promise.resolve({
    store,
    reopen() {
      store.crash();
      return Promise.resolve(store);
    },
    stop: () => Promise.resolve(),
  });
});
