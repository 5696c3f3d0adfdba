/** When the messages of a fixed-rate run are due: an open loop that never waits for the broker. Pure; thread of the harness. */

export interface Schedule {
  /** Time at which message `index` (from 0, over all publishers) is due, in ms after the start. */
  readonly dueMs: (index: number) => number;
}

/** `ratePerS` messages a second over all publishers, growing linearly from 0 during `rampUpMs`. */
export function createSchedule(ratePerS: number, rampUpMs: number): Schedule {
  const perMs = ratePerS / 1000;
  // During the ramp n(t) = perMs * t^2 / (2 * rampUpMs), afterwards n grows by perMs each ms.
  const inRamp = (perMs * rampUpMs) / 2;
  return {
    dueMs: (index) =>
      index < inRamp ? Math.sqrt((2 * index * rampUpMs) / perMs) : rampUpMs + (index - inRamp) / perMs,
  };
}
