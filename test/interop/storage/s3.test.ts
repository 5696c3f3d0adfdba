// The storage adapter `s3` on a real S3-compatible server: the contract of all stores, and what happens when the server or the
// way to it fails.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { StoreFront, type StoreFrontOptions } from '../../../src/core/streams/store-front.ts';
import { S3Engine } from '../../../src/storage/s3/engine.ts';
import type { S3Settings } from '../../../src/storage/s3/settings.ts';
import { buildLimitMs, S3Server } from '../../support/servers/s3.ts';
import { batch, codeOf, readValues, stored, verdict } from '../../support/stream-batches.ts';
import { engineContract, keptLog, newPlace } from './engine-bench.ts';
import { engineFaults, until } from './engine-faults.ts';
import { engineRetention } from './engine-retention.ts';

const mebibyte = 1024 * 1024;
let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
}, buildLimitMs);
afterAll(() => server.stop());

function settings(changes: Partial<S3Settings> = {}): S3Settings {
  return {
    endpoint: server.endpoint,
    region: server.region,
    bucket: 'records',
    createBucket: true,
    prefix: 'ringmq/',
    pathStyle: true,
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    secretAccessKeyFile: '',
    uploadBytes: mebibyte,
    uploadIntervalMs: 0,
    segmentBytes: 4 * mebibyte,
    cacheBytes: 8 * mebibyte,
    requestLimitMs: 2000,
    ...changes,
  };
}

engineContract('s3', (place) => new S3Engine(settings({ prefix: `${place}/` }), keptLog().log));
engineRetention(() => {
  const place = newPlace();
  return () => new S3Engine(settings({ prefix: `${place}/` }), keptLog().log);
});
engineFaults({
  place: newPlace,
  server: () => server,
  engineAt: (place, port) => {
    return new S3Engine(settings({ prefix: `${place}/`, endpoint: `http://127.0.0.1:${port}` }), keptLog().log);
  },
  cutRounds: 20,
  stepRecords: 150,
});

async function opened(
  changes: Partial<S3Settings>,
  limits: StoreFrontOptions = {},
  deleteAfterMs?: number,
): Promise<StoreFront> {
  const engine = new S3Engine(settings(changes), keptLog().log, deleteAfterMs);
  const store = await StoreFront.open(engine, { openWaitMsMax: 300, retryMsMin: 20, ...limits });
  onTestFinished(() => store.close());
  return store;
}

async function refusal(changes: Partial<S3Settings>): Promise<string> {
  try {
    await opened(changes);
    return 'opened';
  } catch (error) {
    const { message, code } = error as { readonly message: string; readonly code?: string };
    expect(message).not.toContain('secret');
    return `${code} ${message}`;
  }
}

/** Files of the objects of a place, as paths below it. */
function objectsAt(place: string): string[] {
  const folder = join(server.folder, 'records', place);
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

const ofKind = (place: string, kind: string): string[] => objectsAt(place).filter((path) => path.includes(`/${kind}/`));

/** A partition of records `0`, `1`, … of some 2 KiB, each uploaded on its own. */
async function fill(store: StoreFront, count: number): Promise<void> {
  const partition = await store.create('p');
  for (let number = 0; number < count; number += 1) {
    await stored(partition, batch([`${number}`.padEnd(2000, '.')], { timestampMs: 1000 + number }));
  }
}

async function numbersOf(store: StoreFront, from = 0): Promise<string[]> {
  return (await readValues(await store.open('p'), from)).map((record) => record.replace(/[.]+$/, ''));
}

const numbers = (from: number, to: number): string[] => {
  return Array.from({ length: to - from }, (_, index) => `${from + index}:${from + index}`);
};

describe('opening', () => {
  it('tells a missing bucket, a wrong secret, and a server that is not there', async () => {
    expect(await refusal({ bucket: 'nowhere', createBucket: false })).toMatch(
      /STORAGE_UNAVAILABLE .*"nowhere": there is none/,
    );
    expect(await refusal({ secretAccessKey: 'another secret' })).toMatch(
      /STORAGE_UNAVAILABLE .*(403|Forbidden|Unknown|Denied)/,
    );
    expect(await refusal({ endpoint: 'http://127.0.0.1:1' })).toMatch(/STORAGE_UNAVAILABLE .*ECONNREFUSED/);
  });

  it('refuses a service that does not keep the condition of a write', async () => {
    const careless = createServer((request, response) => {
      request.resume();
      request.on('end', () => response.writeHead(request.method === 'DELETE' ? 204 : 200, { etag: '"1"' }).end());
    });
    await new Promise<void>((resolve) => careless.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      careless.closeAllConnections();
      careless.close();
    });
    const address = careless.address();
    const port = typeof address === 'object' ? address?.port : 0;
    expect(await refusal({ endpoint: `http://127.0.0.1:${port}` })).toMatch(/in spite of "If-None-Match/);
  });

  it('what an interrupted removal left is deleted by the next one that opens the store', async () => {
    const place = newPlace();
    const store = await opened({ prefix: `${place}/` });
    await fill(store, 3);
    const [name] = objectsAt(place).filter((path) => path.startsWith('names/p/'));
    const { id } = JSON.parse(readFileSync(join(server.folder, 'records', place, name), 'utf8')) as { id: string };
    writeFileSync(join(server.folder, 'records', place, `${name}-removed`), JSON.stringify({ id }));
    const next = await opened({ prefix: `${place}/` });
    expect(await next.names()).toEqual([]);
    await until(() => !objectsAt(place).some((path) => path.startsWith(`data/${id}/run/`)));
    await next.create('p');
    expect(await numbersOf(next)).toEqual([]);
  });
});

describe('objects', () => {
  it('small ones are merged and deleted in the background, and all records stay', async () => {
    const place = newPlace();
    const changes = { prefix: `${place}/`, cacheBytes: 0, segmentBytes: 1024 * 1024 };
    const store = await opened(changes, {}, 0);
    await fill(store, 100);
    await until(() => ofKind(place, 'run').length < 40);
    expect(ofKind(place, 'seg').length).toBeGreaterThan(0);
    expect(await numbersOf(store)).toEqual(numbers(0, 100));
    const next = await opened(changes, {}, 0);
    expect(await numbersOf(next)).toEqual(numbers(0, 100));
    const partition = await next.open('p');
    expect((await partition.places()).sizeBytes).toBe(await sizeOf(next));
    expect(await partition.offsetForTime(1042)).toEqual({ offset: 42, timestamp: 1042 });
    expect(await partition.deleteBefore(50)).toBe(50);
    expect(await numbersOf(next, 50)).toEqual(numbers(50, 100));
    expect(await partition.deleteBefore(100)).toBe(100);
    await until(() => ofKind(place, 'run').length + ofKind(place, 'seg').length === 0);
    const last = await opened(changes);
    expect(await (await last.open('p')).places()).toMatchObject({ logStartOffset: 100, logEndOffset: 100 });
    expect(await verdict(await last.open('p'), batch(['more']))).toBe(100);
  });

  it('a writer that was replaced finds its records though the new one merged them', async () => {
    const place = newPlace();
    const changes = { prefix: `${place}/`, cacheBytes: 0 };
    const first = await opened(changes);
    await fill(first, 12);
    const second = await opened(changes, {}, 0);
    const partition = await second.open('p');
    for (let number = 12; number < 40; number += 1) {
      await stored(partition, batch([`${number}`.padEnd(2000, '.')], { timestampMs: 1000 + number }));
    }
    await until(() => !ofKind(place, 'run').some((path) => path.endsWith('0000')));
    expect(await numbersOf(first)).toEqual(numbers(0, 12));
    expect(await numbersOf(second)).toEqual(numbers(0, 40));
  });

  it('damage is told with the offset, and everything else is served', async () => {
    const place = newPlace();
    const changes = { prefix: `${place}/`, cacheBytes: 0 };
    await fill(await opened(changes), 10);
    const file = (offset: number): string => {
      const [path] = ofKind(place, 'run').filter((each) => Number(each.slice(-16)) === offset);
      return join(server.folder, 'records', place, path);
    };
    // A record, a header, and a whole object.
    for (const [offset, at] of [
      [3, 1000],
      [5, 20],
    ]) {
      const bytes = readFileSync(file(offset));
      bytes[at] ^= 4;
      writeFileSync(file(offset), bytes);
    }
    rmSync(file(7));
    const store = await opened(changes);
    const partition = await store.open('p');
    for (const offset of [3, 5, 7]) {
      expect(await codeOf(partition.read({ offset, bytesMax: 1 })), `${offset}`).toBe('STORAGE_CORRUPTED');
    }
    for (const offset of [0, 1, 2, 4, 6, 8, 9]) {
      expect((await partition.read({ offset, bytesMax: 1 })).nextOffset, `${offset}`).toBe(offset + 1);
    }
    expect(await verdict(partition, batch(['more']))).toBe(10);
  });
});

describe('merging', () => {
  it('passes over what is damaged, so that it is told, and merges the rest', async () => {
    const place = newPlace();
    const changes = { prefix: `${place}/`, cacheBytes: 0 };
    await fill(await opened(changes), 12);
    const [path] = ofKind(place, 'run').filter((each) => Number(each.slice(-16)) === 3);
    const file = join(server.folder, 'records', place, path);
    const bytes = readFileSync(file);
    bytes[1000] ^= 4;
    writeFileSync(file, bytes);
    const store = await opened(changes);
    const partition = await store.open('p');
    for (let number = 12; number < 60; number += 1) {
      await stored(partition, batch([`${number}`.padEnd(2000, '.')], { timestampMs: 1000 + number }));
    }
    await until(() => ofKind(place, 'seg').length >= 2);
    expect(await codeOf(partition.read({ offset: 3, bytesMax: 1 }))).toBe('STORAGE_CORRUPTED');
    expect((await partition.read({ offset: 0, bytesMax: 100_000 })).nextOffset).toBe(3);
    expect(await numbersOf(store, 4)).toEqual(numbers(4, 60));
  });
});

async function sizeOf(store: StoreFront): Promise<number> {
  const partition = await store.open('p');
  let bytes = 0;
  for (let offset = 0; ; ) {
    const answer = await partition.read({ offset, bytesMax: 1 });
    if (answer.nextOffset === offset) return bytes;
    bytes += answer.bytes;
    offset = answer.nextOffset;
  }
}
