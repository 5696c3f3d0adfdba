/** The resources about records, as a client of the API meets them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { buildControlBatch } from '../../../../src/core/batch/control-batch.ts';
import { append } from '../../../support/storage/storage-rig.ts';
import { AdminFixture } from './admin-fixture.ts';

interface Page {
  readonly records: readonly { readonly offset: number; readonly value: string | null }[];
  readonly next: number;
  readonly isEnd: boolean;
}

let api: AdminFixture;

beforeEach(async () => {
  api = await AdminFixture.start();
  await api.post('/streams', { name: 'orders', partitions: 2 });
});

afterEach(async () => {
  expect(await api.stop()).toEqual([]);
});

const produce = (records: readonly object[], more: object = { partition: 0 }) =>
  api.post('/records', { stream: 'orders', records, ...more });
const read = (query: Readonly<Record<string, string>>) => api.get('/records', { stream: 'orders', ...query });
const offsetsOf = async (query: Readonly<Record<string, string>>): Promise<number[]> =>
  ((await read(query)).body as Page).records.map(({ offset }) => offset);

describe('/api/v1/records', () => {
  test('every byte of a record comes back, as text or as base64', async () => {
    const records = [
      { timestamp: 1, key: 'k', headers: [{ key: 'h', value: 'v' }], value: 'v' },
      { timestamp: 2, keyBase64: '/w==', headers: [{ keyBase64: 'gA==', valueBase64: '/w==' }], valueBase64: 'AP8=' },
      { timestamp: -1, key: null, headers: [], value: null },
      {
        timestamp: 3,
        key: '',
        headers: [
          { key: '', value: null },
          { key: '', value: '' },
        ],
        value: '',
      },
      { timestamp: 4, key: '\ufeff\u0000é\u{1f600}\u2028', headers: [], value: '"\n\r' },
    ];
    expect(await produce(records)).toEqual({
      status: 200,
      body: { appended: [{ partition: 0, baseOffset: 0, lastOffset: 4, isDuplicate: false }] },
    });
    expect((await read({})).body).toMatchObject({
      ...{ partition: 0, next: 5, isEnd: true },
      records: records.map((record, offset) => ({ offset, ...record })),
    });
  });

  test('records find their partition by key, or take turns', async () => {
    const keyed = await Promise.all(['a', 'a', 'b', 'c', 'd'].map((key) => produce([{ key, value: 'x' }], {})));
    const places = keyed.map(({ body }) => (body as { appended: { partition: number }[] }).appended[0].partition);
    expect(places[0]).toBe(places[1]);
    expect(new Set(places)).toEqual(new Set([0, 1]));
    const { body } = await produce([{ value: '1' }, { value: '2' }, { value: '3' }, { value: '4' }], {});
    expect((body as { appended: object[] }).appended).toHaveLength(2);
  });

  test('a batch of a producer that is sent again is stored once', async () => {
    const producer = { partition: 1, producerId: 7, producerEpoch: 0, baseSequence: 0 };
    const first = { partition: 1, baseOffset: 0, lastOffset: 0 };
    expect((await produce([{ value: 'x' }], producer)).body).toEqual({ appended: [{ ...first, isDuplicate: false }] });
    expect((await produce([{ value: 'x' }], producer)).body).toEqual({ appended: [{ ...first, isDuplicate: true }] });
    expect(await produce([{ value: 'x' }], { ...producer, baseSequence: 5 })).toMatchObject({
      status: 409,
      body: { code: 'STORAGE_SEQUENCE_OUT_OF_ORDER', appended: [] },
    });
  });

  test('a page is bounded by a number of records, and the next one begins behind it', async () => {
    await produce(Array.from({ length: 250 }, (_, number) => ({ value: `${number}` })));
    const seen: string[] = [];
    let from = 'earliest';
    for (let pages = 1; ; pages += 1) {
      const { records, next, isEnd } = (await read({ from, limit: '100' })).body as Page;
      seen.push(...records.map(({ value }) => value ?? ''));
      from = `${next}`;
      if (isEnd) break;
      expect(pages).toBeLessThan(5);
    }
    expect(seen).toEqual(Array.from({ length: 250 }, (_, number) => `${number}`));
    expect(await read({ from: 'latest' })).toMatchObject({ body: { records: [], next: 250, isEnd: true } });
  });

  test('a page is bounded by its bytes, and by what is looked at for it', async () => {
    const value = 'x'.repeat(500_000);
    for (let count = 0; count < 24; count += 1) await produce([{ value }, { key: 'rare', value: '' }]);
    const page = (await read({ limit: '1000' })).body as Page;
    expect([page.records.length, page.next, page.isEnd]).toEqual([5, 5, false]);
    const scan = (await read({ contains: 'nowhere' })).body as Page;
    expect([scan.records, scan.isEnd]).toEqual([[], false]);
    expect(scan.next).toBeGreaterThan(20);
    expect(scan.next).toBeLessThan(48);
    expect(((await read({ contains: 'nowhere', from: `${scan.next}` })).body as Page).isEnd).toBe(true);
  });

  test('filters let through what they name', async () => {
    await produce([
      { timestamp: 100, key: 'a', value: 'one two' },
      { timestamp: 300, key: 'b', value: 'three', headers: [{ key: 'type', value: 'x=1' }] },
      { timestamp: 200, keyBase64: '/w==', valueBase64: 'AP8C' },
      {
        timestamp: 400,
        headers: [
          { key: 'type', value: null },
          { key: 'n', valueBase64: '/w==' },
        ],
      },
    ]);
    const cases: [Record<string, string>, number[]][] = [
      [{ key: 'a' }, [0]],
      [{ keyBase64: '/w==' }, [2]],
      [{ key: 'none' }, []],
      [{ contains: 'e tw' }, [0]],
      [{ containsBase64: '/wI=' }, [2]],
      [{ header: 'type', headerValue: 'x=1' }, [1]],
      [{ header: 'n', headerValueBase64: '/w==' }, [3]],
      [{ since: '200' }, [1, 2, 3]],
      [{ until: '200' }, [0, 2]],
      [{ since: '150', until: '1970-01-01T00:00:00.300Z' }, [1, 2]],
      [{ since: '150', key: 'b', contains: 'h' }, [1]],
      [{ time: '150' }, [1, 2, 3]],
      [{ time: '999' }, []],
      [{ from: '2' }, [2, 3]],
    ];
    for (const [query, offsets] of cases) expect([query, await offsetsOf(query)]).toEqual([query, offsets]);
  });

  test('undecided and aborted transactions are shown only when they are asked for', async () => {
    const partition = await api.store.open('orders-0');
    const transactional = new BatchBuilder({ attributes: 16, producerId: 9, producerEpoch: 0, baseSequence: 0 });
    transactional.add({ timestampMs: 1, value: Buffer.from('undecided') });
    await append(partition, transactional.build());
    await produce([{ value: 'plain' }]);
    expect(await offsetsOf({})).toEqual([]);
    expect(await offsetsOf({ isolation: 'committed' })).toEqual([0, 1]);
    await append(
      partition,
      buildControlBatch({ type: 'abort', producerId: 9, producerEpoch: 0, timestampMs: 2, coordinatorEpoch: 0 }),
    );
    expect(await offsetsOf({})).toEqual([1]);
  });

  test('GET /records/offset tells where a time begins', async () => {
    await produce([{ timestamp: 100 }, { timestamp: 200 }]);
    await produce([{ timestamp: 500 }], { partition: 1 });
    expect(await api.get('/records/offset', { stream: 'orders', time: '150' })).toEqual({
      status: 200,
      body: {
        partitions: [
          { partition: 0, offset: 1, timestamp: 200 },
          { partition: 1, offset: 0, timestamp: 500 },
        ],
      },
    });
    expect((await api.get('/records/offset', { stream: 'orders', partition: '0', time: '300' })).body).toEqual({
      partitions: [{ partition: 0, offset: null, timestamp: null }],
    });
  });

  const invalid = 'INVALID_ARGUMENT';
  const one = [{ value: 'x' }];
  test.each<[unknown, number, string, string]>([
    [{}, 400, invalid, 'the field "stream" must be a text'],
    [{ stream: 'none', records: one }, 404, 'STREAM_UNKNOWN', 'none'],
    [{ stream: '__x', records: one }, 403, 'STREAM_INTERNAL', 'belongs to the broker'],
    [{ stream: 'orders' }, 400, invalid, '"records" must be a list of 1 to 1000 objects'],
    [{ stream: 'orders', records: [] }, 400, invalid, 'must be a list of 1 to 1000 objects'],
    [{ stream: 'orders', records: [null] }, 400, invalid, '"records[0]" must be an object'],
    [{ stream: 'orders', records: [{ value: 'x' }, { offset: 1 }] }, 400, invalid, 'unknown field "records[1].offset"'],
    [{ stream: 'orders', records: [{ value: 1 }] }, 400, invalid, '"records[0].value" must be a text, or null'],
    [{ stream: 'orders', records: [{ value: '\ud800' }] }, 400, invalid, 'must be a text, or null'],
    [{ stream: 'orders', records: [{ value: 'a', valueBase64: '' }] }, 400, invalid, 'is there twice'],
    [{ stream: 'orders', records: [{ valueBase64: 'a' }] }, 400, invalid, '"records[0].valueBase64" must be base64'],
    [{ stream: 'orders', records: [{ keyBase64: 'a-_=' }] }, 400, invalid, '"records[0].keyBase64" must be base64'],
    [{ stream: 'orders', records: [{ headers: {} }] }, 400, invalid, '"records[0].headers" must be a list'],
    [{ stream: 'orders', records: [{ headers: [{}] }] }, 400, invalid, '"records[0].headers[0].key" must be there'],
    [
      { stream: 'orders', records: [{ timestamp: 'now' }] },
      400,
      invalid,
      '"records[0].timestamp" must be milliseconds',
    ],
    [{ stream: 'orders', records: [{ timestamp: -2 }] }, 400, invalid, 'must be milliseconds'],
    [{ stream: 'orders', partition: 2, records: one }, 404, 'STREAM_PARTITION_UNKNOWN', 'partitions 0 to 1'],
    [{ stream: 'orders', partition: -1, records: one }, 400, invalid, '"partition" must be a whole number'],
    [{ stream: 'orders', records: one, producerId: 1 }, 400, invalid, 'go together'],
    [
      { stream: 'orders', records: one, producerId: 1, producerEpoch: 0, baseSequence: 0 },
      ...([400, invalid, 'sequences are of a partition'] as const),
    ],
  ])('POST %j is answered with %d', async (body, status, code, message) => {
    const answer = await api.post('/records', body);
    expect(answer).toMatchObject({ status, body: { code, message: expect.stringContaining(message) } });
    expect(await offsetsOf({})).toEqual([]);
  });

  test.each<[Record<string, string>, number, string, string]>([
    [{ partition: 'x' }, 400, invalid, '"partition" must be a whole number'],
    [{ partition: '2' }, 404, 'STREAM_PARTITION_UNKNOWN', ''],
    [{ from: 'first' }, 400, invalid, '"from" must be a whole number'],
    [{ from: '1' }, 400, 'STORAGE_OFFSET_OUT_OF_RANGE', ''],
    [{ from: '0', time: '0' }, 400, invalid, 'exclude each other'],
    [{ limit: '0' }, 400, invalid, 'from 1 to 1000'],
    [{ limit: '1001' }, 400, invalid, 'from 1 to 1000'],
    [{ isolation: 'durable' }, 400, invalid, '"stable" or "committed"'],
    [{ since: 'yesterday' }, 400, invalid, 'must be milliseconds since 1970, or a date'],
    [{ header: 'a' }, 400, invalid, 'go together'],
    [{ key: 'a', keyBase64: 'YQ==' }, 400, invalid, 'is there twice'],
    [{ offset: '1' }, 400, invalid, 'unknown field "offset"'],
  ])('GET %j is answered with %d', async (query, status, code, message) => {
    expect(await read(query)).toMatchObject({ status, body: { code, message: expect.stringContaining(message) } });
  });

  test('a pattern that is too long is refused', async () => {
    expect(await read({ contains: 'x'.repeat(4097) })).toMatchObject({ status: 400, body: { code: invalid } });
    expect(await read({ contains: 'x'.repeat(4096) })).toMatchObject({ status: 200 });
  });

  test('a record that is too long for its stream is refused', async () => {
    await api.post('/streams/change', { name: 'orders', settings: { batchBytesMax: 1000 } });
    expect(await produce([{ value: 'x'.repeat(2000) }])).toMatchObject({
      status: 400,
      body: { code: 'STORAGE_BATCH_INVALID', appended: [] },
    });
  });
});
