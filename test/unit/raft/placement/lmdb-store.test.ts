import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { entryKinds } from '../../../../src/raft/consensus/types.ts';
import { encodeProposal } from '../../../../src/raft/placement/command-codec.ts';
import { CorruptionError } from '../../../../src/raft/placement/errors.ts';
import { type LmdbStateStore, openLmdbStore } from '../../../../src/raft/placement/lmdb-store.ts';
import { PlacementState } from '../../../../src/raft/placement/placement-state.ts';
import type { StoreChange } from '../../../../src/raft/ports.ts';
import { set, transaction } from '../../../support/placement-machine.ts';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'ringmq-lmdb-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function opened(path: string): LmdbStateStore {
  const store = openLmdbStore({ path });
  onTestFinished(() => store.closed());
  return store;
}

function commit(store: LmdbStateStore, batch: readonly StoreChange[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.commit(batch, (error) => (error === null ? resolve() : reject(error)));
  });
}

describe('LMDB store', () => {
  it('get() and range() throw CorruptionError when the disk changed a value', async () => {
    const path = folder();
    const store = openLmdbStore({ path });
    const needle = Buffer.from('a value that can be found in the file');
    await commit(store, [{ key: Buffer.from([1, 1]), value: needle }]);
    await commit(store, [{ key: Buffer.from([1, 2]), value: Buffer.from('fine') }]);
    await store.closed();
    const file = join(path, 'data.mdb');
    const content = readFileSync(file);
    const descriptor = openSync(file, 'r+');
    for (let at = content.indexOf(needle); at !== -1; at = content.indexOf(needle, at + 1)) {
      writeSync(descriptor, Buffer.from('A'), 0, 1, at + 3);
    }
    closeSync(descriptor);
    const damaged = opened(path);
    expect(() => damaged.get(Buffer.from([1, 1]))).toThrow(CorruptionError);
    expect(() => damaged.range(Buffer.from([1]), null, 10)).toThrow(CorruptionError);
    expect(Buffer.from(damaged.get(Buffer.from([1, 2]))!).toString()).toBe('fine');
  });

  it('a failed commit is for ever, shows nothing, and leaves no rejection unhandled', () => {
    const child = join(import.meta.dirname, 'lmdb-store.child.ts');
    // In blocks of 512 or 1,024 bytes: the environment cannot grow beyond a megabyte or two.
    const command = 'ulimit -f 2000 && exec "$0" "$@"';
    const output = execFileSync('sh', ['-c', command, process.execPath, child, folder()], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [good, after, kept] = output.trim().split('\n');
    expect(good).toMatch(/^good \d+$/);
    const count = Number(good.slice(5));
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(100);
    expect(after).toMatch(/^after Cannot commit: /);
    expect(kept).toBe(`kept ${count}`);
  });

  it('a commit that gets no answer in time has failed, for ever', async () => {
    const store = openLmdbStore({ path: folder(), commitTimeoutMs: 1 });
    onTestFinished(() => store.closed());
    const rows = Array.from({ length: 20_000 }, (_, index) => {
      const key = Buffer.from([1, index >> 8, index & 255]);
      return { key, value: Buffer.alloc(100) };
    });
    await expect(commit(store, rows)).rejects.toThrow('no answer within 1 ms');
    await expect(commit(store, rows.slice(0, 1))).rejects.toThrow('no answer within 1 ms');
  });

  it('freeBytes() asks the file system', () => {
    expect(opened(folder()).freeBytes()).toBeGreaterThan(1_000_000);
  });

  it('commit() after close() fails', async () => {
    const store = opened(folder());
    await store.closed();
    await expect(commit(store, [{ key: Buffer.from([1]), value: null }])).rejects.toThrow('closed');
  });

  it('other threads read what is committed, while it is being written', async () => {
    const path = folder();
    const store = opened(path);
    const state = PlacementState.open(store, { now: () => 0 });
    const flush = () =>
      new Promise<void>((resolve, reject) => state.flush((error) => (error === null ? resolve() : reject(error))));
    const write = (index: number) => {
      const command = transaction(set('a', `${index}`));
      const data = encodeProposal({ origin: 1, sequence: index, requestId: null, command });
      state.apply({ term: 1, index, kind: entryKinds.command, data });
    };
    write(1);
    await flush();
    const worker = new Worker(join(import.meta.dirname, 'lmdb-reader.worker.ts'), { workerData: path });
    onTestFinished(async () => {
      await worker.terminate();
    });
    const ask = async () => {
      worker.postMessage('read');
      const [answer] = (await once(worker, 'message')) as [{ index: number; value: string }];
      return answer;
    };
    for (let index = 2; index < 30; index++) {
      write(index);
      await flush();
      expect(await ask()).toEqual({ index, value: `${index}` });
    }
    write(30);
    const flushing = flush();
    const { index, value } = await ask();
    expect([29, 30]).toContain(index);
    expect(Number(value)).toBeGreaterThanOrEqual(index);
    await flushing;
    worker.postMessage('stop');
    await once(worker, 'exit');
    write(31);
    await flush();
    expect(state.durableIndex).toBe(31);
  });

  it('a placement state on it survives being opened again', async () => {
    const path = folder();
    const first = openLmdbStore({ path });
    const state = PlacementState.open(first, { now: () => 0 });
    for (let index = 1; index <= 200; index++) {
      const command = transaction(set(`k${index % 7}`, `${index}`));
      const data = encodeProposal({ origin: 1, sequence: index, requestId: null, command });
      state.apply({ term: 1, index, kind: entryKinds.command, data });
    }
    await new Promise<void>((resolve, reject) => state.flush((error) => (error === null ? resolve() : reject(error))));
    const digest = state.digest();
    await first.closed();
    const again = PlacementState.open(opened(path), { now: () => 0 });
    expect(again.digest()).toBe(digest);
    expect(again.durablePosition).toEqual(state.position);
  });
});
