/** The memory adapter as a connection worker has a store, for tests in one thread: it is congested when the test says so. */
import type { PacedStore } from '../../../src/core/ports/stream-store.ts';
import type { StoreFront } from '../../../src/core/streams/store-front.ts';
import { openMemoryStore } from '../../../src/storage/memory/memory-store.ts';

export interface PacedMemoryStore {
  readonly store: PacedStore;
  congest(isCongested: boolean): void;
}

export async function openPacedMemoryStore(): Promise<PacedMemoryStore> {
  const front = await openMemoryStore({ bytesMax: 64 * 1024 * 1024 });
  const listeners = new Set<() => void>();
  let isCongested = false;
  const store = new Proxy(front, {
    get: (target, name) => {
      if (name === 'isCongested') return isCongested;
      if (name === 'onDrained') {
        return (listener: () => void): (() => void) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        };
      }
      const value: unknown = target[name as keyof StoreFront];
      return typeof value === 'function' ? (value as (...values: unknown[]) => unknown).bind(target) : value;
    },
  }) as unknown as PacedStore;
  return {
    store,
    congest: (state) => {
      isCongested = state;
      if (!state) for (const listener of [...listeners]) listener();
    },
  };
}
