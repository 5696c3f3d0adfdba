/**
 * Names of messages that came with a session from another node: they are for this session alone. In the message log the topic of such a
 * message has a first level in front that belongs to the session, and the session has a subscription to everything below it. Thread: any.
 *
 * The level begins with `$`, so that no wildcard reaches it, and has U+0000, so that no client can name it; twice, which no name of a tenant has
 * there (`core/tenants`).
 */
import { createHash } from 'node:crypto';
import type { SessionSubscription } from './session-entry.ts';

const digits = 32;
/** Bytes in front of the topic. */
export const movedPrefixLength = 3 + digits + 1;

/** What stands in front of the topics of messages that came with the session. */
export function movedPrefixOf(id: string): string {
  return `$\0\0${createHash('sha256').update(id).digest('hex').slice(0, digits)}/`;
}

/** The subscription to them. `since`: where the first of them can be in each log. */
export function movedSubscription(id: string, since: readonly number[]): SessionSubscription {
  return { filter: `${movedPrefixOf(id)}#`, grade: 2, noLocal: false, detail: 0, identifier: 0, since };
}

/** Bytes that stand in front of a topic which lies among others; 0: it is none of such messages. */
export function movedPrefixIn(bytes: Uint8Array, start: number, length: number): number {
  return length > movedPrefixLength && bytes[start + 2] === 0 && bytes[start + 1] === 0 ? movedPrefixLength : 0;
}

/** Whether it is a filter, or a topic, of such messages. */
export function isMoved(name: string): boolean {
  return name.charCodeAt(0) === 0x24 && name.charCodeAt(2) === 0 && name.charCodeAt(1) === 0;
}
