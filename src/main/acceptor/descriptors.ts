/**
 * How many connections the process has file descriptors for. Main thread, once when the acceptor begins to listen.
 *
 * At the very last descriptor libuv closes what waits to be accepted and tells nobody; by then no worker can be replaced
 * and no scrape answered either. So connections are refused, and counted, while some descriptors are left for those.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Enough to replace two workers (about ten each) and to serve metrics and health meanwhile. */
const RESERVED_COUNT = 64;

/** Descriptors that are left for connections; infinite where the system does not tell. `folder` is for tests. */
export function descriptorsForConnections(folder = '/proc/self'): number {
  try {
    const limits = readFileSync(`${folder}/limits`, 'latin1');
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    if (soft === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(0, Number(soft) - readdirSync(`${folder}/fd`).length - RESERVED_COUNT);
  } catch {
    return Number.POSITIVE_INFINITY; // Not Linux: libuv's own protection remains.
  }
}
