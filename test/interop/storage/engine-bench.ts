/** Stores over an engine that outlives them, for the tests of the adapters over Redis and object storage. Thread of the test. */
import type { StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { StoreFront } from '../../../src/core/streams/store-front.ts';
import { createLogger, type RootLogger } from '../../../src/observability/log.ts';
import { type OpenedStreamStore, streamStoreContract } from '../../contract/stream-store.contract.ts';

let places = 0;

/** What makes the records of one test differ from those of all others. */
export function newPlace(): string {
  places += 1;
  return `test-${places}`;
}

/** A log that nobody reads, and what was written to it. */
export function keptLog(): { readonly log: RootLogger; readonly lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({ level: 'debug', format: 'text', write: (line) => lines.push(line) });
  return { log, lines };
}

/** The contract of all stream stores; `engineAt` makes an engine over the records of that place. */
export function engineContract(name: string, engineAt: (place: string) => StoreEngine): void {
  const open = async (): Promise<OpenedStreamStore> => {
    const place = newPlace();
    const stores: StoreFront[] = [];
    const openNext = async (): Promise<StoreFront> => {
      const store = await StoreFront.open(engineAt(place));
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
  streamStoreContract(name, open, { isDurable: true, retains: true, compacts: false, modelRounds: 2 });
}
