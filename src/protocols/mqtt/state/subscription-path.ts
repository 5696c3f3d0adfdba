/**
 * What a client writes where a filter stands: a filter, or one behind `$share/<group>/` (section 4.8.2), `$queue/` or
 * `$exclusive/`. Pure; connection workers.
 */

export interface SubscriptionPath {
  readonly kind: 'plain' | 'shared' | 'exclusive';
  /** What stands in front of the filter, the last slash included. */
  readonly prefix: string;
  /** Name of the group of a shared subscription, empty for the one of `$queue/` and for other kinds. */
  readonly group: string;
  /** Not checked yet. */
  readonly filter: string;
}

const queuePrefix = '$queue/';
const exclusivePrefix = '$exclusive/';
const sharePrefix = '$share/';

/** The parts of `path`, or null when the group's name is not valid [MQTT-4.8.2-1], [MQTT-4.8.2-2]. */
export function parsePath(path: string): SubscriptionPath | null {
  if (path.charCodeAt(0) !== 0x24) return { kind: 'plain', prefix: '', group: '', filter: path };
  if (path.startsWith(sharePrefix)) {
    const end = path.indexOf('/', sharePrefix.length);
    const group = path.slice(sharePrefix.length, Math.max(end, sharePrefix.length));
    if (group === '' || /[+#]/.test(group)) return null;
    return { kind: 'shared', prefix: path.slice(0, end + 1), group, filter: path.slice(end + 1) };
  }
  if (path.startsWith(queuePrefix)) return after(path, queuePrefix, 'shared');
  if (path.startsWith(exclusivePrefix)) return after(path, exclusivePrefix, 'exclusive');
  return { kind: 'plain', prefix: '', group: '', filter: path };
}

function after(path: string, prefix: string, kind: SubscriptionPath['kind']): SubscriptionPath {
  return { kind, prefix, group: '', filter: path.slice(prefix.length) };
}

/** The parts of a path that was accepted before. */
export function knownPath(path: string): SubscriptionPath {
  return parsePath(path) as SubscriptionPath;
}
