/**
 * What makes the key of a record out of a publication: `clientid`, `user`, `topic`, `none`, `property.<name>` or `payload.<path>`. Records
 * of one key keep their order. Pure; compiled once per worker, called for each publication that a binding copies.
 */
import { readUint16 } from '../codec/bytes.ts';
import { nextProperty, PropertyId } from '../codec/properties.ts';
import type { PublishView } from '../codec/publish.ts';

export interface KeySource {
  readonly topicBytes: Buffer;
  /** Null when the broker itself publishes. */
  readonly clientId: string | null;
  readonly user: string | null;
  readonly buffer: Buffer;
  readonly view: PublishView;
}

/** Null: the publication has no such value. */
export type RecordKey = (source: KeySource) => Uint8Array | null;

/** Levels of a path into a payload. */
const pathStepsMax = 16;
/** A longer payload is not looked into: parsing takes the worker's time, and it is for messages that are short. */
const parsedBytesMax = 65_536;
const keyBytesMax = 1_024;

export const keyForms = '"clientid", "user", "topic", "none", "property.<name>" or "payload.<path>"';

/** Whether the key is the same for all publications of a run: they differ in their payloads alone. */
export function isKeyOfRun(text: string): boolean {
  return !text.startsWith('payload.');
}

/** Null when `text` is none of the forms. */
export function compileKey(text: string): RecordKey | null {
  switch (text) {
    case 'clientid':
      return ({ clientId }) => bytesOf(clientId);
    case 'user':
      return ({ user }) => bytesOf(user);
    case 'topic':
      return ({ topicBytes }) => topicBytes;
    case 'none':
      return () => null;
  }
  if (text.startsWith('property.')) return keyOfProperty(text.slice('property.'.length));
  if (text.startsWith('payload.')) return keyOfPayload(text.slice('payload.'.length).split('.'));
  return null;
}

function keyOfProperty(name: string): RecordKey | null {
  if (name === '') return null;
  const wanted = Buffer.from(name);
  return ({ buffer, view }) => {
    const end = view.propertiesStart + view.propertiesLength;
    for (let at = view.propertiesStart; at < end; at = nextProperty(buffer, at, end)) {
      if (buffer[at] !== PropertyId.USER_PROPERTY || readUint16(buffer, at + 1) !== wanted.length) continue;
      const nameEnd = at + 3 + wanted.length;
      if (wanted.compare(buffer, at + 3, nameEnd) !== 0) continue;
      const value = buffer.subarray(nameEnd + 2, nameEnd + 2 + readUint16(buffer, nameEnd));
      return value.length > keyBytesMax ? null : value;
    }
    return null;
  };
}

function keyOfPayload(steps: readonly string[]): RecordKey | null {
  if (steps.length > pathStepsMax || steps.includes('')) return null;
  return ({ buffer, view }) => {
    if (view.payloadLength > parsedBytesMax) return null;
    let value: unknown;
    try {
      value = JSON.parse(buffer.toString('utf8', view.payloadStart, view.payloadStart + view.payloadLength));
    } catch {
      return null; // No JSON: a payload without such a value.
    }
    for (const step of steps) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return null;
      value = (value as Readonly<Record<string, unknown>>)[step];
    }
    return isPlain(value) ? bytesOf(String(value)) : null;
  };
}

function isPlain(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function bytesOf(text: string | null): Buffer | null {
  if (text === null || text === '') return null;
  const bytes = Buffer.from(text);
  return bytes.length > keyBytesMax ? null : bytes;
}
