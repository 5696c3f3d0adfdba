/**
 * `ringmq bench journal`, without its flags and its output: appends against a bare loop, sequential reads, and a lagging consumer, on
 * the real engine and a real disk. Main thread of the command's process, which owns the journal; called by `bench-command.ts`.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BatchSource } from '../../journal/bench/append-load.ts';
import { type AppendResult, runAppends } from '../../journal/bench/append-run.ts';
import { BenchJournal } from '../../journal/bench/bench-journal.ts';
import { type ReadFigures, runReads } from '../../journal/bench/read-run.ts';
import type { ColdPaceLimits } from '../../workers/storage/host/cold-pace-control.ts';
import { type LagFigures, runLag } from './bench-lag.ts';

export const journalBenchParts = ['append', 'read', 'lag'] as const;
export type JournalBenchPart = (typeof journalBenchParts)[number];

export interface JournalBenchPlan {
  /** Where it may write; it makes files in it and leaves them to the caller. */
  readonly folder: string;
  readonly parts: readonly JournalBenchPart[];
  /** Measured time of the engine, and of each loop beside it. */
  readonly seconds: number;
  readonly sliceMs: number;
  readonly inFlight: number;
  readonly recordBytes: number;
  /** Most records of a batch; `inFlight`: what becomes free in one turn goes out as one. */
  readonly batchRecords: number;
  /** What is read, and how far the consumer is behind. */
  readonly readBytes: number;
  readonly behindBytes: number;
  /** Of the lagging consumer's pace. */
  readonly coldReads: ColdPaceLimits;
}

export interface JournalBenchResult {
  readonly inFlight: number;
  readonly recordBytes: number;
  readonly batchRecords: number;
  readonly seconds: number;
  readonly append: AppendResult | null;
  readonly read: readonly ReadFigures[];
  readonly lag: LagFigures | null;
}

const readPasses = 5;

export async function runJournalBench(
  plan: JournalBenchPlan,
  onProgress: (line: string) => void,
): Promise<JournalBenchResult> {
  const { folder, parts, seconds, sliceMs, inFlight, recordBytes, batchRecords, readBytes } = plan;
  const slices = Math.max(1, Math.round((seconds * 1000) / sliceMs));
  const load = { inFlight, recordBytes, batchRecords, sliceMs, slices };
  const directory = join(folder, 'journal');
  mkdirSync(directory, { recursive: true });
  const journal = new BenchJournal(directory);
  try {
    const append = parts.includes('append') ? await runAppends(journal, { ...load, folder }, onProgress) : null;
    const read: ReadFigures[] = [];
    if (parts.includes('read')) {
      const batches = new BatchSource(plan);
      for (const count of new Set([batchRecords, 1])) {
        const figures = await runReads(journal, batches.get(count), count, readBytes, readPasses);
        read.push(figures);
        onProgress(
          `reads, ${count} records a batch: ${figures.journalGbPerS} GB/s, by a plan ${figures.planGbPerS} GB/s`,
        );
      }
    }
    const { behindBytes, coldReads } = plan;
    const lagSettings = { ...load, folder: directory, behindBytes, coldReads };
    const lag = parts.includes('lag') ? await runLag(journal, lagSettings, onProgress) : null;
    return { inFlight, recordBytes, batchRecords, seconds: (slices * sliceMs) / 1000, append, read, lag };
  } finally {
    await journal.close();
  }
}
