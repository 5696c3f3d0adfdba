/**
 * What a client writes where a filter stands: a filter, one behind `$share/<group>/` (section 4.8.2), `$queue/` or
 * `$exclusive/`, or a stream, `$stream/<name>/…`. Pure; connection workers.
 */

import { plainName, type TenantNames } from '../../../core/tenants/tenant-names.ts';
import { parseStreamPath, streamFilter, streamPrefix } from '../streams/stream-path.ts';

export interface SubscriptionPath {
  readonly kind: 'plain' | 'shared' | 'exclusive' | 'stream';
  /** What stands in front of the filter, the last slash included; empty for a stream. */
  readonly prefix: string;
  /** Name of the group of a shared subscription, empty for the one of `$queue/` and for other kinds. */
  readonly group: string;
  /** Not checked yet. Of a stream what its path is without the place to begin: nobody publishes there. */
  readonly filter: string;
}

const queuePrefix = '$queue/';
const exclusivePrefix = '$exclusive/';
const sharePrefix = '$share/';

/** The parts of `path`, or null when the name of the group or the stream is not valid [MQTT-4.8.2-1], [MQTT-4.8.2-2]. */
export function parsePath(path: string): SubscriptionPath | null {
  if (path.charCodeAt(0) !== 0x24) return { kind: 'plain', prefix: '', group: '', filter: path };
  if (path.startsWith(sharePrefix)) {
    const end = path.indexOf('/', sharePrefix.length);
    const group = path.slice(sharePrefix.length, Math.max(end, sharePrefix.length));
    if (group === '' || /[+#]/.test(group)) return null;
    if (path.startsWith(streamPrefix, end + 1)) return null;
    return { kind: 'shared', prefix: path.slice(0, end + 1), group, filter: path.slice(end + 1) };
  }
  if (path.startsWith(streamPrefix)) return streamIn(path);
  if (path.startsWith(queuePrefix)) return after(path, queuePrefix, 'shared');
  if (path.startsWith(exclusivePrefix)) return after(path, exclusivePrefix, 'exclusive');
  return { kind: 'plain', prefix: '', group: '', filter: path };
}

function streamIn(path: string): SubscriptionPath | null {
  const parts = parseStreamPath(path);
  return parts === null ? null : { kind: 'stream', prefix: '', group: '', filter: streamFilter(parts) };
}

/** A stream has no members and no single reader. */
function after(path: string, prefix: string, kind: SubscriptionPath['kind']): SubscriptionPath | null {
  if (path.startsWith(streamPrefix, prefix.length)) return null;
  return { kind, prefix, group: '', filter: path.slice(prefix.length) };
}

/** The parts of a path that was accepted before. */
export function knownPath(path: string): SubscriptionPath {
  return parsePath(path) as SubscriptionPath;
}

/** What a session has for a valid path that a client of the tenant wrote: the filter has its inner name. Not for streams. */
export function innerPath(names: TenantNames | null, path: string): string {
  if (names === null) return path;
  const { prefix, filter } = knownPath(path);
  return prefix + names.inner(filter);
}

/** The path of a subscription as its client wrote it. */
export function plainPath(path: string): string {
  const { kind, prefix, filter } = knownPath(path);
  return kind === 'stream' ? path : prefix + plainName(filter);
}

/** Whether all of such a subscription is in the storage: nothing of it is lost while the client is away. */
export function isStored(kind: SubscriptionPath['kind']): boolean {
  return kind === 'plain' || kind === 'stream';
}
