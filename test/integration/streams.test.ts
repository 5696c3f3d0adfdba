/** Streams and records over real brokers: produced, filtered, exported, deleted, and imported somewhere else. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BrokerProcess } from '../support/broker-process.ts';
import { runCli } from '../unit/cli/support.ts';

const recordCount = 1000;
const partitionCount = 3;

let folder = '';
const running: BrokerProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-streams-'));
});

afterEach(async () => {
  for (const broker of running.splice(0)) await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function start(data: string): Promise<BrokerProcess> {
  mkdirSync(join(folder, data), { recursive: true });
  const broker = await BrokerProcess.start({ workers: 1, data: join(folder, data), logLevel: 'warn' });
  running.push(broker);
  return broker;
}

async function stop(broker: BrokerProcess): Promise<void> {
  running.splice(running.indexOf(broker), 1);
  await broker.stop();
}

async function ctl(broker: BrokerProcess, ...argv: string[]): Promise<string> {
  const { exitCode, out, err } = await runCli(['ctl', ...argv, '--server', `127.0.0.1:${broker.port('http')}`]);
  expect([argv, exitCode, err]).toEqual([argv, 0, argv.includes('export') ? expect.any(String) : '']);
  return out;
}

interface Read {
  readonly records: readonly { readonly partition: number; readonly offset: number; readonly value?: string }[];
}

async function read(broker: BrokerProcess, ...argv: string[]): Promise<Read['records']> {
  return (JSON.parse(await ctl(broker, 'record', 'read', 'orders', ...argv, '--json')) as Read).records;
}

/** Every eighth value, and key, is no text. */
function recordOf(number: number): object {
  const isBinary = number % 8 === 0;
  const bytes = Buffer.from(Array.from({ length: 40 }, (_, index) => (number * 7 + index * 31) % 256));
  return {
    timestamp: 1_700_000_000_000 + number * 1000,
    ...(isBinary ? { keyBase64: bytes.subarray(0, 5).toString('base64') } : { key: `key ${number % 10}` }),
    headers:
      number % 5 === 0
        ? [
            { key: 'fifth', value: `${number % 10}` },
            { key: 'none', value: null },
          ]
        : [],
    ...(isBinary
      ? { valueBase64: bytes.toString('base64') }
      : { value: number % 9 === 0 ? null : `value ${number} é\n` }),
  };
}

async function produceAll(broker: BrokerProcess): Promise<void> {
  for (let from = 0; from < recordCount; from += 50) {
    const records = Array.from({ length: 50 }, (_, index) => recordOf(from + index));
    const response = await fetch(`http://127.0.0.1:${broker.port('http')}/api/v1/records`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ stream: 'orders', partition: (from / 50) % partitionCount, records }),
    });
    expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('"isDuplicate":false')]);
  }
}

describe('streams and records of a broker', () => {
  it('come back byte for byte from an export that is imported into another broker', async () => {
    const first = await start('first');
    await ctl(first, 'stream', 'create', 'orders', '--partitions', `${partitionCount}`, '--segment-bytes', '1048576');
    await produceAll(first);

    expect(await read(first, '--limit', '5000')).toHaveLength(recordCount);
    const numbers = Array.from({ length: recordCount }, (_, number) => number);
    const keyed = numbers.filter((number) => number % 8 !== 0 && number % 10 === 3);
    expect(await read(first, '--key', 'key 3', '--limit', '5000')).toHaveLength(keyed.length);
    expect(await read(first, '--header', 'fifth=5', '--limit', '5000')).toHaveLength(recordCount / 10);
    expect((await read(first, '--contains', 'value 77 ')).map(({ value }) => value)).toEqual(['value 77 é\n']);
    const times = ['--since', '1700000010000', '--until', '1700000019000'];
    expect(await read(first, ...times, '--limit', '5000')).toHaveLength(10);
    const found = JSON.parse(await ctl(first, 'record', 'find', 'orders', '1700000010000', '--json')) as object;
    expect(found).toMatchObject({
      partitions: [
        { partition: 0, offset: 10 },
        { partition: 1, offset: 0 },
        { partition: 2, offset: 0 },
      ],
    });

    // Over a restart, since what is exported is what is on the disk.
    await stop(first);
    const again = await start('first');
    const file = join(folder, 'orders.ndjson');
    await ctl(again, 'record', 'export', 'orders', '--file', file);
    const text = readFileSync(file, 'utf8');
    expect(text.split('\n')).toHaveLength(recordCount + 1);
    await ctl(again, 'stream', 'delete', 'orders');
    expect(await ctl(again, 'stream', 'list', '--json')).toBe('{"streams":[]}\n');

    const second = await start('second');
    await ctl(second, 'stream', 'create', 'orders', '--partitions', `${partitionCount}`);
    expect(await ctl(second, 'record', 'import', 'orders', file)).toBe(`imported ${recordCount} records\n`);
    expect(await ctl(second, 'record', 'export', 'orders', '--quiet')).toBe(text);

    await ctl(second, 'stream', 'purge', 'orders', '--partition', '1', '--before', '100');
    expect((await read(second, '--partition', '1', '--limit', '1'))[0]).toMatchObject({ offset: 100 });
  }, 60_000);
});
