/**
 * A producer, without and with a consumer that reads the same partition from its cold beginning, at the pace that the product gives it:
 * the same control on the thread of the journal, the same reader on the consumer's. Slices of both take turns; the ratio of their p99
 * counts. Main thread of the command's process, which owns the journal.
 */

import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { BatchSource, type LoadSettings, runLoad } from '../../journal/bench/append-load.ts';
import { round } from '../../journal/bench/append-run.ts';
import type { BenchJournal } from '../../journal/bench/bench-journal.ts';
import { median } from '../../journal/bench/latency-counts.ts';
import type { PartitionLog } from '../../journal/partition-log.ts';
import { ColdPace, createColdPace } from '../../workers/storage/cold-pace.ts';
import { ColdPaceControl, type ColdPaceLimits } from '../../workers/storage/host/cold-pace-control.ts';
import type { ConsumerData, FromConsumer, ToConsumer } from './bench-consumer-messages.ts';

// A clone runs the `.ts` file, a published package the `.js` file that was emitted from it: this very module says which.
const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const consumerUrl = new URL(`./bench-consumer.worker${extension}`, import.meta.url);

/** The pace has to be found before it can be judged: a consumer that is an hour behind reads for long. */
const findingSlices = 4;

interface LagRunSettings extends LoadSettings {
  /** Of the journal's directory. */
  readonly folder: string;
  readonly sliceMs: number;
  readonly slices: number;
  /** How far behind the consumer begins. */
  readonly behindBytes: number;
  readonly coldReads: ColdPaceLimits;
}

export interface LagFigures {
  readonly p99UsWithout: number;
  readonly p99UsWith: number;
  /** Median over the pairs of slices. */
  readonly ratio: number;
  readonly perSWithout: number;
  readonly perSWith: number;
  readonly consumerMbPerS: number;
  /** What the pace was at the end; 0: there was none. */
  readonly limitMbPerS: number;
  /** Whether what the consumer read was taken out of the page cache before. */
  readonly isCold: boolean;
}

export async function runLag(
  journal: BenchJournal,
  settings: LagRunSettings,
  onProgress: (line: string) => void,
): Promise<LagFigures> {
  const { sliceMs, slices, behindBytes } = settings;
  const batches = new BatchSource(settings);
  const log = journal.create('lag');
  await journal.fill(log, batches.get(settings.batchRecords), behindBytes);
  // The segment that is written to stays in the page cache: the consumer's part ends before it.
  log.roll(Date.now());
  const coldPace = createColdPace(1);
  const pace = new ColdPace(coldPace);
  const control = new ColdPaceControl(pace, settings.coldReads);
  journal.onRound = ({ writeMs }) => control.onRound(writeMs);
  const consumer = new Consumer(log, log.logEndOffset, { coldPace, line: 0 });
  const without: { p99Us: number; perS: number }[] = [];
  const withConsumer: { p99Us: number; perS: number }[] = [];
  const rates: number[] = [];
  let isCold = true;
  const load = async () => {
    const { latency, perS } = await runLoad(journal.target(log), settings, batches, sliceMs);
    return { p99Us: latency.figures().p99Us, perS };
  };
  try {
    await load();
    const withIt = async (): Promise<void> => {
      isCold = dropFromCache(join(settings.folder, 'lag')) && isCold;
      consumer.start();
      withConsumer.push(await load());
      rates.push((await consumer.stop()) / 1e6 / (sliceMs / 1000));
    };
    for (let slice = 0; slice < Math.min(findingSlices, slices); slice += 1) await withIt();
    withConsumer.length = 0;
    rates.length = 0;
    for (let slice = 0; slice < slices; slice += 1) {
      if (slice % 2 === 1) await withIt();
      without.push(await load());
      if (slice % 2 === 0) await withIt();
      onProgress(
        `lagging consumer ${slice + 1}/${slices}: p99 ${without[slice].p99Us} us without, ` +
          `${withConsumer[slice].p99Us} us with it at ${Math.round(rates[slice])} MB/s`,
      );
    }
  } finally {
    journal.onRound = () => undefined;
    await consumer.end();
  }
  const ratios = without.flatMap((alone, slice) =>
    alone.p99Us > 0 && withConsumer[slice].p99Us > 0 ? [withConsumer[slice].p99Us / alone.p99Us] : [],
  );
  if (ratios.length === 0) throw new Error('Cannot compare slices: nothing was acknowledged in them');
  return {
    p99UsWithout: Math.round(median(without.map(({ p99Us }) => p99Us))),
    p99UsWith: Math.round(median(withConsumer.map(({ p99Us }) => p99Us))),
    ratio: round(median(ratios), 3),
    perSWithout: Math.round(median(without.map(({ perS }) => perS))),
    perSWith: Math.round(median(withConsumer.map(({ perS }) => perS))),
    consumerMbPerS: Math.round(median(rates)),
    limitMbPerS: Math.round(pace.limitBytesPerS / 1e6),
    isCold,
  };
}

/** The other thread, and this one's part of it: to say where batches lie. */
class Consumer {
  readonly #worker: Worker;
  #onStopped: (bytes: number) => void = () => undefined;
  #stopped: Promise<number> = Promise.resolve(0);
  #onFailed: (error: Error) => void = () => undefined;

  /** It reads what is below `end`. */
  constructor(log: PartitionLog, end: number, data: ConsumerData) {
    this.#worker = new Worker(consumerUrl, { workerData: data });
    this.#worker.on('error', (error) => this.#onFailed(error as Error));
    this.#worker.on('message', (message: FromConsumer) => {
      if (message.type === 'locate') {
        const plan = message.offset >= end ? null : log.locate({ offset: message.offset, bytesMax: 1024 * 1024 });
        this.#post({ type: 'plan', plan: plan?.type === 'file' ? plan.file : null });
      } else if (message.error === null) this.#onStopped(message.bytes);
      else this.#onFailed(new Error(`The consumer failed: ${message.error}`));
    });
  }

  start(): void {
    this.#stopped = new Promise((resolve, reject) => {
      this.#onStopped = resolve;
      this.#onFailed = reject;
    });
    // Who stops it is told; until then it is no unhandled rejection.
    this.#stopped.catch(() => undefined);
    this.#post({ type: 'start' });
  }

  /** Answers how many bytes it has read. */
  stop(): Promise<number> {
    this.#post({ type: 'stop' });
    return this.#stopped;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #post(message: ToConsumer): void {
    this.#worker.postMessage(message);
  }
}

/** Takes the segments of a partition out of the page cache; false where the system has no way that needs no rights. */
function dropFromCache(folder: string): boolean {
  const segments = readdirSync(folder).filter((name) => name.endsWith('.log'));
  try {
    for (const name of segments.sort().slice(0, -1)) {
      // Reads nothing, and says that the file will not be needed.
      execFileSync('dd', [`if=${join(folder, name)}`, 'iflag=nocache', 'count=0', 'status=none'], { stdio: 'ignore' });
    }
    return true;
  } catch {
    // Not GNU, or no `dd` at all: the consumer then reads from memory, and the report says so.
    return false;
  }
}
