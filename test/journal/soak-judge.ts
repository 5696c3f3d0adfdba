/** What the samples of a soak say: whether memory or descriptors grow. Pure. */

export interface SoakSample {
  readonly seconds: number;
  readonly recordsPerS: number;
  readonly readPerS: number;
  readonly coldPerS: number;
  /** Bytes a second that cold reads had from the disk, and might have had. */
  readonly diskReadPerS: number;
  readonly paceBytesPerS: number;
  readonly p99Us: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly journalHeapBytes: number;
  readonly externalBytes: number;
  readonly arrayBufferBytes: number;
  readonly descriptors: number;
  readonly segments: number;
  readonly diskBytes: number;
}

export interface Growth {
  readonly what: string;
  /** Of the line through the samples, from its beginning to its end. */
  readonly growth: number;
  readonly limit: number;
}

/** The first part of the run, in which caches and the heap find their sizes. */
const warmUpShare = 0.2;
/** With fewer samples, or in a shorter time, a line says nothing. */
const samplesMin = 10;
const secondsMin = 60;

const memoryShareMax = 0.05;
const memoryBytesMax = 32 * 1024 * 1024;
const descriptorsMax = 20;

/** Null when the run was too short to say. */
export function judgeGrowth(samples: readonly SoakSample[]): readonly Growth[] | null {
  const last = samples.at(-1)?.seconds ?? 0;
  const judged = samples.filter(({ seconds }) => seconds >= last * warmUpShare);
  if (judged.length < samplesMin || last * (1 - warmUpShare) < secondsMin) return null;
  const memory = lineOf(judged, ({ rssBytes }) => rssBytes);
  const descriptors = lineOf(judged, (sample) => sample.descriptors);
  return [
    { what: 'resident bytes', growth: memory.growth, limit: memory.first * memoryShareMax + memoryBytesMax },
    { what: 'descriptors', growth: descriptors.growth, limit: descriptorsMax },
  ];
}

/** Least squares: where the line begins, and by how much it is higher at the end. */
function lineOf(samples: readonly SoakSample[], value: (sample: SoakSample) => number) {
  const mean = (of: (sample: SoakSample) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length;
  const meanSeconds = mean(({ seconds }) => seconds);
  const meanValue = mean(value);
  const spread = mean(({ seconds }) => (seconds - meanSeconds) ** 2);
  const slope = mean((sample) => (sample.seconds - meanSeconds) * (value(sample) - meanValue)) / spread;
  const first = samples[0].seconds;
  return {
    first: meanValue + slope * (first - meanSeconds),
    growth: slope * ((samples.at(-1)?.seconds ?? first) - first),
  };
}
