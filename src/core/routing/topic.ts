/**
 * What a topic and a filter are, and which filter matches which topic. Pure; any thread; called wherever a name from a
 * client enters the broker, and by tests as the oracle of the faster structures beside this file.
 *
 * A topic is a string of levels separated by `/`; levels may be empty. In a filter the level `+` stands for any one
 * level, and a last level `#` for any number of levels, none included. A filter that begins with a wildcard does not
 * match a topic whose first level begins with `$`.
 */

/** Levels of one topic or filter; bounds every walk over them. */
export const TOPIC_LEVELS_MAX = 128;
/** Length of one topic or filter in UTF-8. */
export const TOPIC_BYTES_MAX = 65_535;

const slash = 0x2f;
const plus = 0x2b;
const hash = 0x23;
const dollar = 0x24;

/** Returns why `topic` cannot be published to, or undefined when it can. */
export function topicError(topic: string): string | undefined {
  if (topic.length === 0) return 'the topic is empty';
  let levelCount = 1;
  for (let at = 0; at < topic.length; at++) {
    const unit = topic.charCodeAt(at);
    if (unit === slash) levelCount++;
    else if (unit === plus || unit === hash) return 'the topic contains a wildcard';
    else if (unit === 0) return 'the topic contains U+0000';
  }
  return sizeError('topic', topic, levelCount);
}

/** Returns why `filter` cannot be subscribed to, or undefined when it can. */
export function filterError(filter: string): string | undefined {
  if (filter.length === 0) return 'the filter is empty';
  let levelCount = 1;
  for (let at = 0; at < filter.length; at++) {
    const unit = filter.charCodeAt(at);
    if (unit === slash) levelCount++;
    else if (unit === 0) return 'the filter contains U+0000';
    else if (unit === plus || unit === hash) {
      const isLast = at === filter.length - 1;
      const beginsLevel = at === 0 || filter.charCodeAt(at - 1) === slash;
      if (!beginsLevel || !(isLast || filter.charCodeAt(at + 1) === slash)) {
        return 'a wildcard of the filter does not fill its level';
      }
      if (unit === hash && !isLast) return 'the wildcard # is not the last level of the filter';
    }
  }
  return sizeError('filter', filter, levelCount);
}

function sizeError(kind: string, name: string, levelCount: number): string | undefined {
  if (levelCount > TOPIC_LEVELS_MAX) return `the ${kind} has more than ${TOPIC_LEVELS_MAX} levels`;
  // A UTF-16 code unit takes at most three bytes, so most names need no exact count.
  if (name.length * 3 > TOPIC_BYTES_MAX && Buffer.byteLength(name) > TOPIC_BYTES_MAX) {
    return `the ${kind} is longer than ${TOPIC_BYTES_MAX} bytes`;
  }
  return name.isWellFormed() ? undefined : `the ${kind} is not well-formed Unicode`;
}

/** Whether a valid filter contains a wildcard; in a valid filter each `+` and `#` is one. */
export function hasWildcard(filter: string): boolean {
  return filter.endsWith('#') || filter.includes('+');
}

/** Whether `topic` is kept from filters that begin with a wildcard. */
export function isHiddenTopic(topic: string): boolean {
  return topic.charCodeAt(0) === dollar;
}

/** Whether a valid `filter` matches a valid `topic`: the plain definition, for rare use and as an oracle. */
export function matches(filter: string, topic: string): boolean {
  const filterLevels = filter.split('/');
  const topicLevels = topic.split('/');
  if (topic.startsWith('$') && (filterLevels[0] === '+' || filterLevels[0] === '#')) return false;
  for (let index = 0; index < filterLevels.length; index++) {
    if (filterLevels[index] === '#') return true;
    if (index === topicLevels.length) return false;
    if (filterLevels[index] !== '+' && filterLevels[index] !== topicLevels[index]) return false;
  }
  return filterLevels.length === topicLevels.length;
}
