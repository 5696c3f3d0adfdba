// The cold tier of the journal on a real S3-compatible server: what the port promises, and what happens when the server or the broker's
// process is killed under load.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { crc32c } from '../../../src/core/batch/crc32c.ts';
import type { StreamPartition } from '../../../src/core/ports/stream-store.ts';
import type { ObjectStorageSettings } from '../../../src/core/settings/object-storage-settings.ts';
import type { JournalStore } from '../../../src/journal/stream-store.ts';
import { TierObjects } from '../../../src/storage/s3/tier-objects.ts';
import { buildLimitMs, S3Server } from '../../support/servers/s3.ts';
import { batch, codeOf, readBatches, readValues, stored } from '../../support/stream-batches.ts';
import { numbered, openTiered, tieredSettings } from './tier-bench.ts';

const mebibyte = 1024 * 1024;
let server: S3Server;
let places = 0;

beforeAll(async () => {
  server = await S3Server.start();
}, buildLimitMs);
afterAll(() => server.stop());

function settings(changes: Partial<ObjectStorageSettings> = {}): ObjectStorageSettings {
  places += 1;
  return {
    endpoint: server.endpoint,
    region: server.region,
    bucket: 'tier',
    createBucket: true,
    prefix: `place-${places}/`,
    pathStyle: true,
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    secretAccessKeyFile: '',
    requestLimitMs: 3000,
    ...changes,
  };
}

async function objectsAt(given: ObjectStorageSettings): Promise<TierObjects> {
  const objects = await TierObjects.open(given);
  onTestFinished(() => objects.close());
  return objects;
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ringmq-tier-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function opened(folder: string, given: ObjectStorageSettings): Promise<JournalStore> {
  const store = openTiered(folder, await TierObjects.open(given));
  onTestFinished(() => store.close());
  return store;
}

async function fill(partition: StreamPartition, from: number, to: number): Promise<void> {
  for (let next = from; next < to; next += 32) {
    const count = Math.min(32, to - next);
    await Promise.all(Array.from({ length: count }, (_, at) => stored(partition, batch([numbered(next + at)]))));
  }
}

/** All records are there, each with the number of its offset. */
async function checkAll(partition: StreamPartition, count: number): Promise<void> {
  let next = 0;
  for (const record of await readValues(partition)) {
    expect(record).toBe(`${next}:${numbered(next)}`);
    next += 1;
  }
  expect(next).toBeGreaterThanOrEqual(count);
}

function localSegments(folder: string): number {
  return readdirSync(join(folder, 'p')).filter((name) => name.endsWith('.log')).length;
}

describe('TierObjects', () => {
  it('put(), get(), list() and delete() do what the port promises', async () => {
    const objects = await objectsAt(settings());
    const bytes = Buffer.from('some bytes of an object');
    expect(await objects.get('a/1')).toBeNull();
    await objects.put('a/1', bytes, crc32c(bytes));
    await objects.put('a/2', bytes, crc32c(bytes));
    await objects.put('b/1', bytes, crc32c(bytes));
    expect((await objects.get('a/1'))?.toString()).toBe(bytes.toString());
    expect((await objects.get('a/1', 5, 5))?.toString()).toBe('bytes');
    expect((await objects.get('a/1', 20, 100))?.toString()).toBe('ect');
    expect(await objects.get('a/1', 100, 5)).toBeNull();
    expect(await objects.list('a/')).toMatchObject([
      { key: 'a/1', size: bytes.length },
      { key: 'a/2', size: bytes.length },
    ]);
    expect(await objects.list('a/', 'a/1')).toHaveLength(1);
    await objects.delete('a/1');
    await objects.delete('a/1');
    expect(await objects.list('a/')).toHaveLength(1);
  });

  it('put() and part() are refused when the bytes are not those of the checksum', async () => {
    const objects = await objectsAt(settings());
    const bytes = Buffer.from('bytes');
    expect(await codeOf(objects.put('a', bytes, crc32c(bytes) ^ 1))).toBe('STORAGE_UNAVAILABLE');
    expect(await objects.get('a')).toBeNull();
    const upload = await objects.beginUpload('b');
    expect(await codeOf(upload.part(1, bytes, crc32c(bytes) ^ 1))).toBe('STORAGE_UNAVAILABLE');
    await upload.abort();
  });

  it('beginUpload() stores parts as one object, and abortUploads() ends what was left', async () => {
    const objects = await objectsAt(settings());
    const first = Buffer.alloc(objects.partBytesMin, 1);
    const second = Buffer.from('the end');
    const upload = await objects.beginUpload('a/large');
    await upload.part(1, first, crc32c(first));
    await upload.part(2, second, crc32c(second));
    expect(await objects.get('a/large')).toBeNull();
    await upload.complete();
    expect((await objects.get('a/large'))?.equals(Buffer.concat([first, second]))).toBe(true);
    const left = await objects.beginUpload('a/left');
    await left.part(1, first, crc32c(first));
    expect(await objects.abortUploads('other/')).toBe(0);
    expect(await objects.abortUploads('a/')).toBe(1);
    expect(await objects.abortUploads('a/')).toBe(0);
  });

  it('put() says what is wrong without the secret', async () => {
    for (const changes of [
      { secretAccessKey: 'another secret' },
      { bucket: 'nowhere', createBucket: false },
      { endpoint: 'http://127.0.0.1:1' },
    ]) {
      const objects = await objectsAt(settings(changes));
      const error = await objects.put('a', Buffer.from('x'), crc32c(Buffer.from('x'))).catch((thrown: Error) => thrown);
      expect(error).toMatchObject({ code: 'STORAGE_UNAVAILABLE' });
      expect(String(error)).not.toContain('secret');
    }
  });
});

describe('JournalStore with its tier on a server', () => {
  it('keeps all records over both, over restarts, and removes the objects with the partition', async () => {
    const folder = newFolder();
    const given = settings();
    const store = await opened(folder, given);
    const partition = await store.create('p', tieredSettings);
    await fill(partition, 0, 3000);
    await expect.poll(() => localSegments(folder), { timeout: 20_000 }).toBe(1);
    await checkAll(partition, 3000);
    await store.close();
    const again = await opened(folder, given);
    await checkAll(await again.open('p'), 3000);
    await (await again.open('p')).deleteBefore(2000);
    await again.remove('p');
    const objects = await objectsAt({ ...given });
    await expect.poll(() => objects.list(''), { timeout: 20_000 }).toEqual([]);
  });

  it('goes on with appends while the server is killed, hangs, and is there again', async () => {
    const folder = newFolder();
    const store = await opened(folder, settings());
    const partition = await store.create('p', tieredSettings);
    let next = 0;
    for (let round = 0; round < 4; round += 1) {
      await fill(partition, next, next + 900);
      next += 900;
      if (round % 2 === 0) await server.kill();
      else server.pause();
      await fill(partition, next, next + 900);
      next += 900;
      expect((await partition.places()).logEndOffset).toBe(next);
      if (round === 0) {
        // What only the tier has is refused, and nothing else.
        const code = await codeOf(partition.read({ offset: 0, bytesMax: 100 }));
        expect(['STORAGE_UNAVAILABLE', 'none']).toContain(code);
      }
      if (round % 2 === 0) await server.restart();
      else server.resume();
    }
    await expect.poll(() => localSegments(folder), { timeout: 40_000 }).toBe(1);
    await checkAll(partition, next);
    await expect.poll(() => store.health().state, { timeout: 20_000 }).toBe('ready');
  }, 120_000);

  it('loses nothing when its process is killed while it uploads', async () => {
    const folder = newFolder();
    const given = settings();
    let acknowledged = -1;
    for (let round = 0; round < 6; round += 1) {
      const program = join(import.meta.dirname, 'tier.child.ts');
      const child = spawn(process.execPath, [program, folder, JSON.stringify(given)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const begun = acknowledged;
      const lines = createInterface({ input: child.stdout });
      const enough = Promise.withResolvers<void>();
      lines.on('line', (line) => {
        acknowledged = Math.max(acknowledged, Number(line));
        // A few segments, and some more of the next.
        if (acknowledged >= begun + 1800 + round * 97) enough.resolve();
      });
      const gone = once(child, 'exit');
      await Promise.race([enough.promise, gone.then(() => Promise.reject(new Error('The process ended')))]);
      child.kill('SIGKILL');
      await gone;
    }
    const store = await opened(folder, given);
    const partition = await store.open('p');
    await expect.poll(() => localSegments(folder), { timeout: 40_000 }).toBe(1);
    const found = await readBatches(partition, 0, 'committed', mebibyte);
    expect(found.at(-1)?.lastOffset).toBeGreaterThanOrEqual(acknowledged);
    await checkAll(partition, acknowledged + 1);
    // Nothing is left of uploads that were cut.
    const objects = await objectsAt({ ...given });
    await expect
      .poll(async () => {
        const keys: string[] = [];
        for (let after = ''; ; after = keys.at(-1) ?? '') {
          const page = await objects.list('', after);
          if (page.length === 0) return keys.filter((key) => !key.endsWith('/manifest')).length;
          keys.push(...page.map(({ key }) => key));
        }
      })
      .toBe(store.tierEntries('p'));
    expect(await objects.abortUploads('')).toBe(0);
  }, 120_000);
});

describe('ringmq ctl journal verify --tier', () => {
  it('reads all of the tier by the configuration of the broker', async () => {
    const folder = newFolder();
    const given = settings();
    const store = await opened(folder, given);
    await fill(await store.create('p', tieredSettings), 0, 1600);
    await expect.poll(() => localSegments(folder), { timeout: 20_000 }).toBe(1);
    await store.close();
    const config = join(folder, 'ringmq.yaml');
    const { prefix, bucket, endpoint, accessKeyId, secretAccessKey } = given;
    const tier = { enabled: true, prefix, bucket, endpoint, accessKeyId, secretAccessKey };
    writeFileSync(config, JSON.stringify({ storage: { journal: { tier } } }));
    const program = join(import.meta.dirname, '../../../bin/ringmq.js');
    const args = [program, 'ctl', 'journal', 'verify', '--data', folder, '--tier', '--config', config];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(stdout).toMatch(/cold tier: 1 partitions, 2 segments, \d+ bytes, \d+ batches and \d+ records read/);
    expect(stdout).toMatch(/nothing is damaged/);
  });
});
