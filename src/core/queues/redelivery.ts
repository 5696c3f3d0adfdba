/** How long a failed message waits before it is delivered again. Pure; called by the acknowledgement set. */

export interface RedeliverySettings {
  /** After the first failure, in milliseconds. 0: at once. */
  readonly baseMs: number;
  /** Each further failure multiplies the delay by this. */
  readonly factor: number;
  readonly maxMs: number;
  /** Share of the delay that is left to chance, 0 to 1: messages that failed together do not come back together. */
  readonly jitter: number;
}

/** `count`: failed deliveries, 1 at first. `chance` in [0, 1). Whole milliseconds. */
export function redeliveryDelayMs(settings: RedeliverySettings, count: number, chance: number): number {
  const { baseMs, factor, maxMs, jitter } = settings;
  if (baseMs === 0) return 0;
  const full = Math.min(maxMs, baseMs * factor ** Math.max(0, count - 1));
  return Math.round(full * (1 - jitter * chance));
}
