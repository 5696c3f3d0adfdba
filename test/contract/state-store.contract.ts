/** What every `StateStore` does, as tests; run over each of them by `state-store.test.ts`. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { StateStore, StoreChange } from '../../src/raft/ports.ts';

export interface OpenedStore {
  readonly store: StateStore;
  /** Closes it and opens what it kept. */
  reopen(): Promise<StateStore>;
  stop(): Promise<void>;
}

export function commit(store: StateStore, batch: readonly StoreChange[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.commit(batch, (error) => (error === null ? resolve() : reject(error)));
  });
}

function key(...bytes: number[]): Buffer {
  return Buffer.from(bytes);
}

function row(key: Buffer, value: string | null): StoreChange {
  return { key, value: value === null ? null : Buffer.from(value) };
}

function texts(pairs: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]): string[] {
  return pairs.map(({ key, value }) => `${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString()}`);
}

export function describeStateStore(name: string, open: () => Promise<OpenedStore>): void {
  describe(`state store contract: ${name}`, () => {
    async function opened(): Promise<OpenedStore> {
      const store = await open();
      onTestFinished(() => store.stop());
      return store;
    }

    it('get() answers what was committed, and null for what was not', async () => {
      const { store } = await opened();
      expect(store.get(key(1))).toBeNull();
      await commit(store, [row(key(1), 'one'), row(key(1, 0), 'longer'), row(key(2), '')]);
      expect(Buffer.from(store.get(key(1))!).toString()).toBe('one');
      expect(Buffer.from(store.get(key(1, 0))!).toString()).toBe('longer');
      expect(store.get(key(2))!.length).toBe(0);
      expect(store.get(key(3))).toBeNull();
    });

    it('get() answers memory that later calls leave alone', async () => {
      const { store } = await opened();
      await commit(store, [row(key(1), 'one'), row(key(2), 'two')]);
      const one = store.get(key(1))!;
      store.get(key(2));
      expect(Buffer.from(one).toString()).toBe('one');
    });

    it('commit() shows nothing before it is done, and all of it afterwards', async () => {
      const { store } = await opened();
      await commit(store, [row(key(1), 'old')]);
      const done = commit(store, [row(key(1), 'new'), row(key(2), 'two')]);
      await done;
      expect(Buffer.from(store.get(key(1))!).toString()).toBe('new');
      expect(store.count(key(0), null)).toBe(2);
    });

    it('commit() calls back later, also for an empty batch', async () => {
      const { store } = await opened();
      let isInside = true;
      await new Promise<void>((resolve) => {
        store.commit([], (error) => {
          expect(error).toBeNull();
          expect(isInside).toBe(false);
          resolve();
        });
        isInside = false;
      });
    });

    it('commit() removes keys, also some that are not there, and takes the last word on a key', async () => {
      const { store } = await opened();
      await commit(store, [row(key(1), 'one'), row(key(2), 'two')]);
      await commit(store, [row(key(1), null), row(key(9), null), row(key(2), 'a'), row(key(2), 'b')]);
      expect(texts(store.range(key(0), null, 10))).toEqual(['02=b']);
    });

    it('commit() takes thousands of rows and values of more than a mebibyte', async () => {
      const { store } = await opened();
      const batch = Array.from({ length: 5_000 }, (_, index) => row(key(1, index >> 8, index & 255), `value ${index}`));
      const large = Buffer.alloc(1_600_000, 7);
      await commit(store, [...batch, { key: key(2), value: large }]);
      expect(store.count(key(1), key(2))).toBe(5_000);
      expect(Buffer.compare(store.get(key(2))!, large)).toBe(0);
      expect(Buffer.compare(store.range(key(2), null, 1)[0].value, large)).toBe(0);
    });

    it('range() orders keys as unsigned bytes, the shorter first', async () => {
      const { store } = await opened();
      const keys = [key(0), key(0, 0), key(0, 255), key(1), key(127), key(128), key(200, 1), key(255)];
      await commit(
        store,
        [...keys].reverse().map((each) => row(each, 'x')),
      );
      const found = store.range(key(0), null, 100).map((pair) => Buffer.from(pair.key).toString('hex'));
      expect(found).toEqual(keys.map((each) => each.toString('hex')));
    });

    it('range() includes its start and not its end, forwards and backwards', async () => {
      const { store } = await opened();
      await commit(
        store,
        [1, 2, 3, 4].map((each) => row(key(each), 'x')),
      );
      expect(texts(store.range(key(2), key(4), 10))).toEqual(['02=x', '03=x']);
      expect(texts(store.range(key(2), key(4), 10, true))).toEqual(['03=x', '02=x']);
      expect(texts(store.range(key(2), key(3, 0), 10, true))).toEqual(['03=x', '02=x']);
      expect(texts(store.range(key(1, 5), key(3), 10, true))).toEqual(['02=x']);
      expect(texts(store.range(key(2), null, 10, true))).toEqual(['04=x', '03=x', '02=x']);
      expect(texts(store.range(key(3), key(3), 10))).toEqual([]);
      expect(texts(store.range(key(5), null, 10))).toEqual([]);
      expect(texts(store.range(key(5), key(6), 10, true))).toEqual([]);
    });

    it('range() stops at its limit', async () => {
      const { store } = await opened();
      await commit(
        store,
        [1, 2, 3, 4].map((each) => row(key(each), 'x')),
      );
      expect(texts(store.range(key(0), null, 2))).toEqual(['01=x', '02=x']);
      expect(texts(store.range(key(0), null, 2, true))).toEqual(['04=x', '03=x']);
      expect(store.range(key(0), null, 0)).toEqual([]);
    });

    it('count() counts what range() finds', async () => {
      const { store } = await opened();
      await commit(
        store,
        [1, 2, 3, 4].map((each) => row(key(each), 'x')),
      );
      expect(store.count(key(2), key(4))).toBe(2);
      expect(store.count(key(2), null)).toBe(3);
      expect(store.count(key(5), null)).toBe(0);
    });

    it('openView() is unmoved by later commits', async () => {
      const { store } = await opened();
      await commit(store, [row(key(1), 'one'), row(key(2), 'two')]);
      const view = store.openView();
      await commit(store, [row(key(1), 'changed'), row(key(2), null), row(key(3), 'three')]);
      expect(texts(view.range(key(0), null, 10))).toEqual(['01=one', '02=two']);
      await commit(store, [row(key(4), 'four')]);
      expect(texts(view.range(key(0), null, 10))).toEqual(['01=one', '02=two']);
      expect(texts(store.range(key(0), null, 10))).toEqual(['01=changed', '03=three', '04=four']);
      view.close();
      view.close();
    });

    it('openView() gives keys alone, and pairs up to so many bytes', async () => {
      const { store } = await opened();
      await commit(store, [row(key(1), 'one'), row(key(2), 'two'), row(key(2, 1), 'six'), row(key(3), 'three')]);
      const view = store.openView();
      await commit(store, [row(key(2), null)]);
      const keys = (...span: [Buffer, Buffer | null, number]) =>
        view.keys(...span).map((each) => Buffer.from(each).toString('hex'));
      expect(keys(key(1), key(3), 10)).toEqual(['01', '02', '0201']);
      expect(keys(key(2), null, 2)).toEqual(['02', '0201']);
      expect(keys(key(4), null, 2)).toEqual([]);
      expect(keys(key(1), null, 0)).toEqual([]);
      expect(texts(view.range(key(1), null, 10, 4))).toEqual(['01=one', '02=two']);
      expect(texts(view.range(key(1), null, 10, 6))).toEqual(['01=one', '02=two']);
      expect(texts(view.range(key(1), null, 10, 0))).toEqual(['01=one']);
      expect(texts(view.range(key(1), null, 2, 100))).toEqual(['01=one', '02=two']);
      view.close();
    });

    it('openView() sees the last finished commit', async () => {
      const { store } = await opened();
      for (let round = 0; round < 20; round++) {
        store.get(key(1));
        await commit(store, [row(key(1), `${round}`)]);
        const view = store.openView();
        expect(texts(view.range(key(0), null, 10))).toEqual([`01=${round}`]);
        view.close();
        expect(Buffer.from(store.get(key(1))!).toString()).toBe(`${round}`);
      }
    });

    it('keeps what was committed when it is closed and opened again', async () => {
      const opening = await opened();
      await commit(opening.store, [row(key(1), 'one'), row(key(2), 'two')]);
      await commit(opening.store, [row(key(1), null)]);
      const store = await opening.reopen();
      expect(texts(store.range(key(0), null, 10))).toEqual(['02=two']);
      await commit(store, [row(key(3), 'three')]);
      expect(store.count(key(0), null)).toBe(2);
    });

    it('sizeBytes() grows with what is stored', async () => {
      const { store } = await opened();
      await commit(store, [row(key(1), 'one')]);
      const before = store.sizeBytes();
      await commit(store, [{ key: key(2), value: Buffer.alloc(1_000_000) }]);
      expect(store.sizeBytes()).toBeGreaterThan(before + 900_000);
    });
  });
}
