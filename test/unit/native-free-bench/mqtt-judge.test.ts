import { describe, expect, test } from 'vitest';
import { judge, medianOf, type RowResult } from '../../../native-free-bench/mqtt/judge.ts';
import type { Measurement } from '../../../native-free-bench/mqtt/measure.ts';
import { type BrokerName, benchFlags, blastFlags, rows } from '../../../native-free-bench/mqtt/rows.ts';
import { formatTable, median } from '../../../native-free-bench/table.ts';
import { parseArguments } from '../../../src/cli/arguments.ts';
import { benchOptions, readPlan } from '../../../src/cli/bench/options.ts';

const base: Measurement = { cpuUs: 1, perS: 1000, p50Us: 10, p99Us: 20, lost: 0, kibPerConnection: 0, startUpMs: 0 };

function result(id: string, figures: [BrokerName, Partial<Measurement>][]): RowResult {
  const row = rows.find((one) => one.id === id);
  if (row === undefined) throw new Error(`no row ${id}`);
  return { row, runs: new Map(figures.map(([name, changes]) => [name, [{ ...base, ...changes }]])) };
}

function failures(...results: RowResult[]): string[] {
  return judge(results)
    .filter((check) => !check.isKept)
    .map((check) => `${check.row} ${check.what}`);
}

describe('judge()', () => {
  test('judge() keeps limits that are met exactly', () => {
    const stream = result('stream', [
      ['ringmq', { cpuUs: 0.1 }],
      ['mosquitto', { cpuUs: 3 }],
      ['wirelimit', { cpuUs: 0.1 / 3 }],
    ]);
    expect(judge([stream])).toHaveLength(3);
    expect(failures(stream)).toEqual([]);
  });

  test('judge() fails each limit that is missed', () => {
    expect(
      failures(
        result('stream', [
          ['ringmq', { cpuUs: 0.11 }],
          ['mosquitto', { cpuUs: 3 }],
          ['wirelimit', { cpuUs: 0.03 }],
        ]),
      ),
    ).toEqual(['stream CPU / mosquitto', 'stream CPU / wirelimit']);
    expect(
      failures(
        result('qos1', [
          ['ringmq', { cpuUs: 0.01, lost: 1 }],
          ['mosquitto', {}],
        ]),
      ),
    ).toEqual(['qos1 lost']);
    const slow = { cpuUs: 1.2, perS: 900, p50Us: 11, p99Us: 31 };
    expect(
      failures(
        result('sparse-pairs', [
          ['ringmq', slow],
          ['mosquitto', {}],
        ]),
      ),
    ).toEqual([
      'sparse-pairs CPU / mosquitto',
      'sparse-pairs p99 / mosquitto',
      'sparse-pairs rate / mosquitto',
      'sparse-pairs p50 / mosquitto',
    ]);
    expect(failures(result('idle', [['ringmq', { kibPerConnection: 12.1 }]]))).toEqual(['idle KiB per connection']);
    expect(failures(result('start-up', [['ringmq', { startUpMs: 501 }]]))).toEqual(['start-up ms until it accepts']);
  });

  test('judge() compares two workers with the one-worker stream', () => {
    const stream = result('stream', [['ringmq', { cpuUs: 0.05 }]]);
    expect(failures(stream, result('two-workers', [['ringmq', { cpuUs: 0.1 }]]))).toEqual([]);
    expect(failures(stream, result('two-workers', [['ringmq', { cpuUs: 0.11 }]]))).toEqual([
      'two-workers CPU / one worker',
    ]);
  });

  test('judge() fails a ratio to nothing', () => {
    expect(
      failures(
        result('sparse-fan-out', [
          ['ringmq', { cpuUs: 0, perS: 0 }],
          ['mosquitto', { cpuUs: 0 }],
        ]),
      ),
    ).toContain('sparse-fan-out CPU / mosquitto');
  });
});

describe('figures', () => {
  test('medianOf() takes medians, and the worst loss', () => {
    const runs = [1, 9, 2].map((value) => ({ ...base, cpuUs: value, lost: value === 9 ? 1 : 0 }));
    expect(medianOf(runs)).toMatchObject({ cpuUs: 2, lost: 1 });
    expect(median([4, 1])).toBe(2.5);
    expect(median([])).toBe(0);
  });

  test('formatTable() makes Markdown of equal widths', () => {
    expect(formatTable(['a', 'bb'], [['x', '1']])).toBe('| a   |  bb |\n| --- | --: |\n| x   |   1 |');
  });
});

describe('rows', () => {
  test('blastFlags() writes the workloads as the acceptance table names them', () => {
    const flags = new Map(rows.map((row) => [row.id, blastFlags(row.workload).join(' ')]));
    expect(flags.get('stream')).toBe('-P 1 -S 1 -s 64');
    expect(flags.get('sparse-pairs')).toBe('-P 100 -S 100 -s 64 -T 100 -r 20000');
    expect(flags.get('sparse-fan-in')).toBe('-P 200 -S 1 -s 64 -W -r 20000');
  });

  test('benchFlags() means the same workloads to ringmq bench', () => {
    for (const { workload } of rows) {
      const plan = readPlan(parseArguments(['1:1', ...benchFlags(workload)], benchOptions));
      const { transport, ...same } = workload;
      expect(plan).toMatchObject({ ...same, isWebSocket: transport.startsWith('web-socket') });
      expect(plan.tls !== null).toBe(transport === 'tls');
    }
  });
});
