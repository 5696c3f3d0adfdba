/**
 * What the tests of the adapters over database servers have in common: a real server, stores on it that share nothing unless they are told
 * to, and the contract of stream stores over them. Thread of the test.
 */
import { afterAll, beforeAll } from 'vitest';
import type { StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { StoreFront, type StoreFrontOptions } from '../../../src/core/streams/store-front.ts';
import { type OpenedStreamStore, streamStoreContract } from '../../contract/stream-store.contract.ts';
import { type DatabaseAdapter, settingsOf, type TestDatabase, type TestSettings } from './database-adapter.ts';

let places = 0;

/** The server of a test file, started before its tests. */
export class DatabaseBench {
  readonly adapter: DatabaseAdapter;
  #server: TestDatabase | null = null;

  constructor(adapter: DatabaseAdapter) {
    this.adapter = adapter;
    beforeAll(async () => {
      this.#server = await adapter.start();
    });
    afterAll(async () => {
      await this.#server?.process.stop();
    });
  }

  get server(): TestDatabase {
    if (this.#server === null) throw new Error('The server is not started');
    return this.#server;
  }

  /** Tables of a store's own. */
  place(): string {
    places += 1;
    return `test_${places}_`;
  }

  engine(place: string, changes: Partial<TestSettings> = {}): StoreEngine {
    return this.adapter.engine(settingsOf(this.server, changes), place);
  }

  open(place: string, limits: StoreFrontOptions = {}, changes: Partial<TestSettings> = {}): Promise<StoreFront> {
    return StoreFront.open(this.engine(place, changes), limits);
  }

  async administer(statements: readonly string[]): Promise<void> {
    await this.adapter.administer(this.server, statements);
  }

  async count(place: string, table: string): Promise<number> {
    return await this.adapter.count(this.server, place, table);
  }

  /** The contract of all stream stores. */
  contract(): void {
    const open = async (): Promise<OpenedStreamStore> => {
      const place = this.place();
      const stores: StoreFront[] = [];
      const openNext = async (): Promise<StoreFront> => {
        const store = await this.open(place);
        stores.push(store);
        return store;
      };
      return {
        store: await openNext(),
        reopen: async () => {
          await stores.at(-1)?.close();
          return openNext();
        },
        // The old writer is out as soon as the new one has taken the partition.
        crash: openNext,
        upkeep: async () => stores.at(-1)?.upkeep(),
        stop: async () => {
          await Promise.all(stores.map((store) => store.close()));
        },
      };
    };
    streamStoreContract(this.adapter.name, open, { isDurable: true, retains: true, compacts: false, modelRounds: 2 });
  }
}
