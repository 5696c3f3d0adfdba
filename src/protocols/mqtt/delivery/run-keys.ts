/**
 * What publications are hashed by in shared groups: their client, and the value of a user property. On the worker of
 * the publisher, for groups whose strategy asks for it alone.
 */
import type { RunKeys } from '../../../core/broker/group-strategies.ts';
import type { Run } from '../../../core/broker/run.ts';
import { hashBytes, hashString } from '../../../std/hash.ts';
import { nextProperty, PropertyId } from '../codec/properties.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import type { Session } from '../state/session.ts';

/** `property` is the name of the user property that holds the key; the topic is the key where there is none. */
export function runKeys(property: string): RunKeys {
  const name = Buffer.from(property);
  const view = new PublishView();
  return {
    publisherHash: (run) => hashString(run.publisher === null ? run.topic : (run.publisher as Session).clientId),
    keyHash: (run) => {
      if (run.layout === 5) decodePublish(run.buffer, run.start, run.end, 5, view);
      return run.layout === 5 ? hashOfKey(run, view, name) : hashString(run.topic);
    },
    // QoS 1 and 2.
    comesKept: (run) => (run.detailA & 6) !== 0,
  };
}

/** Of the first user property of that name: identifier, length and bytes of name and value. */
function hashOfKey(run: Run, { propertiesStart, propertiesLength }: PublishView, name: Buffer): number {
  return hashOfProperty(run.buffer, propertiesStart, propertiesStart + propertiesLength, name) ?? hashString(run.topic);
}

/** Of the value of the user property of that name in `[start, end)` of encoded properties; null: there is none. */
export function hashOfProperty(buffer: Buffer, start: number, end: number, name: Buffer): number | null {
  for (let at = start; at < end; at = nextProperty(buffer, at, end)) {
    if (buffer[at] !== PropertyId.USER_PROPERTY || buffer.readUInt16BE(at + 1) !== name.length) continue;
    const nameEnd = at + 3 + name.length;
    if (name.compare(buffer, at + 3, nameEnd) !== 0) continue;
    const valueStart = nameEnd + 2;
    return hashBytes(buffer, valueStart, valueStart + buffer.readUInt16BE(nameEnd));
  }
  return null;
}
