import { describe, expect, test } from 'vitest';
import { formatChecks } from '../../../native-free-bench/checks.ts';
import {
  bestOf,
  formatFigures,
  judge,
  type Measurement,
  medianOf,
  type Series,
} from '../../../native-free-bench/kv/judge.ts';
import { type Row, rows, type Way, ways } from '../../../native-free-bench/kv/rows.ts';

const [writes1, , , serializable] = rows;
const [ringmqLeader, ringmqAll, etcdLeader, etcdAll] = ways;

function runOf(perS: number, p99Us: number, errors = 0): Measurement {
  return { perS, p50Us: 1, p99Us, p999Us: 1, errors, serverCpuUs: 1, loadCpuUs: 1 };
}

function series(row: Row, way: Way, ...runs: Measurement[]): Series {
  return { row, way, runs };
}

describe('judge of the comparison with etcd', () => {
  test('medianOf() takes the worst of the errors and the median of the rest', () => {
    expect(medianOf([runOf(1, 30), runOf(5, 10, 2), runOf(3, 20)])).toMatchObject({ perS: 3, p99Us: 20, errors: 2 });
  });

  test('bestOf() chooses the way with the highest median when a system has several', () => {
    const all = [series(writes1, etcdLeader, runOf(100, 1)), series(writes1, etcdAll, runOf(200, 1))];
    expect(bestOf(all, writes1, 'etcd')).toBe(all[1]);
    expect(bestOf(all, writes1, 'ringmq')).toBeUndefined();
  });

  test('judge() compares best with best and fails what is slower than the limit', () => {
    const etcd = [series(writes1, etcdLeader, runOf(1000, 500)), series(writes1, etcdAll, runOf(900, 100))];
    const kept = judge(rows, [series(writes1, ringmqAll, runOf(1500, 500)), ...etcd]);
    expect(kept.map(({ isKept }) => isKept)).toEqual([true, true, true]);
    const slow = judge(rows, [series(writes1, ringmqLeader, runOf(1499, 501, 1)), ...etcd]);
    expect(slow.map(({ isKept }) => isKept)).toEqual([false, false, false]);
  });

  test('judge() says nothing when a row has no limit or one system is missing', () => {
    const pair = [series(serializable, ringmqAll, runOf(1, 1)), series(serializable, etcdAll, runOf(2, 1))];
    expect(judge(rows, pair)).toEqual([]);
    expect(judge(rows, [series(writes1, ringmqAll, runOf(1, 1))])).toEqual([]);
  });

  test('formatFigures() marks the way that counts', () => {
    const all = [series(writes1, etcdLeader, runOf(100, 1)), series(writes1, etcdAll, runOf(200, 1))];
    expect(formatFigures(rows, all)).toContain('etcd, all nodes, lean client *');
    const checks = judge(rows, [...all, series(writes1, ringmqAll, runOf(100, 1))]);
    expect(formatChecks(checks)).toContain('FAIL');
  });
});
