/**
 * Alarms of a node: what is wrong with it now, and what was. Plain data; it crosses threads and goes into files and answers as it is.
 * Made on the main thread (`src/main/alarms`), read by the administration API and by protocols that tell their clients.
 */
import type { AlarmName } from '../../observability/alarm-metrics.ts';

export interface Alarm {
  readonly name: AlarmName;
  /** What of several things of the kind: a listener, for example; '' where there is one alone. */
  readonly subject: string;
  /** A sentence for people, with figures as they were when the alarm was raised. */
  readonly message: string;
  /** The measured value then, and the one from which on it is too much or too little; in `unit`. */
  readonly value: number;
  readonly threshold: number;
  /** `ms`, `percent`, `per second`, `days`; '' for what is so or not so (1 or 0). */
  readonly unit: string;
  /** Unix time, ms. */
  readonly activatedAtMs: number;
  /** Null while it is active. */
  readonly deactivatedAtMs: number | null;
}

export interface AlarmChange {
  readonly type: 'activated' | 'deactivated';
  readonly alarm: Alarm;
}

/** What the administration API asks. Main thread. */
export interface AlarmSource {
  /** Oldest first. */
  active(): readonly Alarm[];
  /** Those that are over, newest first. */
  history(): readonly Alarm[];
  /** Forgets those that are over; answers how many there were. */
  clearHistory(): number;
}
