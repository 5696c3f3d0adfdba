/** `ringmq ctl stream` and `ringmq ctl record` against the administration API over a store in memory. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { append } from '../../../support/storage/storage-rig.ts';
import { AdminFixture } from '../../admin/api/admin-fixture.ts';
import { type CliRun, findFreePort, runCli, startCli, until } from '../support.ts';

let api: AdminFixture;
let folder = '';

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-ctl-'));
  api = await AdminFixture.start();
});

afterEach(async () => {
  expect(await api.stop()).toEqual([]);
  rmSync(folder, { recursive: true });
});

const ctlWith = (input: string, ...argv: string[]): Promise<CliRun> =>
  runCli(['ctl', '--server', api.address, ...argv], input);
const ctl = (...argv: string[]): Promise<CliRun> => ctlWith('', ...argv);
const jsonOf = async (...argv: string[]): Promise<unknown> => JSON.parse((await ctl(...argv, '--json')).out);
const ok = async (...argv: string[]): Promise<string> => {
  const { exitCode, out, err } = await ctl(...argv);
  expect([exitCode, err]).toEqual([0, '']);
  return out;
};

describe('ringmq ctl stream', () => {
  test('create, list, describe, change, purge and delete print tables, or JSON', async () => {
    const settings = ['--retention-ms', '60000', '--retention-bytes', 'none', '--compacted', 'no'];
    expect(await ok('stream', 'create', 'orders', '--partitions', '2', ...settings)).toBe(
      'NAME    PARTITIONS  OWNER\norders  2           user\n',
    );
    await api.store.create('__log');
    expect(await ok('stream', 'list', '--internal')).toBe(
      'NAME    PARTITIONS  OWNER\n__log   1           broker\norders  2           user\n',
    );
    expect(await jsonOf('stream', 'list')).toEqual({ streams: [{ name: 'orders', partitions: 2, isInternal: false }] });
    await ok('record', 'produce', 'orders', 'hello', '--partition', '1');
    await ok('stream', 'change', 'orders', '--partitions', '3', '--retention-ms', 'none');
    const text = await ok('stream', 'describe', 'orders');
    expect(text).toMatch(/^storage +memory$/m);
    expect(text).toMatch(/^retentionMs +none$/m);
    expect(text).toMatch(/^1 +0 +1 +1 +\d+ +ok$/m);
    expect(await jsonOf('stream', 'describe', 'orders')).toMatchObject({ partitions: 3, adapter: 'memory' });
    expect(await ok('stream', 'purge', 'orders', '--all')).toContain('1          1\n');
    expect(await ok('stream', 'purge', 'orders', '--partition', '1', '--before', '0')).toContain('1          1\n');
    expect(await ok('stream', 'delete', 'orders')).toBe('deleted  orders\n');
    expect(await api.store.names()).toEqual(['__log']);
  });

  test.each<[string[], number, string]>([
    [['stream', 'create'], 1, 'Cannot run "ctl stream create": expected NAME'],
    [['stream', 'make', 'a'], 1, 'expected one of create, list, describe, change, purge, delete'],
    [['stream', 'create', 'a', '--compacted', 'maybe'], 1, 'expected yes or no'],
    [['stream', 'create', 'a', '--retention-ms', '0'], 1, 'expected a number of at least 1'],
    [['stream', 'create', 'a', '--ca', 'x'], 1, 'Cannot use "--ca": unknown option'],
    [['stream', 'create', 'a b'], 2, '(STREAM_NAME_INVALID)'],
    [['stream', 'purge', 'a'], 1, 'expected either --before OFFSET or --all'],
    [['stream', 'describe', 'none'], 2, 'Cannot find stream "none" (STREAM_UNKNOWN)'],
    [['record', 'produce', 'none', 'x'], 2, '(STREAM_UNKNOWN)'],
    [['record', 'produce', 'a'], 1, 'expected one of VALUE, --value-base64, --file and --tombstone'],
    [['record', 'produce', 'a', 'x', '--tombstone'], 1, 'expected one of VALUE'],
    [['record', 'produce', 'a', 'x', '--header', 'y'], 1, 'expected NAME=VALUE'],
    [['record', 'produce', 'a', 'x', '--producer', '1,2'], 1, 'expected ID,EPOCH,SEQUENCE'],
    [['record', 'produce', 'a', '--file', '/nowhere/at-all'], 1, 'Cannot read "/nowhere/at-all"'],
    [['record', 'read', 'none'], 2, '(STREAM_UNKNOWN)'],
    [['record', 'read', 'a', '--key', 'x', '--key-base64', 'eA=='], 1, 'together'],
    [['record', 'find', 'none', 'noon'], 2, 'must be milliseconds since 1970, or a date'],
    [['record', 'export', 'none'], 2, '(STREAM_UNKNOWN)'],
    [['record', 'import', 'none', '/nowhere/at-all'], 2, 'Cannot read the records'],
  ])('%j ends with status %d', async (argv, exitCode, message) => {
    const run = await ctl(...argv);
    expect(run).toMatchObject({ exitCode, out: '', err: expect.stringContaining(message) });
  });

  test('a server that is none of ours, or not there, is a failure with a reason', async () => {
    const port = await findFreePort();
    const run = (server: string): Promise<CliRun> => runCli(['ctl', 'stream', 'list', '--server', server]);
    expect(await run(`127.0.0.1:${port}`)).toMatchObject({ exitCode: 2, err: expect.stringContaining('ECONNREFUSED') });
    expect(await run('nonsense')).toMatchObject({ exitCode: 1, err: expect.stringContaining('expected HOST:PORT') });
  });

  test('the help names the flags for HTTP and no others', async () => {
    const { out } = await runCli(['ctl', 'record', 'export', '--help']);
    expect(out).toContain('HTTP address of a broker (127.0.0.1:8080)');
    expect(out).toContain('--from OFFSET');
    expect(out).not.toContain('--cert');
    expect((await runCli(['ctl', 'stream', '--help'])).out).toContain('HTTP address of a broker');
    expect((await runCli(['ctl', 'kv', '--help'])).out).toContain('members of the cluster');
  });
});

describe('ringmq ctl record', () => {
  beforeEach(async () => {
    await ok('stream', 'create', 'orders');
  });

  test('produce and read keep key, headers, time and bytes', async () => {
    const flags = ['--key', 'k', '--header', 'a=1=2', '--header', 'b=', '--timestamp', '2026-01-31T12:00:00Z'];
    expect(await ok('record', 'produce', 'orders', 'hello', ...flags)).toBe(
      'PARTITION  OFFSET  DUPLICATE\n0          0       no\n',
    );
    await ok('record', 'produce', 'orders', '--value-base64', 'AP8=', '--key-base64', '/w==', '--timestamp', '5');
    await ok('record', 'produce', 'orders', '--tombstone', '--key', 'k', '--timestamp', '6');
    expect((await ctlWith('from stdin', 'record', 'produce', 'orders', '-', '--timestamp', '7')).exitCode).toBe(0);
    expect(await ok('record', 'read', 'orders')).toBe(
      [
        'PARTITION  OFFSET  TIME                      KEY   VALUE       HEADERS',
        '0          0       2026-01-31T12:00:00.000Z  k     hello       a=1=2 b=',
        '0          1       1970-01-01T00:00:00.005Z  \\xff  \\x00\\xff',
        '0          2       1970-01-01T00:00:00.006Z  k     -',
        '0          3       1970-01-01T00:00:00.007Z  -     from stdin',
        '',
      ].join('\n'),
    );
    expect(await jsonOf('record', 'read', 'orders', '--from', '1', '--limit', '1')).toEqual({
      records: [{ partition: 0, offset: 1, timestamp: 5, keyBase64: '/w==', headers: [], valueBase64: 'AP8=' }],
      places: [{ partition: 0, next: 2, isEnd: false }],
    });
    const offsets = async (...argv: string[]): Promise<number[]> =>
      ((await jsonOf('record', 'read', 'orders', ...argv)) as { records: { offset: number }[] }).records.map(
        ({ offset }) => offset,
      );
    expect(await offsets('--key', 'k')).toEqual([0, 2]);
    expect(await offsets('--key-base64', '/w==')).toEqual([1]);
    expect(await offsets('--header', 'a=1=2')).toEqual([0]);
    expect(await offsets('--contains', 'stdin')).toEqual([3]);
    expect(await offsets('--since', '1970-01-02', '--undecided')).toEqual([0]);
    expect(await offsets('--from', 'latest')).toEqual([]);
    expect(await ok('record', 'find', 'orders', '1000')).toContain('0          0       2026-01-31T12:00:00.000Z\n');
  });

  test('produce of an idempotent producer is stored once', async () => {
    const argv = ['record', 'produce', 'orders', 'x', '--producer', '5,0,0', '--partition', '0'];
    expect(await ok(...argv)).toContain('0          0       no\n');
    expect(await ok(...argv)).toContain('0          0       yes\n');
  });

  test('an export that is imported elsewhere is the same export', async () => {
    await ok('stream', 'change', 'orders', '--partitions', '2');
    for (const [partition, value] of ['a', 'b\u2028\r\n"', '', 'c'].entries()) {
      await ok('record', 'produce', 'orders', value, '--partition', `${partition % 2}`, '--header', 'é=1');
    }
    await ok('record', 'produce', 'orders', '--value-base64', '/w==', '--key-base64', 'gA==', '--partition', '1');
    const file = join(folder, 'orders.ndjson');
    const run = await ctl('record', 'export', 'orders', '--file', file);
    expect(run).toEqual({ exitCode: 0, out: '', err: 'exported 5 records\n' });
    const text = readFileSync(file, 'utf8');
    expect((await ctl('record', 'export', 'orders', '--quiet')).out).toBe(text);
    await ok('stream', 'create', 'copy', '--partitions', '2');
    expect(await ok('record', 'import', 'copy', file)).toBe('imported 5 records\n');
    expect((await ctl('record', 'export', 'copy')).out).toBe(text);
    expect((await ctlWith(text, 'record', 'import', 'copy', '-', '--skip', '3')).out).toBe('imported 2 records\n');
    expect((await ctl('record', 'export', 'orders', '--file', file)).err).toContain('EEXIST');
    // On from there, behind what the file has.
    await ok('record', 'produce', 'orders', 'later', '--partition', '1');
    expect((await ctl('record', 'export', 'orders', '--file', file, '--from', '0:2,1:3')).err).toBe(
      'exported 1 records\n',
    );
    expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(7);
    const partial = (await ctl('record', 'export', 'orders', '--partition', '1', '--from', '2')).out;
    expect(
      partial
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { offset: number }).offset),
    ).toEqual([2, 3]);
  });

  test('an export that is interrupted says how to go on, and nothing is lost or doubled', async () => {
    const partition = await api.store.open('orders-0');
    for (let batch = 0; batch < 40; batch += 1) {
      const builder = new BatchBuilder();
      for (let each = 0; each < 1000; each += 1) builder.add({ timestampMs: each, value: Buffer.from(`${batch}`) });
      await append(partition, builder.build());
    }
    const whole = (await ctl('record', 'export', 'orders', '--quiet')).out;
    const running = startCli(['ctl', 'record', 'export', 'orders', '--server', api.address]);
    await until(() => running.io.out() !== '');
    running.interrupt();
    const { exitCode, out, err } = await running.done;
    expect(exitCode).toBe(2);
    const from = /go on with --from (0:\d+)\n$/.exec(err)?.[1];
    const rest = (await ctl('record', 'export', 'orders', '--from', from ?? '')).out;
    expect(rest.length).toBeGreaterThan(0);
    expect(out + rest === whole).toBe(true);
  });

  test.each(['x', '1:0', '0:1,0:2', '0:', '-1'])('export refuses --from %s', async (from) => {
    const run = await ctl('record', 'export', 'orders', `--from=${from}`);
    expect(run).toMatchObject({ exitCode: 1, err: expect.stringContaining('expected OFFSET') });
  });

  const good = (value: string): string => JSON.stringify({ partition: 0, timestamp: 1, value });
  test.each<[string, string]>([
    ['it is no JSON', 'x'],
    ['it is no object', '[]'],
    ['"timestamp" must be a whole number', '{"partition":0}'],
    ['"partition" must be a whole number', '{"partition":-1,"timestamp":1}'],
    ['"offset" must be a whole number', '{"partition":0,"timestamp":1,"offset":"1"}'],
    ['the field "valeu" is unknown', '{"partition":0,"timestamp":1,"valeu":"1"}'],
    ['"value" must be a text, or null', '{"partition":0,"timestamp":1,"value":1}'],
    ['"value" must be a text, or null', '{"partition":0,"timestamp":1,"value":"\\ud800"}'],
    ['"keyBase64" must be base64', '{"partition":0,"timestamp":1,"keyBase64":"?"}'],
    ['"key" is there twice', '{"partition":0,"timestamp":1,"key":"a","keyBase64":"YQ=="}'],
    ['"headers" must be a list', '{"partition":0,"timestamp":1,"headers":{}}'],
    ['a header must be an object', '{"partition":0,"timestamp":1,"headers":[1]}'],
    ['a header must have a "key"', '{"partition":0,"timestamp":1,"headers":[{"value":"x"}]}'],
    ['of a header, the field "x" is unknown', '{"partition":0,"timestamp":1,"headers":[{"key":"x","x":1}]}'],
    ['STREAM_PARTITION_UNKNOWN', '{"partition":1,"timestamp":1}'],
    ['it has more than 4194304 bytes', `{"partition":0,"timestamp":1,"value":"${'x'.repeat(4_194_304)}"}`],
  ])('import stops at a line of which %s', async (message, bad) => {
    const run = await ctlWith([good('a'), '', good('b'), bad, good('c')].join('\n'), 'record', 'import', 'orders');
    expect(run).toMatchObject({ exitCode: 2, out: '', err: expect.stringContaining(message) });
    expect(run.err).toContain('line 4: ');
    expect(run.err).toContain('imported 2 records; go on with --skip 3');
    expect(await jsonOf('record', 'read', 'orders')).toMatchObject({ records: [{ value: 'a' }, { value: 'b' }] });
  });

  test('import --check names all bad lines and appends nothing', async () => {
    const text = [good('a'), 'x', good('b'), '{}', ''].join('\n');
    const run = await ctlWith(text, 'record', 'import', 'orders', '--check');
    expect(run.exitCode).toBe(2);
    expect(run.err).toContain('line 2: it is no JSON\nline 4: "partition" must be a whole number\n');
    expect((await ctlWith(`${good('a')}\n`, 'record', 'import', 'orders', '--check')).out).toBe(
      '1 records, no bad line\n',
    );
    expect(await jsonOf('record', 'read', 'orders')).toMatchObject({ records: [] });
  });

  test('import sends smaller batches to a stream that takes no large ones, and says exactly how far it came', async () => {
    await ok('stream', 'change', 'orders', '--batch-bytes', '500');
    const lines = Array.from({ length: 50 }, (_, number) => good(`${number} ${'x'.repeat(100)}`));
    expect((await ctlWith(lines.join('\n'), 'record', 'import', 'orders')).out).toBe('imported 50 records\n');
    const values = ((await jsonOf('record', 'read', 'orders')) as { records: { value: string }[] }).records;
    expect(values.map(({ value }) => value.split(' ')[0])).toEqual(lines.map((_, number) => `${number}`));
    lines[20] = good('x'.repeat(1000));
    const run = await ctlWith(lines.join('\n'), 'record', 'import', 'orders');
    expect(run.err).toMatch(
      /Cannot import line 21: .*STORAGE_BATCH_INVALID.*imported 20 records; go on with --skip 20/,
    );
  });
});
