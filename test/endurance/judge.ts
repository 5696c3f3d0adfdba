/** What the figures of the endurance program say. Pure. */
import { median } from '../../src/journal/bench/latency-counts.ts';
import { type Pooled, type ProbeClass, type ProbeFigures, probeClasses } from './probe-messages.ts';

export interface EnduranceSample {
  readonly seconds: number;
  readonly rssBytes: number;
  readonly descriptors: number;
}

/** One phase without the slow subscribers and one with them. */
export interface EnduranceRound {
  readonly without: Readonly<Record<ProbeClass, ProbeFigures>>;
  readonly withSlow: Readonly<Record<ProbeClass, ProbeFigures>>;
}

export interface Comparison {
  readonly name: ProbeClass;
  readonly withoutUs: number;
  readonly withSlowUs: number;
  /** p99 of all messages of the phases with slow subscribers over p99 of all those without. */
  readonly ratio: number;
  /** The same between the two halves of the phases without: what the machine does by itself. */
  readonly noise: number;
}

export interface Growth {
  readonly what: string;
  /** Medians of the four quarters of what is judged. */
  readonly quarters: readonly number[];
  /** Of the line through the samples, from its beginning to its end. */
  readonly growth: number;
  readonly limit: number;
}

/** p99 may be so much larger with the slow subscribers. */
export const ratioMax = 1.2;
/** Where p99 of the phases without them differs by more between their halves, the machine is too busy for a verdict. */
export const noiseMax = 2;
/** With fewer messages in a half p99 says nothing. */
const messagesMin = 1_000;

/** The first part of the run, in which caches, pools and the heap find their sizes. */
const warmUpShare = 0.2;
const samplesMin = 10;
const secondsMin = 30;
const memoryShareMax = 0.05;
const memoryBytesMax = 32 * 1024 * 1024;
/** Sockets that are on their way are the hundredth part at the most. */
const descriptorsShareMax = 0.01;
const descriptorsMax = 20;

/**
 * Null when the run was too short to say. Messages of all phases of a kind are taken together: what comes every few seconds, as a
 * collection of garbage does, is in one phase and not in the next, so that p99 of single phases jumps.
 */
export function compareLatency({ without, withSlow }: Pooled): readonly Comparison[] | null {
  const comparisons: Comparison[] = [];
  for (const name of probeClasses) {
    const [one, other] = [without[name], withSlow[name]];
    if (Math.min(...[...one.halves, ...other.halves].map(({ count }) => count)) < messagesMin) return null;
    const halves = one.halves.map(({ p99Us }) => Math.max(1, p99Us));
    comparisons.push({
      name,
      withoutUs: one.all.p99Us,
      withSlowUs: other.all.p99Us,
      ratio: other.all.p99Us / Math.max(1, one.all.p99Us),
      noise: Math.max(...halves) / Math.min(...halves),
    });
  }
  return comparisons;
}

/** Null when the run was too short to say. */
export function judgeGrowth(samples: readonly EnduranceSample[]): readonly Growth[] | null {
  const [first, last] = [samples[0]?.seconds ?? 0, samples.at(-1)?.seconds ?? 0];
  const judged = samples.filter(({ seconds }) => seconds >= first + (last - first) * warmUpShare);
  if (judged.length < samplesMin || (last - first) * (1 - warmUpShare) < secondsMin) return null;
  const growthOf = (
    what: string,
    value: (sample: EnduranceSample) => number,
    limitOf: (begin: number) => number,
  ): Growth => {
    const { begin, growth } = lineOf(judged, value);
    const size = Math.ceil(judged.length / 4);
    const quarters = [0, 1, 2, 3].map((quarter) =>
      median(judged.slice(quarter * size, (quarter + 1) * size).map(value)),
    );
    return { what, quarters, growth, limit: limitOf(begin) };
  };
  return [
    growthOf(
      'resident bytes',
      ({ rssBytes }) => rssBytes,
      (begin) => begin * memoryShareMax + memoryBytesMax,
    ),
    growthOf(
      'descriptors',
      ({ descriptors }) => descriptors,
      (begin) => begin * descriptorsShareMax + descriptorsMax,
    ),
  ];
}

/** Least squares: where the line begins, and by how much it is higher at the end. */
function lineOf(samples: readonly EnduranceSample[], value: (sample: EnduranceSample) => number) {
  const mean = (of: (sample: EnduranceSample) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length;
  const meanSeconds = mean(({ seconds }) => seconds);
  const meanValue = mean(value);
  const spread = mean(({ seconds }) => (seconds - meanSeconds) ** 2);
  const slope = mean((sample) => (sample.seconds - meanSeconds) * (value(sample) - meanValue)) / spread;
  const first = samples[0]?.seconds ?? 0;
  return {
    begin: meanValue + slope * (first - meanSeconds),
    growth: slope * ((samples.at(-1)?.seconds ?? first) - first),
  };
}
