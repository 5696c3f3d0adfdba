/** What the endurance program and the process of its probes say to each other. Pure. */

export interface ProbeOptions {
  readonly port: number;
  readonly pairs: number;
  /** Messages a second of each pair, of QoS 0 and 1 in turn. */
  readonly pairPerS: number;
  /** Of the topic that the slow ones subscribe to as well. */
  readonly fanOutPerS: number;
  readonly fanOutBytes: number;
  readonly fanOutSubscribers: number;
}

export interface ProbeFigures {
  readonly count: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Who is measured: pairs by QoS, and the neighbours of the slow subscribers. */
export const probeClasses = ['pairs, QoS 0', 'pairs, QoS 1', 'same topic, QoS 0', 'same topic, QoS 1'] as const;
export type ProbeClass = (typeof probeClasses)[number];

export type PhaseKind = 'without' | 'withSlow';

/** Of all phases of a kind that count, taken together. */
export interface PooledFigures {
  readonly all: ProbeFigures;
  /** Every second phase, and the others: how far they differ is what the machine does by itself. */
  readonly halves: readonly [ProbeFigures, ProbeFigures];
}

export type Pooled = Readonly<Record<PhaseKind, Readonly<Record<ProbeClass, PooledFigures>>>>;

export interface ProbeReport {
  /** Of the phase that ends. */
  readonly figures: Readonly<Record<ProbeClass, ProbeFigures>>;
  readonly pooled: Pooled;
  readonly sent: number;
  readonly received: number;
  /** Bytes that the subscriber of one byte a second took since the slow ones came. */
  readonly slowBytes: number;
  readonly problems: readonly string[];
}

export type ProbeMessage =
  | { readonly start: ProbeOptions }
  | { readonly slow: 'come' | 'go' }
  /** `kind`: the phase counts, as one of these. */
  | { readonly measure: 'begin'; readonly kind: PhaseKind | null }
  | { readonly measure: 'end' }
  | { readonly stop: true };
