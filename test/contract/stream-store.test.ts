// The stream stores that need no server: each has to do the same.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StoreFront } from '../../src/core/streams/store-front.ts';
import { type JournalStore, openJournalStore } from '../../src/journal/stream-store.ts';
import { openLmdbStore } from '../../src/storage/lmdb/lmdb-store.ts';
import { MemoryEngine } from '../../src/storage/memory/memory-engine.ts';
import { SimulatedFolders } from '../unit/journal/journal-fixture.ts';
import { type OpenedStreamStore, streamStoreContract } from './stream-store.contract.ts';

const mebibyte = 1024 * 1024;

/** What is compared is what the stores do, not how fast the disk is: real files, in memory where the system has such a place. */
function newFolder(): string {
  return mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ringmq-store-'));
}

/** The engine stays when the store on it is opened again, as a database does. */
async function openFront(): Promise<OpenedStreamStore> {
  const engine = new MemoryEngine(64 * mebibyte);
  const stores: StoreFront[] = [];
  const open = async (): Promise<StoreFront> => {
    const store = await StoreFront.open(engine);
    stores.push(store);
    return store;
  };
  return {
    store: await open(),
    reopen: async () => {
      await stores.at(-1)?.close();
      return open();
    },
    // What the old one still has in mind does not matter: the new one is the writer.
    crash: open,
    upkeep: async () => stores.at(-1)?.upkeep(),
    stop: async () => {
      await Promise.all(stores.map((store) => store.close()));
    },
  };
}

async function openLmdb(): Promise<OpenedStreamStore> {
  const folder = newFolder();
  const settings = { mapBytes: 256 * mebibyte, freeBytesMin: 0, commitTimeoutMs: 20_000 };
  let store = await openLmdbStore(join(folder, 'lmdb'), settings);
  return {
    store,
    reopen: async () => {
      await store.close();
      store = await openLmdbStore(join(folder, 'lmdb'), settings);
      return store;
    },
    upkeep: () => store.upkeep(),
    stop: async () => {
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Two directories on the real disk. */
async function openJournal(): Promise<OpenedStreamStore> {
  const folder = newFolder();
  const open = (): JournalStore =>
    openJournalStore({ directories: [join(folder, 'one'), join(folder, 'two')], freeBytesMin: 0 });
  let store = open();
  return {
    store,
    reopen: async () => {
      await store.close();
      store = open();
      return store;
    },
    upkeep: () => store.upkeep(),
    stop: async () => {
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
}

let seed = 1000;

/** Disks that lose power with all that was not synced. */
async function openSimulated(): Promise<OpenedStreamStore> {
  seed += 1000;
  const folders = new SimulatedFolders(seed, (task) => setImmediate(task));
  const open = (): JournalStore =>
    openJournalStore({
      directories: [{ path: 'disk', open: () => folders }],
      freeBytesMin: 0,
      defaults: { indexIntervalBytes: 512 },
    });
  let store = open();
  const dead: JournalStore[] = [];
  return {
    store,
    reopen: async () => {
      await store.close();
      store = open();
      return store;
    },
    crash: async () => {
      dead.push(store);
      folders.crash();
      store = open();
      return store;
    },
    upkeep: () => store.upkeep(),
    stop: async () => {
      await store.close();
      // Their files are gone; this ends their timers.
      await Promise.allSettled(dead.map((old) => old.close()));
    },
  };
}

streamStoreContract('front over an engine that stays', openFront, { isDurable: true, retains: true, compacts: false });
streamStoreContract('memory', openFront, { isDurable: false, retains: true, compacts: false, modelRounds: 2 });
streamStoreContract('lmdb', openLmdb, { isDurable: true, retains: true, compacts: false, modelRounds: 2 });
streamStoreContract('journal', openJournal, { isDurable: true, retains: true, compacts: true, modelRounds: 2 });
streamStoreContract('journal on disks that crash', openSimulated, {
  isDurable: true,
  retains: true,
  compacts: true,
  modelRounds: 6,
});
