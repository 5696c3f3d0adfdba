/** Medians, checks against the limits, and the tables. Pure; used by `../mqtt.ts`. */
import type { Check } from '../checks.ts';
import { formatTable, median } from '../table.ts';
import type { Measurement } from './measure.ts';
import { type BrokerName, benchFlags, blastFlags, isForBlast, type Row } from './rows.ts';

/** A rate is "not worse" within this share: the start of a second falls differently in each run. */
const RATE_TOLERANCE = 0.01;

/** All runs of one row, by broker. */
export interface RowResult {
  readonly row: Row;
  readonly runs: ReadonlyMap<BrokerName, readonly Measurement[]>;
}

/** The median of each figure on its own; of `lost` the worst, since one loss is a loss. */
export function medianOf(runs: readonly Measurement[]): Measurement {
  const of = (key: keyof Measurement): number => median(runs.map((run) => run[key]));
  return {
    cpuUs: of('cpuUs'),
    perS: of('perS'),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    lost: Math.max(0, ...runs.map((run) => run.lost)),
    kibPerConnection: of('kibPerConnection'),
    startUpMs: of('startUpMs'),
  };
}

/** Compares RingMQ's figures with the limits; rows and brokers that did not run make no check. */
export function judge(results: readonly RowResult[]): Check[] {
  const stream = results.find((result) => result.row.id === 'stream')?.runs.get('ringmq');
  return results.flatMap((result) => judgeRow(result, stream === undefined ? undefined : medianOf(stream)));
}

function judgeRow({ row, runs }: RowResult, oneWorker: Measurement | undefined): Check[] {
  const figures = (name: BrokerName): Measurement | undefined => {
    const found = runs.get(name);
    return found === undefined || found.length === 0 ? undefined : medianOf(found);
  };
  const own = figures('ringmq');
  if (own === undefined) return [];
  const { limits } = row;
  const checks: Check[] = [];
  const atMost = (what: string, value: number, limit: number | undefined, digits: number): void => {
    if (limit === undefined) return;
    const isKept = Number.isFinite(value) && value <= limit;
    checks.push({ row: row.id, what, value: value.toFixed(digits), limit: `at most ${trim(limit, digits)}`, isKept });
  };
  const mosquitto = figures('mosquitto');
  if (mosquitto !== undefined && row.kind === 'load' && row.workers === 1) {
    atMost('CPU / mosquitto', own.cpuUs / mosquitto.cpuUs, limits.cpuToMosquitto, 4);
    atMost('p99 / mosquitto', own.p99Us / mosquitto.p99Us, limits.p99ToMosquitto, 2);
    const rate = own.perS / mosquitto.perS;
    const { rateToMosquitto = 1 } = limits;
    checks.push({
      row: row.id,
      what: 'rate / mosquitto',
      value: rate.toFixed(2),
      limit: `at least ${rateToMosquitto}`,
      isKept: rate >= rateToMosquitto - RATE_TOLERANCE,
    });
    if (row.isSparse) atMost('p50 / mosquitto', own.p50Us / mosquitto.p50Us, 1, 2);
  }
  const wire = figures('wirelimit');
  if (wire !== undefined) atMost('CPU / wirelimit', own.cpuUs / wire.cpuUs, limits.cpuToWirelimit, 2);
  if (oneWorker !== undefined) atMost('CPU / one worker', own.cpuUs / oneWorker.cpuUs, limits.cpuToOneWorker, 2);
  atMost('lost', own.lost, limits.lost, 0);
  atMost('KiB per connection', own.kibPerConnection, limits.kibPerConnection, 1);
  atMost('ms until it accepts', own.startUpMs, limits.startUpMs, 0);
  return checks;
}

function flagsOf({ workload }: Row): string[] {
  const isBlast = isForBlast(workload) && !workload.isDurable;
  return isBlast ? blastFlags(workload) : benchFlags(workload);
}

/** One line per row and broker. */
export function formatFigures(results: readonly RowResult[]): string {
  const head = ['row', 'broker', 'CPU us/msg', 'msg/s', 'p50 us', 'p99 us', 'lost', 'other'];
  const lines: string[][] = [];
  for (const { row, runs } of results) {
    const name = row.kind === 'load' ? `${row.id}: \`${flagsOf(row).join(' ')}\`` : row.id;
    for (const [broker, measurements] of runs) {
      if (measurements.length > 0) lines.push([name, broker, ...figureCells(row, medianOf(measurements))]);
    }
  }
  return formatTable(head, lines);
}

function figureCells(row: Row, one: Measurement): string[] {
  if (row.kind === 'idle') return ['', '', '', '', '', `${one.kibPerConnection.toFixed(1)} KiB per connection`];
  if (row.kind === 'start-up') return ['', '', '', '', '', `${one.startUpMs.toFixed(0)} ms until it accepts`];
  const cpu = one.cpuUs >= 1 ? one.cpuUs.toFixed(2) : one.cpuUs.toFixed(4);
  return [cpu, one.perS.toFixed(0), one.p50Us.toFixed(0), one.p99Us.toFixed(0), one.lost.toFixed(0), ''];
}

function trim(value: number, digits: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(digits);
}
