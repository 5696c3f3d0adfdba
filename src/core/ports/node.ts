/**
 * The port through which a protocol sees the whole node: its name, its counters, its alarms, and what an administrator asks of all workers.
 *
 * Thread: each connection worker has its own. Counters of the other threads are read in shared memory; the rest comes from the main
 * thread by messages.
 */
import type { MetricLabels } from '../../observability/metrics.ts';
import type { AlarmChange } from './alarms.ts';

/** What is known of the node and its cluster by now. */
export interface NodeFacts {
  /** Name of the node; '' before it is known, which is before the first connection. */
  readonly name: string;
  /** Names of all nodes of the cluster, in order. */
  readonly nodes: readonly string[];
  /** Port of each listener, in the order of the configuration; 0 over a Unix socket and before it listens. */
  readonly ports: readonly number[];
}

/** All series of one metric on all connection workers that have the labels that were asked for. */
export interface NodeCounter {
  sum(): number;
  /** Of one series of one worker: for figures that each worker has a copy of. */
  largest(): number;
}

export interface NodeView {
  readonly version: string;
  /** Unix time, ms. */
  readonly startedAtMs: number;
  readonly facts: NodeFacts;
  /** Look it up once; reading it costs a load for each worker. A metric that no worker has is 0. */
  counter(name: string, labels?: MetricLabels): NodeCounter;
  /** Calls back for each change of an alarm, on one worker of the node: whichever is told passes it on to all subscribers. */
  onAlarm(handler: (change: AlarmChange) => void): void;
  /**
   * Registers what answers when an administrator asks all workers about `subject`. Request and answer are structured-cloneable; the
   * request comes from the administration API, which checked it. One handler for each subject.
   */
  onQuestion(subject: string, handler: (request: unknown) => unknown): void;
}
