/**
 * Appends: the engine and the bare loops in turn, a slice each, so that a busy moment of the machine hits all of them. Medians over
 * the slices count. Thread: the one of the benchmark.
 */

import { join } from 'node:path';
import { BatchSource, type LoadFigures, type LoadSettings, runLoad } from './append-load.ts';
import { BareLoop, bareKinds } from './bare-loop.ts';
import type { BenchJournal } from './bench-journal.ts';
import { LatencyCounts, type LatencyFigures, median } from './latency-counts.ts';

export interface AppendRunSettings extends LoadSettings {
  readonly folder: string;
  /** Of each slice. */
  readonly sliceMs: number;
  readonly slices: number;
}

export interface AppendFigures extends LatencyFigures {
  /** Median over the slices, as is p99; the other latencies are of all slices together. */
  readonly perS: number;
  readonly recordsPerBatch: number;
}

export interface BareFigures extends AppendFigures {
  readonly kind: string;
  /** What the engine reached of it: median over the pairs of slices. */
  readonly engineShare: number;
}

export interface AppendResult {
  readonly engine: AppendFigures & { readonly recordsPerRound: number };
  readonly bare: readonly BareFigures[];
}

/** What is kept of the partition between slices. */
const keptBytes = 512 * 1024 * 1024;

export async function runAppends(
  journal: BenchJournal,
  settings: AppendRunSettings,
  onProgress: (line: string) => void,
): Promise<AppendResult> {
  const { folder, sliceMs, slices } = settings;
  const batches = new BatchSource(settings);
  const log = journal.create('appends', { retentionBytes: keptBytes });
  const runEngine = () => runLoad(journal.target(log), settings, batches, sliceMs);
  const runBare = async (kind: (typeof bareKinds)[number]): Promise<LoadFigures> => {
    const loop = new BareLoop(kind, join(folder, `bare-${kind}`));
    try {
      return await runLoad(loop, settings, batches, sliceMs);
    } finally {
      loop.close();
    }
  };
  // Code that was never run is slow, and so is a file that was never written.
  await runEngine();
  for (const kind of bareKinds) await runBare(kind);
  const engine: LoadFigures[] = [];
  const bare = new Map<string, LoadFigures[]>(bareKinds.map((kind) => [kind, []]));
  let rounds = 0;
  for (let slice = 0; slice < slices; slice += 1) {
    const order = ['engine', ...bareKinds] as const;
    for (let turn = 0; turn < order.length; turn += 1) {
      const who = order[(slice + turn) % order.length];
      const before = journal.rounds;
      if (who === 'engine') {
        engine.push(await runEngine());
        rounds += journal.rounds - before;
        journal.tick();
      } else bare.get(who)?.push(await runBare(who));
    }
    const others = [...bare].map(([kind, figures]) => `${kind} ${Math.round(figures[slice].perS)}/s`).join(', ');
    onProgress(`appends ${slice + 1}/${slices}: engine ${Math.round(engine[slice].perS)}/s, bare loop ${others}`);
  }
  const records = engine.reduce((sum, one) => sum + one.records, 0);
  return {
    engine: { ...figuresOf(engine), recordsPerRound: round(records / Math.max(1, rounds), 1) },
    bare: [...bare].map(([kind, figures]) => ({
      kind,
      ...figuresOf(figures),
      engineShare: round(median(figures.map(({ perS }, slice) => engine[slice].perS / perS)), 3),
    })),
  };
}

function figuresOf(slices: readonly LoadFigures[]): AppendFigures {
  const all = new LatencyCounts();
  for (const { latency } of slices) all.merge(latency);
  const batches = slices.reduce((sum, one) => sum + one.batches, 0);
  const records = slices.reduce((sum, one) => sum + one.records, 0);
  return {
    perS: Math.round(median(slices.map(({ perS }) => perS))),
    ...all.figures(),
    p99Us: Math.round(median(slices.map(({ latency }) => latency.figures().p99Us))),
    recordsPerBatch: round(records / Math.max(1, batches), 1),
  };
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
