/**
 * Message priorities. A queue has a partition, or several, for each level; level 0 is served last. These functions say which level a
 * priority means; `ReadyQueue` says whose turn it is. Pure; called when messages are published.
 */

/** Levels are bits of a mask. */
export const priorityLevelsMax = 32;

/** Priorities above the highest level are the highest level. */
export function clampedLevel(priority: number, levels: number): number {
  return Math.min(Math.max(0, Math.trunc(priority)), levels - 1);
}

/**
 * For priorities whose middle is 4, 0 to 9 or 0 to 255: with fewer levels than 10, priorities around the middle stay apart
 * and the outer ones share the outer levels, so that "higher than usual" is never the same as "usual".
 */
export function centredLevel(priority: number, levels: number): number {
  if (levels >= 10) return clampedLevel(priority, levels);
  const lowest = 5 - Math.ceil(levels / 2);
  return clampedLevel(priority - lowest, levels);
}
