/**
 * `$stream/<name>[@<from>][/<filter>]`: what a client subscribes to for the records of a stream. Pure; connection workers.
 *
 *     from = "earliest" | "latest" | "offset:" number | "time:" milliseconds since 1970 | ISO 8601 time
 *
 * MQTT 5 clients can say `from` in a user property of SUBSCRIBE as well; the path wins. `stream-offset` is taken too, as EMQX has it:
 * there a number is a time in milliseconds.
 */
import type { UserProperties } from '../packets/types.ts';

export const streamPrefix = '$stream/';

export type StreamFrom =
  | { readonly kind: 'earliest' | 'latest' }
  | { readonly kind: 'offset'; readonly offset: number }
  | { readonly kind: 'time'; readonly timeMs: number };

export interface StreamPath {
  readonly name: string;
  /** Null: the path does not say. */
  readonly from: StreamFrom | null;
  /** Which topics; null: all records, those without a topic included. Not checked yet. */
  readonly filter: string | null;
}

/** Names that begin with `_` belong to the broker. */
const namePattern = /^(?!\.{1,2}$)[A-Za-z0-9.-][A-Za-z0-9._-]{0,243}$/;
const numberPattern = /^\d{1,15}$/;
const isoPattern = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/;

export function isStreamPath(path: string): boolean {
  return path.startsWith(streamPrefix);
}

/** Null when it is not one. */
export function parseStreamPath(path: string): StreamPath | null {
  const end = path.indexOf('/', streamPrefix.length);
  const head = path.slice(streamPrefix.length, end < 0 ? path.length : end);
  const filter = end < 0 ? null : path.slice(end + 1);
  const at = head.indexOf('@');
  const name = at < 0 ? head : head.slice(0, at);
  if (!namePattern.test(name) || filter === '') return null;
  if (at < 0) return { name, from: null, filter };
  const from = parseFrom(head.slice(at + 1));
  return from === null ? null : { name, from, filter };
}

/** What the rules are asked about, and the settings: the path without its `from`. */
export function streamFilter({ name, filter }: StreamPath): string {
  return `${streamPrefix}${name}/${filter ?? '#'}`;
}

/** Null when a property says what is no `from`; undefined when none says anything. */
export function fromOfProperties(properties: UserProperties): StreamFrom | null | undefined {
  for (const [name, value] of properties) {
    if (name === 'from') return parseFrom(value);
    if (name === 'stream-offset') return numberPattern.test(value) ? parseFrom(`time:${value}`) : parseFrom(value);
  }
  return undefined;
}

function parseFrom(text: string): StreamFrom | null {
  if (text === 'earliest' || text === 'latest') return { kind: text };
  if (text.startsWith('offset:')) {
    const offset = text.slice('offset:'.length);
    return numberPattern.test(offset) ? { kind: 'offset', offset: Number(offset) } : null;
  }
  const time = text.startsWith('time:') ? text.slice('time:'.length) : text;
  if (text.startsWith('time:') && numberPattern.test(time)) return { kind: 'time', timeMs: Number(time) };
  if (!isoPattern.test(time)) return null;
  const timeMs = Date.parse(time);
  return Number.isNaN(timeMs) ? null : { kind: 'time', timeMs };
}
