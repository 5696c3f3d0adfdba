/** Counts and latency histograms of one run. One object, written by all connections. Thread of the harness. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Percentiles in microseconds. */
export interface LatencySummary {
  samples: number;
  meanUs: number;
  p50Us: number;
  p90Us: number;
  p99Us: number;
  p999Us: number;
  maxUs: number;
}

export class Statistics {
  /** PUBLISH packets handed to the kernel or to Node's write queue. */
  sent = 0;
  /** Complete QoS 1 and 2 exchanges of publishers. */
  acknowledged = 0;
  /** PUBLISH packets read by subscribers. */
  received = 0;
  receivedBytes = 0;
  /** Messages of this run among `received`. */
  ownReceived = 0;
  /** PUBLISH packets with the DUP flag. */
  dupFlags = 0;
  connected = 0;
  /** Subscribers whose SUBACK came, publishers whose CONNACK came. */
  ready = 0;
  readonly connectFailures = new Map<string, number>();
  readonly disconnects = new Map<string, number>();
  readonly refusedPublishes = new Map<string, number>();
  /** From CONNECT to CONNACK, TCP included. */
  readonly connectLatency = createHistogram();
  /** From the intended (fixed rate) or real send time to the arrival at a subscriber. */
  readonly deliveryLatency = createHistogram();
  /** From sending to the last acknowledgement of a QoS 1 or 2 message. */
  readonly acknowledgeLatency = createHistogram();
  /** Fixed rate: how long after its intended time a message was really written. */
  readonly sendDelay = createHistogram();

  /** Starts measuring: what was counted while warming up stays in the counts, not in the latencies. */
  resetLatencies(): void {
    this.deliveryLatency.reset();
    this.acknowledgeLatency.reset();
    this.sendDelay.reset();
  }
}

export function count(counts: Map<string, number>, reason: string, amount = 1): void {
  counts.set(reason, (counts.get(reason) ?? 0) + amount);
}

export function total(counts: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const amount of counts.values()) sum += amount;
  return sum;
}

/** Milliseconds since the Unix epoch, monotonic within this process, finer than a microsecond. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Records `ms` as nanoseconds. Two processes' clocks may disagree: what looks negative counts as 1 ns. */
export function recordMs(histogram: RecordableHistogram, ms: number): void {
  histogram.record(ms > 0 ? Math.max(1, Math.round(ms * 1e6)) : 1);
}

export function summarize(histogram: RecordableHistogram): LatencySummary {
  const samples = histogram.count;
  const us = (ns: number): number => (samples === 0 ? 0 : Math.round(ns / 100) / 10);
  return {
    samples,
    meanUs: us(histogram.mean),
    p50Us: us(histogram.percentile(50)),
    p90Us: us(histogram.percentile(90)),
    p99Us: us(histogram.percentile(99)),
    p999Us: us(histogram.percentile(99.9)),
    maxUs: us(histogram.max),
  };
}
