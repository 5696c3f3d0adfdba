/** Distributions of durations as text. Pure. */

/** One line per kind: how many, and the usual percentiles. */
export function describeDurations(durations: ReadonlyMap<string, readonly number[]>): string[] {
  return [...durations].map(([what, all]) => {
    const sorted = [...all].sort((a, b) => a - b);
    const at = (share: number): string =>
      `${Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))])}`;
    return `${what}: ${all.length} times, p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
  });
}

/** How many are longer than `limitMs`. */
export function countLate(all: readonly number[], limitMs: number): number {
  return all.filter((one) => one > limitMs).length;
}
