/** The resources about streams, as a client of the API meets them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AdminFixture } from './admin-fixture.ts';

let api: AdminFixture;

beforeEach(async () => {
  api = await AdminFixture.start();
});

afterEach(async () => {
  expect(await api.stop()).toEqual([]);
});

describe('/api/v1/streams', () => {
  test('streams are made, listed, described, changed and deleted', async () => {
    const settings = { retentionMs: 60_000, retentionBytes: null };
    expect(await api.post('/streams', { name: 'orders', partitions: 2, settings })).toEqual({
      status: 201,
      body: { name: 'orders', partitions: 2, isInternal: false },
    });
    await api.store.create('__log');
    expect(await api.get('/streams')).toEqual({
      status: 200,
      body: { streams: [{ name: 'orders', partitions: 2, isInternal: false }] },
    });
    expect((await api.get('/streams', { internal: 'true' })).body).toMatchObject({
      streams: [{ name: '__log', isInternal: true }, { name: 'orders' }],
    });
    await api.post('/records', { stream: 'orders', partition: 1, records: [{ value: 'x' }, { value: 'y' }] });
    expect(await api.get('/streams/describe', { name: 'orders' })).toMatchObject({
      status: 200,
      body: {
        name: 'orders',
        adapter: 'memory',
        settings: { retentionMs: 60_000 },
        partitionStates: [
          { partition: 0, logStartOffset: 0, logEndOffset: 0, highWatermark: 0, lastStableOffset: 0, sizeBytes: 0 },
          { partition: 1, logStartOffset: 0, logEndOffset: 2, highWatermark: 2, lastStableOffset: 2 },
        ],
      },
    });
    expect((await api.get('/streams/describe', { name: '__log' })).status).toBe(200);
    const changed = await api.post('/streams/change', {
      name: 'orders',
      partitions: 3,
      settings: { retentionBytes: 9e6 },
    });
    expect(changed.body).toMatchObject({ partitions: 3 });
    expect(await api.store.settings('orders-2')).toMatchObject({ retentionMs: 60_000, retentionBytes: 9e6 });
    expect(await api.post('/streams/delete', { name: 'orders' })).toEqual({ status: 200, body: { name: 'orders' } });
    expect(await api.store.names()).toEqual(['__log']);
  });

  test('purge forgets records of one partition below an offset, or all', async () => {
    await api.post('/streams', { name: 'orders', partitions: 2 });
    for (const partition of [0, 1]) {
      for (const value of ['a', 'b', 'c'])
        await api.post('/records', { stream: 'orders', partition, records: [{ value }] });
    }
    expect(await api.post('/streams/purge', { name: 'orders', partition: 1, before: 2 })).toEqual({
      status: 200,
      body: { name: 'orders', partitions: [{ partition: 1, logStartOffset: 2 }] },
    });
    expect((await api.get('/records', { stream: 'orders', partition: '1' })).body).toMatchObject({
      records: [{ offset: 2, value: 'c' }],
    });
    expect(await api.get('/records', { stream: 'orders', partition: '1', from: '0' })).toMatchObject({
      status: 400,
      body: { code: 'STORAGE_OFFSET_OUT_OF_RANGE', canRetry: false },
    });
    expect((await api.post('/streams/purge', { name: 'orders', all: true })).body).toEqual({
      name: 'orders',
      partitions: [
        { partition: 0, logStartOffset: 3 },
        { partition: 1, logStartOffset: 3 },
      ],
    });
  });

  const invalid = 'INVALID_ARGUMENT';
  test.each<[string, unknown, number, string, string]>([
    ['/streams', {}, 400, invalid, 'the field "name" must be a text'],
    ['/streams', [], 400, invalid, 'the field "name" must be a text'],
    ['/streams', '{', 400, invalid, 'the body is no JSON'],
    ['/streams', { name: 'a', partition: 1 }, 400, invalid, 'unknown field "partition"'],
    [
      '/streams',
      { name: 'a', partitions: '' },
      400,
      invalid,
      'the field "partitions" must be a whole number of at least 1',
    ],
    ['/streams', { name: 'a', partitions: 1.5 }, 400, invalid, 'the field "partitions" must be a whole number'],
    ['/streams', { name: 'a', partitions: 1025 }, 400, 'STREAM_PARTITIONS_INVALID', '1024'],
    ['/streams', { name: 'a b' }, 400, 'STREAM_NAME_INVALID', 'Cannot name a stream "a b"'],
    ['/streams', { name: '__a' }, 403, 'STREAM_INTERNAL', 'belongs to the broker'],
    ['/streams', { name: 'there' }, 409, 'STREAM_EXISTS', 'it exists'],
    ['/streams', { name: 'a', settings: [] }, 400, invalid, 'the field "settings" must be an object'],
    ['/streams', { name: 'a', settings: { x: 1 } }, 400, invalid, 'unknown field "settings.x"'],
    ['/streams', { name: 'a', settings: { retentionMs: 0 } }, 400, invalid, '"settings.retentionMs" must be'],
    ['/streams', { name: 'a', settings: { isCompacted: 1 } }, 400, invalid, 'must be true or false'],
    [
      '/streams',
      { name: 'a', settings: { batchBytesMax: 2 ** 40 } },
      400,
      'STORAGE_SETTING_UNSUPPORTED',
      'batchBytesMax',
    ],
    ['/streams', '{"name":"a","settings":{"__proto__":1}}', 400, invalid, 'unknown field "settings.__proto__"'],
    ['/streams/change', { name: 'none' }, 404, 'STREAM_UNKNOWN', 'Cannot find stream "none"'],
    ['/streams/change', { name: 'there', partitions: 1 }, 400, 'STREAM_PARTITIONS_INVALID', 'fewer would lose records'],
    ['/streams/delete', { name: 'none' }, 404, 'STREAM_UNKNOWN', 'none'],
    ['/streams/delete', { name: '_queue-1-0' }, 403, 'STREAM_INTERNAL', 'belongs to the broker'],
    ['/streams/purge', { name: 'there' }, 400, invalid, '"before" or "all": true must be there, and not both'],
    ['/streams/purge', { name: 'there', before: 1, all: true }, 400, invalid, 'and not both'],
    ['/streams/purge', { name: 'there', before: 0 }, 400, invalid, '"partition" must be there with "before"'],
    [
      '/streams/purge',
      { name: 'there', partition: 7, all: true },
      404,
      'STREAM_PARTITION_UNKNOWN',
      'partitions 0 to 1',
    ],
    ['/streams/purge', { name: 'there', partition: 0, before: 9 }, 400, 'STORAGE_OFFSET_OUT_OF_RANGE', ''],
    ['/streams/purge', { name: '__x', all: true }, 403, 'STREAM_INTERNAL', ''],
  ])('POST %s %j is answered with %d', async (path, body, status, code, message) => {
    await api.post('/streams', { name: 'there', partitions: 2 });
    const answer = await api.post(path, body);
    expect(answer).toMatchObject({ status, body: { code, message: expect.stringContaining(message) } });
    expect(await api.store.names()).toEqual(['there-0', 'there-1']);
  });

  test('what a page of another site can send is refused', async () => {
    expect(await api.post('/streams', { name: 'a' }, 'text/plain')).toMatchObject({ status: 400 });
    expect(await api.get('/streams', { internal: 'yes' })).toMatchObject({ status: 400 });
    expect(await api.get('/streams/describe')).toMatchObject({ status: 400 });
  });
});
