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

export interface ProbeReport {
  readonly figures: Readonly<Record<ProbeClass, ProbeFigures>>;
  readonly sent: number;
  readonly received: number;
  /** Bytes that the subscriber of one byte a second took since the slow ones came. */
  readonly slowBytes: number;
  readonly problems: readonly string[];
}

export type ProbeMessage =
  | { readonly start: ProbeOptions }
  | { readonly slow: 'come' | 'go' }
  | { readonly measure: 'begin' | 'end' }
  | { readonly stop: true };
