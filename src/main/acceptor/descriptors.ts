/**
 * How close the process is to its last file descriptor. Main thread, asked by the acceptor for every connection.
 *
 * At the very last descriptor libuv closes what waits to be accepted and tells nobody; by then no worker can be replaced
 * and no scrape answered either. So connections are refused, and counted, while some descriptors are left for those.
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

/** Enough to replace two workers (about ten each) and to serve metrics and health meanwhile. */
const RESERVED_COUNT = 64;

/** First descriptor that no client may have; infinite where the system does not tell its limit. */
export function firstReservedDescriptor(limitsFile = '/proc/self/limits'): number {
  let limits: string;
  try {
    limits = readFileSync(limitsFile, 'latin1');
  } catch {
    return Number.POSITIVE_INFINITY; // Not Linux: libuv's own protection remains.
  }
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Math.max(0, Number(soft) - RESERVED_COUNT);
}

/**
 * The descriptor of a socket, -1 where it cannot be seen. The kernel gives out the lowest free number, so a high one
 * says that nearly all are taken.
 */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  return handle?.fd ?? -1;
}
