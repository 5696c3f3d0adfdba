import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KvResult } from '../../../../../src/cli/bench/kv/report.ts';
import { startCli } from '../../support.ts';
import { type FakeEtcd, startFakeEtcd } from './fake-etcd.ts';

let etcd: FakeEtcd;

beforeEach(async () => {
  etcd = await startFakeEtcd();
});

afterEach(() => etcd.stop());

function bench(...flags: string[]) {
  const short = ['--seconds', '0.3', '--warm-up', '0.1'];
  return startCli(['bench', 'kv', '--target', 'etcd', '--endpoints', etcd.endpoint, ...short, ...flags]).done;
}

async function benchJson(...flags: string[]): Promise<KvResult> {
  const run = await bench('--json', '--quiet', ...flags);
  expect(run.exitCode).toBe(0);
  return JSON.parse(run.out) as KvResult;
}

describe('ringmq bench kv', () => {
  test('bench kv counts writes and their latency when the server answers', async () => {
    const result = await benchJson('--clients', '4', '--keys', '50');
    expect(result.sets).toBeGreaterThan(0);
    expect(result.gets).toBe(0);
    expect(result.setLatency.samples).toBe(result.sets);
    expect(result.errorCount).toBe(0);
    expect([...etcd.keys.keys()].every((key) => /^\d{8}$/.test(key))).toBe(true);
    expect([...etcd.keys.values()].every((value) => value.length === 256)).toBe(true);
  });

  test('bench kv fills the keys before it reads when reads are asked for', async () => {
    const result = await benchJson('--operations', 'get-serializable', '--keys', '30', '--lean');
    expect(etcd.keys.size).toBe(30);
    expect(result.gets).toBeGreaterThan(0);
    expect(result.errorCount).toBe(0);
    expect(etcd.counts.serializable).toBe(etcd.counts.range);
  });

  test('bench kv keeps to the rate when one is given', async () => {
    const result = await benchJson('--operations', 'mixed', '--rate', '200', '--clients', '5', '--keys', '5');
    const operations = result.sets + result.gets + result.overdue;
    expect(operations).toBeGreaterThan(0);
    expect(operations).toBeLessThan(200);
  });

  test('bench kv ends with status 2 when no operation succeeds', async () => {
    etcd.fail();
    const run = await bench('--quiet');
    expect(run.exitCode).toBe(2);
    expect(run.out).toContain('no operation succeeded');
    expect(run.out).toMatch(/\d+ x UNAVAILABLE: etcdserver: no leader/);
  });

  test('bench kv shows errors and ends with status 2 under --strict when some operations fail', async () => {
    const done = bench('--quiet', '--strict', '--seconds', '0.6');
    setTimeout(() => etcd.fail(), 400);
    const run = await done;
    expect(run.out).toMatch(/errors\s+[1-9]/);
    expect(run.exitCode).toBe(2);
  });

  test('bench kv ends with status 2 when nobody listens', async () => {
    etcd.stop();
    const run = await bench('--lean');
    expect(run.exitCode).toBe(2);
    expect(run.err).toContain('Cannot connect to');
  });

  test.each([
    [['--operations', 'scan'], 'expected set, get, get-serializable, mixed'],
    [['--target', 'zookeeper'], 'expected ringmq, etcd'],
    [['--endpoints', 'nowhere'], 'expected HOST:PORT'],
    [['--keys', '1000', '--key-bytes', '2'], 'do not fit'],
    [['--pid', 'x'], 'expected a process number'],
    [['surplus'], 'unexpected argument'],
  ])('bench kv refuses %j', async (flags, message) => {
    const run = await startCli(['bench', 'kv', ...flags]).done;
    expect(run.exitCode).toBe(1);
    expect(run.err).toContain(message);
  });

  test('bench kv --help tells about its own flags', async () => {
    const run = await startCli(['bench', 'kv', '--help']).done;
    expect(run.exitCode).toBe(0);
    expect(run.out).toContain('--value-bytes');
    expect(run.out).not.toContain('--wildcard');
  });
});
