/** Medians, checks against the limits, and the tables. Pure; used by `../kv.ts`. */
import type { Check } from '../checks.ts';
import { formatTable, median } from '../table.ts';
import { nameOf, type Row, type SystemName, type Way } from './rows.ts';

/** One run of one row. */
export interface Measurement {
  readonly perS: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly errors: number;
  /** Of all three nodes, per operation. */
  readonly serverCpuUs: number;
  readonly loadCpuUs: number;
}

/** All runs of one row in one way. */
export interface Series {
  readonly row: Row;
  readonly way: Way;
  readonly runs: readonly Measurement[];
}

/** The median of each figure on its own; of `errors` the worst. */
export function medianOf(runs: readonly Measurement[]): Measurement {
  const of = (key: keyof Measurement): number => median(runs.map((run) => run[key]));
  return {
    perS: of('perS'),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    p999Us: of('p999Us'),
    errors: Math.max(0, ...runs.map((run) => run.errors)),
    serverCpuUs: of('serverCpuUs'),
    loadCpuUs: of('loadCpuUs'),
  };
}

/** The series with the highest median rate; that is the one a system is compared by. */
export function bestOf(series: readonly Series[], row: Row, system: SystemName): Series | undefined {
  const candidates = series.filter((one) => one.row.id === row.id && one.way.system === system && one.runs.length > 0);
  const rates = candidates.map((one) => medianOf(one.runs).perS);
  return candidates[rates.indexOf(Math.max(...rates))];
}

/** Compares RingMQ's best way with etcd's best way; rows that only one of them ran make no check. */
export function judge(rows: readonly Row[], series: readonly Series[]): Check[] {
  return rows.flatMap((row) => {
    const own = bestOf(series, row, 'ringmq');
    const other = bestOf(series, row, 'etcd');
    if (own === undefined || other === undefined || row.rateToEtcdMin === undefined) return [];
    const ours = medianOf(own.runs);
    const theirs = medianOf(other.runs);
    const rate = ours.perS / theirs.perS;
    const p99 = ours.p99Us / theirs.p99Us;
    return [
      {
        row: row.id,
        what: 'rate / etcd',
        value: rate.toFixed(2),
        limit: `at least ${row.rateToEtcdMin}`,
        isKept: rate >= row.rateToEtcdMin,
      },
      { row: row.id, what: 'p99 / etcd', value: p99.toFixed(2), limit: 'at most 1', isKept: p99 <= 1 },
      { row: row.id, what: 'errors', value: `${ours.errors}`, limit: 'at most 0', isKept: ours.errors === 0 },
    ];
  });
}

/** One line per row and way; `*` marks the way that a system is compared by. */
export function formatFigures(rows: readonly Row[], series: readonly Series[]): string {
  const head = ['row', 'way', 'per s', 'p50 us', 'p99 us', 'p99.9 us', 'errors', 'CPU us, 3 nodes', 'CPU us, load'];
  const lines = rows.flatMap((row) => {
    const best = [bestOf(series, row, 'ringmq'), bestOf(series, row, 'etcd')];
    return series
      .filter((one) => one.row.id === row.id && one.runs.length > 0)
      .map((one) => {
        const figures = medianOf(one.runs);
        const { perS, p50Us, p99Us, p999Us, errors, serverCpuUs, loadCpuUs } = figures;
        const name = `${nameOf(one.way)}${best.includes(one) ? ' *' : ''}`;
        return [row.id, name, ...[perS, p50Us, p99Us, p999Us, errors, serverCpuUs, loadCpuUs].map((n) => n.toFixed(0))];
      });
  });
  return formatTable(head, lines);
}
