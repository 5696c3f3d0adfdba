/** `ringmq ctl queue|group|delayed|transaction` against the administration API over services and a store in memory. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdminFixture } from '../../admin/api/admin-fixture.ts';
import { type CliRun, runCli } from '../support.ts';

let api: AdminFixture;

beforeAll(async () => {
  api = await AdminFixture.start();
});

afterAll(async () => {
  expect(await api.stop()).toEqual([]);
});

const ctl = (...argv: string[]): Promise<CliRun> => runCli(['ctl', '--server', api.address, ...argv], '');
const ok = async (...argv: string[]): Promise<string> => {
  const { exitCode, out, err } = await ctl(...argv);
  expect([exitCode, err]).toEqual([0, '']);
  return out;
};
const jsonOf = async <T>(...argv: string[]): Promise<T> => JSON.parse(await ok(...argv, '--json')) as T;

interface Received {
  readonly messages: readonly { readonly receipt: string; readonly value: string; readonly deliveryCount: number }[];
}

async function receive(queue: string, ...argv: string[]): Promise<Received['messages']> {
  return (await jsonOf<Received>('queue', 'receive', queue, '--wait', '5000', ...argv)).messages;
}

describe('ringmq ctl queue', () => {
  test('create, produce, receive, acknowledge and reject take a message through its life', async () => {
    expect(await ok('queue', 'create', 'jobs', '--partitions', '1', '--visibility-ms', '60000')).toBe(
      'NAME  PARTITIONS  LEVELS  GROUPS  READY  IN FLIGHT  DELAYED  CONSUMERS  STATE\n' +
        'jobs  1           1       1       0      0          0        0          ok\n',
    );
    const sent = await ok('queue', 'produce', 'jobs', 'hello', '--key', 'k', '--header', 'h=1', '--timestamp', '5');
    expect(sent).toMatch(/^STREAM +OFFSET\n_queue-\d+-0-0 +0\n$/);
    expect(await ok('queue', 'receive', 'jobs', '--wait', '5000')).toMatch(
      /^RECEIPT +DELIVERY +TIME +KEY +VALUE +HEADERS\n0-0-\d+ +1 +1970-01-01T00:00:00.005Z +k +hello +h=1\n$/,
    );
    expect(await jsonOf('queue', 'list')).toMatchObject({
      queues: [{ name: 'jobs', inFlight: 1, groups: ['default'] }],
    });
    await ok('queue', 'produce', 'jobs', 'again');
    const [{ receipt }] = await receive('jobs');
    expect(await ok('queue', 'reject', 'jobs', receipt, '--delay', '1')).toContain('rejected');
    const [second] = await receive('jobs');
    expect(second).toMatchObject({ value: 'again', deliveryCount: 2 });
    expect(await ok('queue', 'acknowledge', 'jobs', second.receipt)).toContain(`${second.receipt}  acknowledged`);
    expect(await ctl('queue', 'acknowledge', 'jobs', second.receipt)).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('Cannot settle'),
    });
    const text = await ok('queue', 'describe', 'jobs');
    expect(text).toMatch(/^inFlight +1$/m);
    expect(text).toMatch(/^visibilityMs +60000$/m);
    expect(await ok('queue', 'seek', 'jobs', '--to', 'earliest')).toMatch(/^0 +_queue-\d+-0-0 +0$/m);
    expect((await receive('jobs', '--count', '5', '--acknowledge')).length).toBeGreaterThan(0);
    await ok('queue', 'seek', 'jobs', '--to', '0', '--partition', '0');
    expect(await ok('queue', 'purge', 'jobs')).toMatch(/^purged {2}[1-9]/);
    await ok('queue', 'seek', 'jobs', '--time', '2026-01-01T00:00:00Z');
    expect(await ok('queue', 'delete', 'jobs')).toBe('deleted  jobs\n');
  });

  test('dead letters are listed, and moved back once with key, headers and time as they were', async () => {
    await ok('stream', 'create', 'dead');
    await ok('queue', 'create', 'work', '--dead-letters', 'dead', '--deliveries', '1');
    for (const value of ['a', 'b']) {
      await ok('queue', 'produce', 'work', value, '--key', 'k', '--header', 'h=1', '--timestamp', '5');
    }
    for (const { receipt } of [...(await receive('work')), ...(await receive('work'))]) {
      await ok('queue', 'reject', 'work', receipt);
    }
    const letters = async (...argv: string[]): Promise<readonly unknown[]> =>
      (await jsonOf<{ letters: unknown[] }>('queue', 'dead-letters', 'work', ...argv)).letters;
    while ((await letters()).length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await ok('queue', 'dead-letters', 'work', '--limit', '1')).toMatch(/ rejected +1 +k +a\n$/);
    expect(await ok('queue', 'dead-letters', 'work', '--move')).toBe('moved  2\n');
    expect(await letters()).toEqual([]);
    expect(await letters('--all')).toHaveLength(2);
    expect(await ok('queue', 'dead-letters', 'work', '--move')).toBe('moved  0\n');
    const back = [...(await receive('work')), ...(await receive('work'))];
    expect(back).toMatchObject([
      { value: 'a', key: 'k', timestamp: 5, headers: [{ key: 'h', value: '1' }], deliveryCount: 1 },
      { value: 'b', deliveryCount: 1 },
    ]);
  });

  test('groups are added, changed and deleted; a queue can be over a stream that is there', async () => {
    await ok('stream', 'create', 'events', '--partitions', '2');
    await ok('queue', 'create', 'over', '--stream', 'events', '--order', 'key');
    await ok('queue', 'add-group', 'over', 'audit', '--start', 'latest', '--visibility-ms', 'none');
    await ok('queue', 'change', 'over', '--group', 'audit', '--ttl-ms', '1000', '--retry-ms', '5');
    const { groups } = await jsonOf<{ groups: { group: string; settings: object }[] }>('queue', 'describe', 'over');
    expect(groups.map(({ group }) => group)).toEqual(['default', 'audit']);
    expect(groups[1].settings).toMatchObject({ visibilityMs: null, ttlMs: 1000, redelivery: { baseMs: 5, factor: 2 } });
    expect(await ctl('queue', 'receive', 'over', '--group', 'audit')).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('QUEUE_SETTING_INVALID'),
    });
    await ok('record', 'produce', 'events', 'x', '--partition', '1');
    expect(await receive('over')).toMatchObject([{ value: 'x' }]);
    expect(await ok('queue', 'delete', 'over', '--group', 'audit')).toBe('deleted  over audit\n');
    await ok('queue', 'delete', 'over');
    expect(await ok('stream', 'describe', 'events')).toContain('events');
  });

  test.each<[string[], number, string]>([
    [['queue', 'describe', 'none'], 2, '(QUEUE_UNKNOWN)'],
    [['queue', 'produce', 'none', 'x'], 2, '(QUEUE_UNKNOWN)'],
    [['queue', 'create', 'a', '--order', 'alphabet'], 1, 'expected none, key, sticky-key'],
    [['queue', 'create', 'a', '--visibility-ms', '0'], 1, 'expected a number of at least 1'],
    [['queue', 'create', 'a', '--dead-letters', 'nowhere'], 2, '(STREAM_UNKNOWN)'],
    [['queue', 'create', 'a', '--stream', 'nowhere'], 2, '(STREAM_UNKNOWN)'],
    [['queue', 'create', 'a', '--levels', '40'], 2, '(QUEUE_LIMIT)'],
    [['queue', 'seek', 'a'], 1, 'expected one of --to and --time'],
    [['queue', 'change', 'a'], 1, 'expected a setting'],
    [['queue', 'acknowledge', 'a', 'b'], 2, 'is no receipt'],
    [['queue', 'receive', 'a', '--wait', '9000'], 1, 'expected a number from 0 to 8000'],
    [['group', 'describe', 'none'], 2, '(QUEUE_GROUP_UNKNOWN)'],
    [['group', 'reset', 'g'], 1, 'expected --stream'],
    [['group', 'reset', 'g', '--stream', 's'], 1, 'expected one of --to, --time and --by'],
    [['group', 'reset', 'g', '--stream', 'nowhere', '--to', 'latest'], 2, '(STREAM_UNKNOWN)'],
    [['delayed', 'cancel', 'x'], 2, 'is not that of a message that waits'],
    [['delayed', 'cancel', '1-1'], 2, 'it is written, or just being'],
    [['transaction', 'abort', 'none'], 2, '(TRANSACTION_UNKNOWN)'],
    [['record', 'produce', 's', 'x', '--delay', '1', '--at', '5'], 1, 'together'],
  ])('%j ends with status %d', async (argv, exitCode, message) => {
    const run = await ctl(...argv);
    expect([run.exitCode, run.err]).toEqual([exitCode, expect.stringContaining(message)]);
  });
});

describe('ringmq ctl group', () => {
  test('list, describe, reset and delete show and move cursors', async () => {
    await ok('stream', 'create', 'orders', '--partitions', '2');
    for (let number = 0; number < 4; number += 1) {
      await ok('record', 'produce', 'orders', `${number}`, '--partition', '0', '--timestamp', String(1000 * number));
    }
    const reset = (...argv: string[]): Promise<string> =>
      ok('group', 'reset', 'readers', '--stream', 'orders', ...argv);
    const dry = await reset('--to', 'latest');
    expect(dry).toContain('Nothing was changed');
    expect(dry).toMatch(/^orders-0 +- +4$/m);
    expect((await ctl('group', 'describe', 'readers')).exitCode).toBe(2);
    expect(await reset('--to', 'latest', '--execute')).not.toContain('Nothing');
    expect(await reset('--by=-3', '--execute')).toMatch(/^orders-0 +4 +1$/m);
    expect(await reset('--time', '1970-01-01T00:00:02Z', '--partition', '0', '--execute')).toMatch(/^orders-0 +1 +2$/m);
    expect(await reset('--to', '99', '--partition', '0')).toMatch(/^orders-0 +2 +4$/m);
    expect(await ok('group', 'describe', 'readers')).toMatch(/^orders-0 +2 +4 +2 +20/m);
    expect(await ok('group', 'list')).toMatch(/^readers +free +0 +2$/m);
    await api.services.client.cursors.claim('readers', 1);
    const refused = await ctl('group', 'reset', 'readers', '--stream', 'orders', '--to', '0', '--execute');
    expect([refused.exitCode, refused.err]).toEqual([2, expect.stringContaining('QUEUE_GENERATION_STALE')]);
    await api.services.client.cursors.release('readers', 1);
    expect(await ok('group', 'delete', 'readers', '--stream', 'orders')).toBe('deleted  orders-0 orders-1\n');
    await reset('--to', 'earliest', '--execute');
    expect(await ok('group', 'delete', 'readers')).toBe('deleted  readers\n');
  });
});

describe('ringmq ctl delayed and transaction', () => {
  test('records are produced for later, listed and cancelled', async () => {
    await ok('stream', 'create', 'later');
    expect(await ok('record', 'produce', 'later', 'soon', '--delay', '20')).toMatch(/^PARTITION +DUE +ID\n0 +20/);
    const { delayed } = await jsonOf<{ delayed: { id: string }[] }>(
      ...(['record', 'produce', 'later', 'never', '--at', '2027-06-01T00:00:00Z', '--key', 'k'] as const),
    );
    expect(await ok('delayed', 'list')).toContain(delayed[0].id);
    expect(await ok('delayed', 'cancel', delayed[0].id)).toBe(`cancelled  ${delayed[0].id}\n`);
    expect(await ok('delayed', 'list')).not.toContain(delayed[0].id);
    while (!(await ok('record', 'read', 'later')).includes('soon'))
      await new Promise((resolve) => setTimeout(resolve, 10));
  });

  test('transactions are listed, described and aborted', async () => {
    const { transactions } = api.services.client;
    await api.store.create('out-0');
    const producer = await transactions.initialize('t', 60_000);
    await transactions.addPartitions('t', producer, ['out-0']);
    expect(await ok('transaction', 'list', '--open')).toMatch(/^t +ongoing +\d+ +0 +\d+ +1 +0$/m);
    expect(await ok('transaction', 'abort', 't')).toMatch(/^state +(prepare|complete)Abort$/m);
    expect(await ok('transaction', 'describe', 't')).toMatch(/^time-out +60000 ms$/m);
  });
});
