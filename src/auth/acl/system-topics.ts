/**
 * What the broker tells of itself, below `$SYS`, names its clients and where they come from: it is not for every client. Where no rule speaks
 * of such a subscription, only clients on this machine may have it (superusers may have everything anyway). Pure; connection workers and the main thread.
 */
import type { Identity } from '../../core/ports/access.ts';

const root = '$SYS';

/** Whether `filter` can match such a topic; one that begins with a wildcard cannot. */
function isAboutSystem(filter: string): boolean {
  return filter.startsWith(root) && (filter.length === root.length || filter[root.length] === '/');
}

/** Whether a subscription of which no rule speaks is refused, whatever the default for others is. */
export function isKeptFrom(identity: Identity, filter: string): boolean {
  return isAboutSystem(filter) && identity.isLocal !== true;
}
