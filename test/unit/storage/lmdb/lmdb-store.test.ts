import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { open } from 'lmdb';
import { describe, expect, it, onTestFinished } from 'vitest';
import { EngineFailedError } from '../../../../src/core/streams/store-engine.ts';
import type { StoreFront } from '../../../../src/core/streams/store-front.ts';
import { Environment } from '../../../../src/storage/lmdb/environment.ts';
import { openLmdbStore } from '../../../../src/storage/lmdb/lmdb-store.ts';
import { batch, codeOf, produced, readValues, stored, verdict } from '../../../support/stream-batches.ts';

const settings = { mapBytes: 2 ** 28, freeBytesMin: 0, commitTimeoutMs: 20_000 };
const child = fileURLToPath(new URL('appender.child.ts', import.meta.url));

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-lmdb-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function opened(folder: string, given: Partial<typeof settings> = {}): Promise<StoreFront> {
  const store = await openLmdbStore(folder, { ...settings, ...given });
  onTestFinished(() => store.close());
  return store;
}

/** The rows of a store that is closed, changed by hand. */
async function edit(folder: string, change: (rows: ReturnType<typeof open<Buffer, Buffer>>) => Promise<unknown>) {
  const rows = open<Buffer, Buffer>({ path: folder, noSubdir: false, encoding: 'binary', keyEncoding: 'binary' });
  await change(rows);
  await rows.close();
}

/** What the child said until `isEnough`, when it is killed. */
function linesOf(command: string, args: readonly string[], isEnough: (lines: number) => boolean): Promise<string[]> {
  const run = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void run.kill('SIGKILL'));
  const lines: string[] = [];
  createInterface(run.stdout).on('line', (line) => {
    lines.push(line);
    if (isEnough(lines.length)) run.kill('SIGKILL');
  });
  return new Promise((resolve) => run.on('close', () => resolve(lines)));
}

describe('openLmdbStore', () => {
  it('keeps what was answered when the process is killed', async () => {
    const folder = newFolder();
    const lines = await linesOf(process.execPath, [child, folder], (count) => count >= 100);
    expect(lines).toEqual(lines.map((_, at) => `${at}`));
    const store = await opened(folder);
    const values = await readValues(await store.open('p'));
    expect(values.length).toBeGreaterThanOrEqual(lines.length);
    expect(values.every((value, at) => value.startsWith(`${at}:${Math.floor(at / 5)}.${at % 5}.`))).toBe(true);
  });

  it('is out of service after a commit that failed, and has all that was answered when it is opened again', async () => {
    const folder = newFolder();
    // The file cannot grow beyond the limit: a write of LMDB fails.
    const command = `ulimit -f 1024; exec "${process.execPath}" "${child}" "${folder}"`;
    const lines = await linesOf('sh', ['-c', command], () => false);
    const count = lines.findIndex((line) => !/^\d+$/.test(line));
    expect(count).toBeGreaterThan(5);
    expect(lines.slice(count)).toEqual([...Array(5).fill('STORAGE_UNCERTAIN'), 'STORAGE_PARTITION_FAILED', 'failed']);
    const partition = await (await opened(folder)).open('p');
    expect((await readValues(partition)).length).toBeGreaterThanOrEqual(count);
    expect(typeof (await verdict(partition, batch(['more'])))).toBe('number');
  });

  it('refuses appends while there is little room', async () => {
    const store = await opened(newFolder(), { freeBytesMin: 2 ** 52 });
    const partition = await store.create('p');
    expect(await verdict(partition, batch(['v']))).toBe('STORAGE_DISK_FULL');
    expect(store.health().state).toBe('ready');
  });

  it('takes a damaged row out of service, and nothing else', async () => {
    const folder = newFolder();
    const store = await opened(folder);
    for (const name of ['bad', 'good', 'torn']) await stored(await store.create(name), batch([name]));
    await store.close();
    await edit(folder, async (rows) => {
      const key = Buffer.from('pbad');
      const row = Buffer.from(rows.get(key) ?? []);
      row[row.length - 3] ^= 1;
      await rows.put(key, row);
      for (const { key: batchKey, value } of [...rows.getRange({ start: Buffer.from('b'), end: Buffer.from('c') })]) {
        const bytes = Buffer.from(value);
        if (!bytes.includes('torn')) continue;
        bytes[bytes.length - 1] ^= 1;
        await rows.put(Buffer.from(batchKey), bytes);
      }
    });
    const again = await opened(folder);
    expect(await again.names()).toEqual(['bad', 'good', 'torn']);
    expect(await codeOf(again.open('bad'))).toBe('STORAGE_CORRUPTED');
    expect(await codeOf(again.create('bad'))).toBe('STORAGE_PARTITION_EXISTS');
    expect(await readValues(await again.open('good'))).toEqual(['0:good']);
    const torn = await again.open('torn');
    await expect(torn.read({ offset: 0, bytesMax: 1 })).rejects.toThrow('Cannot read offset 0 of "torn"');
    expect(await stored(torn, batch(['next']))).toBe(1);
    // Its number is not given to another one, though its row says nothing.
    expect(await readValues(await again.create('new'))).toEqual([]);
  });

  it('knows producers without their snapshot', async () => {
    const folder = newFolder();
    const store = await opened(folder);
    const producer = { producerId: 5, producerEpoch: 0 };
    await stored(await store.create('p'), produced(producer, 0, ['v']));
    await store.close();
    await edit(folder, async (rows) => {
      for (const { key } of [...rows.getRange({ start: Buffer.from('s'), end: Buffer.from('t') })]) {
        await rows.put(Buffer.from(key), Buffer.from('nonsense'));
      }
    });
    const partition = await (await opened(folder)).open('p');
    expect(await verdict(partition, produced(producer, 0, ['v']))).toBe(0);
    expect(await verdict(partition, produced(producer, 1, ['w']))).toBe(1);
  });

  it('removes what a removed partition left', async () => {
    const folder = newFolder();
    const store = await opened(folder);
    await stored(await store.create('p'), batch(['v']));
    await stored(await store.create('q'), batch(['v']));
    await store.remove('p');
    await store.close();
    // As a crash in the middle of a removal leaves it.
    await edit(folder, async (rows) => {
      const [{ key }] = [...rows.getRange({ start: Buffer.from('b'), end: Buffer.from('c') })];
      await rows.remove(Buffer.from('pq'));
      await rows.put(Buffer.concat([Buffer.from('g'), Buffer.from(key).subarray(1, 9)]), Buffer.from([1]));
    });
    const again = await opened(folder);
    expect(await again.names()).toEqual([]);
    await again.close();
    await edit(folder, async (rows) => expect([...rows.getRange()]).toEqual([]));
  });
});

describe('Environment', () => {
  it('commit() fails for good when LMDB gives no answer in time', async () => {
    const environment = new Environment(newFolder(), 2 ** 28, 1);
    const value = Buffer.alloc(2 ** 26, 1);
    const changes = [{ key: Buffer.from('k'), value }];
    const first = environment.commit(changes);
    const second = environment.commit(changes);
    await expect(first).rejects.toThrow(EngineFailedError);
    await expect(second).rejects.toThrow('LMDB gave no answer within 1 ms');
    await expect(environment.commit(changes)).rejects.toThrow(EngineFailedError);
    await environment.close();
  });
});
