/** Whether a topic matches a filter, for `sub -T`. Cold path: one comparison per printed message. Main thread. */

/** MQTT 3.1.1, 4.7: `+` is one level, `#` the rest, neither at the start matches a topic that begins with `$`. */
export function matchesFilter(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && (filter.startsWith('#') || filter.startsWith('+'))) return false;
  const wanted = filter.split('/');
  const levels = topic.split('/');
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === '#') return true;
    if (i >= levels.length) return false;
    if (wanted[i] !== '+' && wanted[i] !== levels[i]) return false;
  }
  return wanted.length === levels.length;
}
