/**
 * What rules need to know of topic filters: whether one matches all that another one matches, and whether there is a
 * topic that both match. Pure; connection workers and the main thread.
 *
 * A filter is its levels. As everywhere, a filter that begins with a wildcard matches no topic that begins with `$`.
 */
import { TOPIC_LEVELS_MAX } from '../../core/routing/topic.ts';

export type Levels = readonly string[];

export function levelsOf(filter: string): Levels {
  return filter.split('/');
}

function isWild(level: string | undefined): boolean {
  return level === '+' || level === '#';
}

/** Whether every topic that `inner` matches is matched by `outer` too. A topic is a filter that matches itself alone. */
export function covers(outer: Levels, inner: Levels): boolean {
  if (isWild(outer[0]) && inner[0].startsWith('$')) return false;
  for (let at = 0; ; at++) {
    const level = outer[at];
    // `a/#` matches `a` as well: it covers all that is left, and nothing left.
    if (level === '#') return true;
    if (at === inner.length) return at === outer.length;
    if (at === outer.length) return false;
    const other = inner[at];
    if (other === '#') return false;
    if (level !== '+' && level !== other) return false;
  }
}

/** Whether there is a topic that both match. */
export function overlaps(one: Levels, other: Levels): boolean {
  const isHidden = one[0].startsWith('$') || other[0].startsWith('$');
  if (isHidden && (isWild(one[0]) || isWild(other[0]))) return false;
  const length = Math.min(Math.max(one.length, other.length) + 1, TOPIC_LEVELS_MAX + 1);
  for (let at = 0; at < length; at++) {
    const [a, b] = [one[at], other[at]];
    if (a === '#' || b === '#') return true;
    if (a === undefined || b === undefined) return a === b;
    if (a !== '+' && b !== '+' && a !== b) return false;
  }
  return true;
}
