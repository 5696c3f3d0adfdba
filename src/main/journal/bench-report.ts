/** What `ringmq bench journal` says: text for people, and verdicts. Pure. Main thread; called by `bench-command.ts`. */
import type { AppendFigures } from '../../journal/bench/append-run.ts';
import type { JournalBenchResult } from './bench-run.ts';

/** Limits of the defaults: 100 records of 256 bytes under way. */
const limits = { perS: 250_000, p99Us: 3000, engineShare: 0.8, readGbPerS: 1, lagRatio: 1.2 } as const;

export interface JournalCheck {
  readonly what: string;
  readonly value: number;
  readonly limit: string;
  readonly isKept: boolean;
}

export interface BenchMachine {
  readonly cpus: number;
  readonly model: string;
  /** Of the last minute, when the run ended. */
  readonly load: number;
  readonly folder: string;
}

export function judgeJournalBench({ append, read, lag }: JournalBenchResult): JournalCheck[] {
  const checks: JournalCheck[] = [];
  const atLeast = (what: string, value: number, limit: number): void => {
    checks.push({ what, value, limit: `at least ${limit}`, isKept: value >= limit });
  };
  const atMost = (what: string, value: number, limit: number): void => {
    checks.push({ what, value, limit: `at most ${limit}`, isKept: value <= limit });
  };
  if (append !== null) {
    atLeast('durable appends, records/s', append.engine.perS, limits.perS);
    atMost('their p99, us', append.engine.p99Us, limits.p99Us);
    for (const { kind, engineShare } of append.bare)
      atLeast(`share of the ${kind} bare loop`, engineShare, limits.engineShare);
  }
  for (const { recordsPerBatch, journalGbPerS } of read) {
    atLeast(`sequential read, ${recordsPerBatch} records a batch, GB/s`, journalGbPerS, limits.readGbPerS);
  }
  if (lag !== null) atMost('p99 with a lagging consumer, of the one without', lag.ratio, limits.lagRatio);
  return checks;
}

export function formatJournalBench(
  result: JournalBenchResult,
  machine: BenchMachine,
  checks: readonly JournalCheck[],
): string {
  const { inFlight, recordBytes, batchRecords, seconds, append, read, lag } = result;
  const batches =
    batchRecords < inFlight ? `at most ${batchRecords} records a batch` : 'what is free in one turn is one batch';
  const lines = [
    `journal in ${machine.folder}: ${inFlight} records of ${recordBytes} bytes under way, ${batches}, ${seconds} s`,
    row('machine', `${machine.cpus} x ${machine.model}, load ${machine.load.toFixed(2)}`),
  ];
  if (append !== null) {
    const { engine, bare } = append;
    lines.push(
      row('engine', `${figures(engine)}, ${engine.recordsPerBatch} records a batch, ${engine.recordsPerRound} a sync`),
    );
    for (const loop of bare) {
      lines.push(row(loop.kind, `${figures(loop)}; the engine has ${percent(loop.engineShare)} of this bare loop`));
    }
  }
  for (const { recordsPerBatch, journalGbPerS, planGbPerS } of read) {
    const what = `${recordsPerBatch} ${recordsPerBatch === 1 ? 'record' : 'records'} a batch`;
    lines.push(row('read', `${journalGbPerS} GB/s, by a plan ${planGbPerS} GB/s (cached, ${what})`));
  }
  if (lag !== null) {
    const cold = lag.isCold ? 'cold data' : 'data that is in memory: nothing to drop it with';
    lines.push(
      row('lag', `p99 ${lag.p99UsWithout} us alone, ${lag.p99UsWith} us beside a consumer of ${cold}: ${lag.ratio}`),
      row(
        '',
        `${lag.perSWithout}/s and ${lag.perSWith}/s; the consumer had ${lag.consumerMbPerS} MB/s, ` +
          (lag.limitMbPerS === 0 ? 'without a pace' : `its pace was ${lag.limitMbPerS} MB/s at the end`),
      ),
    );
  }
  for (const { what, value, limit, isKept } of checks) {
    lines.push(row(isKept ? 'kept' : 'NOT KEPT', `${what}: ${value}, ${limit}`));
  }
  return `${lines.join('\n')}\n`;
}

function figures({ perS, p50Us, p99Us, p999Us, maxUs }: AppendFigures): string {
  return `${perS} records/s, p50 ${p50Us} us, p99 ${p99Us} us, p99.9 ${p999Us} us, max ${maxUs} us`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function row(name: string, value: string): string {
  return `${name.padEnd(10)}${value}`;
}
