import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import { batchHeaderBytes, batchLengthEnd, sealBatch } from '../../../../src/core/batch/batch-format.ts';
import { buildControlBatch } from '../../../../src/core/batch/control-batch.ts';
import { Journal } from '../../../../src/journal/journal.ts';
import { openLogFolders } from '../../../../src/journal/log-folders.ts';

const program = join(import.meta.dirname, '../../../../bin/ringmq.js');
let data = '';

function ringmq(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 60_000 });
}

function lines(text: string): Record<string, unknown>[] {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The batch with its records as one compressed block. */
function compressed(batch: Buffer, codec: number, records: Buffer): Buffer {
  const bytes = Buffer.concat([batch.subarray(0, batchHeaderBytes), records]);
  bytes.writeInt32BE(bytes.length - batchLengthEnd, 8);
  bytes.writeInt16BE(codec, 21);
  sealBatch(bytes, 0, bytes.length);
  return bytes;
}

function batch(value: Buffer | string, builder = new BatchBuilder()): Buffer {
  const headers = [{ key: Buffer.from('h'), value: Buffer.from('1') }];
  builder.add({ timestampMs: 1_700_000_000_000, key: Buffer.from('k'), value: Buffer.from(value), headers });
  return builder.build();
}

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), 'ringmq-journal-tools-'));
  const path = join(data, 'journal');
  const open = () => openLogFolders(path);
  const journal = new Journal({
    directories: [{ path, open }],
    now: Date.now,
    onEvent: () => undefined,
    freeBytesMin: 0,
  });
  const plain = batch('packed');
  const appends: [string, Buffer][] = [
    ['t-0', batch('text\n')],
    ['t-0', batch(Buffer.from([255, 0]))],
    ['t-0', compressed(plain, 1, gzipSync(plain.subarray(batchHeaderBytes)))],
    ['t-0', compressed(plain, 4, zstdCompressSync(plain.subarray(batchHeaderBytes)))],
    ['t-0', compressed(plain, 2, Buffer.from('whatever'))],
    ['t-0', batch('x', new BatchBuilder({ attributes: 16, producerId: 7, producerEpoch: 1, baseSequence: 0 }))],
    ['t-0', buildControlBatch({ type: 'abort', producerId: 7, producerEpoch: 1, coordinatorEpoch: 0, timestampMs: 5 })],
    ['t-1', batch('other')],
  ];
  for (const name of ['t-0', 't-1']) journal.create(name);
  for (const [name, bytes] of appends) {
    const error = await new Promise((resolve) => {
      journal.submit(journal.get(name), bytes, { leaderEpoch: 3 }, (answer) => resolve(answer.error));
      journal.flush();
    });
    expect(error).toBeNull();
  }
  await new Promise<void>((resolve) => journal.close(resolve));
});

afterAll(() => rmSync(data, { recursive: true }));

describe('ringmq ctl journal', () => {
  it('dump prints records, their fields, and what is in compressed batches', () => {
    const { status, stdout, stderr } = ringmq('ctl', 'journal', 'dump', '--data', data, '--partition', 't-0', '--json');
    expect([status, stderr]).toEqual([0, '']);
    const items = lines(stdout);
    const headers = [{ key: 'h', value: '1' }];
    const record = { type: 'record', partition: 't-0', timestamp: 1_700_000_000_000, key: 'k', headers };
    expect(items).toMatchObject([
      {
        ...record,
        offset: 0,
        value: 'text\n',
        producer: null,
        control: null,
        batch: { codec: 'none', leaderEpoch: 3 },
      },
      { ...record, offset: 1, valueBase64: '/wA=' },
      { ...record, offset: 2, value: 'packed', batch: { codec: 'gzip' } },
      { ...record, offset: 3, value: 'packed', batch: { codec: 'zstd' } },
      { type: 'range', firstOffset: 4, lastOffset: 4, batch: { codec: 'snappy' } },
      { ...record, offset: 5, producer: { id: 7, epoch: 1, baseSequence: 0 }, isTransactional: true },
      { type: 'record', offset: 6, control: 'abort' },
    ]);
    const some = ringmq('ctl', 'journal', 'dump', '--data', join(data, 'journal'), '--from', '1', '--limit', '2');
    expect(some.stdout.split('\n').slice(0, 2)).toEqual([
      't-0 1 2023-11-14T22:13:20.000Z key="k" "h":"1" value=base64:/wA=',
      't-0 2 2023-11-14T22:13:20.000Z key="k" "h":"1" value="packed" (gzip)',
    ]);
  });

  it('verify finds nothing in a sound journal, and names a flipped bit', () => {
    const sound = ringmq('ctl', 'journal', 'verify', '--data', data);
    expect([sound.status, sound.stderr]).toEqual([0, '']);
    expect(sound.stdout).toMatch(/^2 partitions, 2 segments, 8 batches, 8 records, \d+ bytes: nothing is damaged\n$/);
    const segment = join(data, 'journal', 't-0', '00000000000000000000.log');
    const bytes = readFileSync(segment);
    const flipped = Buffer.from(bytes);
    flipped[bytes.indexOf('text')] ^= 1;
    writeFileSync(segment, flipped);
    const before = readdirSync(join(data, 'journal', 't-0'));
    try {
      const damaged = ringmq('ctl', 'journal', 'verify', '--data', data);
      expect(damaged.status).toBe(1);
      expect(damaged.stdout).toMatch(
        /^damage t-0 00000000000000000000\.log at byte 12288, offset 0: \d+ bytes are no sound batch\n/,
      );
      const json = lines(ringmq('ctl', 'journal', 'verify', '--data', data, '--json').stdout);
      expect(json[0]).toMatchObject({ type: 'problem', position: 12_288, firstOffset: 0, nextOffset: 1 });
      expect(json.at(-1)).toMatchObject({ type: 'summary', damages: 1, partitions: 2, batches: 7 });
      expect(readFileSync(segment).equals(flipped)).toBe(true);
      expect(readdirSync(join(data, 'journal', 't-0'))).toEqual(before);
    } finally {
      writeFileSync(segment, bytes);
    }
  });

  it('refuses a folder that a broker uses, unless it is told to read it', () => {
    const lock = join(data, 'ringmq.lock');
    writeFileSync(lock, `${process.pid}\n`);
    try {
      for (const folder of [data, join(data, 'journal')]) {
        const { status, stderr } = ringmq('ctl', 'journal', 'verify', '--data', folder);
        expect([status, stderr]).toEqual([
          1,
          expect.stringContaining(`the broker with process id ${process.pid} uses it`),
        ]);
      }
      expect(ringmq('ctl', 'journal', 'verify', '--data', data, '--force-read').status).toBe(0);
    } finally {
      rmSync(lock);
    }
  });

  it('says what is wrong with the command line', () => {
    for (const [args, message] of [
      [['verify'], 'expected --data DIR'],
      [['look', '--data', data], 'expected verify or dump'],
      [['verify', '--data', data, '--from', '3'], 'Cannot use --from'],
      [['dump', '--data', data, '--limit', '0'], 'Cannot use --limit "0"'],
    ] as const) {
      const { status, stderr } = ringmq('ctl', 'journal', ...args);
      expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
    }
    expect(ringmq('ctl', 'journal', 'dump', '--data', data, '--partition', 't-9').stderr).toContain(
      '"t-9": there is none',
    );
  });
});

describe('ringmq bench journal', () => {
  it('measures all that it promises, and leaves nothing behind', () => {
    const folder = mkdtempSync(join(data, 'bench-'));
    const { status, stdout, stderr } = ringmq('bench', 'journal', '--smoke', '--json', '--judge', '--data', folder);
    expect(status, stderr).toBe(0);
    const result = JSON.parse(stdout) as Record<string, never>;
    const latency = { p50Us: expect.any(Number), p99Us: expect.any(Number), p999Us: expect.any(Number) };
    expect(result).toMatchObject({
      inFlight: 100,
      recordBytes: 256,
      batchRecords: 100,
      append: {
        engine: { perS: expect.any(Number), ...latency },
        bare: [
          { kind: 'growing', engineShare: expect.any(Number), ...latency },
          { kind: 'prepared', engineShare: expect.any(Number), ...latency },
        ],
      },
      read: [{ recordsPerBatch: 100 }, { recordsPerBatch: 1 }],
      lag: { ratio: expect.any(Number), consumerMbPerS: expect.any(Number) },
      checks: [],
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  it('takes each record alone with --batch 1, and prints text', () => {
    const args = ['--smoke', '--only', 'append', '--batch', '1', '--inflight', '8', '--quiet', '--data', data];
    const { status, stdout, stderr } = ringmq('bench', 'journal', ...args);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^journal in .*: 8 records of 256 bytes under way, at most 1 records a batch/);
    expect(stdout).toMatch(/^engine +\d+ records\/s, p50 \d+ us/m);
  });

  it('says what is wrong with the command line with status 2', () => {
    for (const args of [['--inflight', '0'], ['--seconds', 'x'], ['--only', 'all'], ['--nonsense']]) {
      const { status, stderr } = ringmq('bench', 'journal', ...args);
      expect([status, stderr]).toEqual([2, expect.stringMatching(/^ringmq: .*(Cannot use|Unknown option)/)]);
    }
  });
});
