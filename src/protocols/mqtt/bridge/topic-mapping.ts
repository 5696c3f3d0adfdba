/**
 * How a bridge renames topics, and which filters can have a topic in common. Pure; main thread for the check, connection workers for
 * each message.
 */
import { hasWildcard, topicError } from '../../../core/routing/topic.ts';

export interface PrefixRule {
  readonly removePrefix: string;
  readonly addPrefix: string;
}

/** The name on the other side, or null: the topic does not begin as the rule wants it, or nothing valid is left. */
export function mapTopic(topic: string, { removePrefix, addPrefix }: PrefixRule): string | null {
  if (!topic.startsWith(removePrefix)) return null;
  if (removePrefix === '' && addPrefix === '') return topic;
  const mapped = addPrefix + topic.slice(removePrefix.length);
  return topicError(mapped) === undefined ? mapped : null;
}

/**
 * A filter that matches every name which topics of `filter` can get. It may match more; that is on the safe side for whoever looks
 * for loops. Null: no topic passes the rule.
 */
export function mapFilter(filter: string, { removePrefix, addPrefix }: PrefixRule): string | null {
  const rest = restOf(filter, removePrefix);
  if (rest === null) return null;
  return addPrefix === '' ? rest : joinPrefix(addPrefix, rest);
}

/** What is left of the topics that match, as a filter. */
function restOf(filter: string, prefix: string): string | null {
  if (prefix === '' || filter.startsWith(prefix)) return filter.slice(prefix.length) || '#';
  if (!hasWildcard(filter)) return null;
  const levels = prefix.split('/');
  const tail = levels.pop() as string;
  const filterLevels = filter.split('/');
  for (const [index, level] of levels.entries()) {
    const own = filterLevels[index];
    if (own === '#') return '#';
    if (own === undefined || (own !== '+' && own !== level)) return null;
  }
  const rest = filterLevels.slice(levels.length);
  const [first] = rest;
  if (first === undefined) return null;
  if (tail === '' || first === '#') return rest.join('/');
  // The prefix ends within a level.
  if (first === '+') return rest.join('/');
  return first.startsWith(tail) ? [first.slice(tail.length), ...rest.slice(1)].join('/') : null;
}

function joinPrefix(prefix: string, rest: string): string {
  if (prefix.endsWith('/')) return prefix + rest;
  const cut = prefix.lastIndexOf('/') + 1;
  const [first = '', ...others] = rest.split('/');
  // A wildcard fills its level, so a level that begins with text and goes on with one is any level.
  if (first === '#') return `${prefix.slice(0, cut)}#`;
  if (first === '+') return [`${prefix.slice(0, cut)}+`, ...others].join('/');
  return prefix + rest;
}

/** Whether some topic matches both filters. */
export function filtersOverlap(one: string, other: string): boolean {
  const a = one.split('/');
  const b = other.split('/');
  if (isHidden(a) !== isHidden(b) && (isHidden(a) || isHidden(b)) && (isWild(a[0]) || isWild(b[0]))) return false;
  for (let index = 0; ; index++) {
    if (a[index] === '#' || b[index] === '#') return true;
    if (index === a.length || index === b.length) {
      // `sport/#` matches `sport` as well.
      return a.length === b.length;
    }
    if (a[index] !== '+' && b[index] !== '+' && a[index] !== b[index]) return false;
  }
}

function isHidden(levels: readonly string[]): boolean {
  return levels[0]?.startsWith('$') === true;
}

function isWild(level: string | undefined): boolean {
  return level === '+' || level === '#';
}
