/** Pauses between tries: exponential, with full jitter, so that clients that failed together do not come back together. */

/** First pause is below this, ms; each further one below twice as much. */
const baseMs = 20;
const capMs = 250;

/** Pause before try number `attempt` (1 is the first repetition), ms. `random` is in [0, 1). */
export function backOffMs(attempt: number, random: () => number = Math.random): number {
  return random() * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 16));
}
