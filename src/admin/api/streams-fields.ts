/**
 * Fields of the requests about streams and records, from a JSON body or a query, each checked by hand: what is wrong is named. Lives
 * on the main thread; used by the resources beside it.
 */
import type { StreamSettings } from '../../core/ports/stream-store.ts';
import type { HttpRequest } from '../../net/http/port.ts';
import { RequestInvalidError, readEntries } from './request.ts';

/** Milliseconds since 1970 that a date can hold. */
const timestampMax = 8_640_000_000_000_000;

/** A JSON object whose fields are read one by one. Every method throws `RequestInvalidError`. */
export class Fields {
  readonly #entries: ReadonlyMap<string, unknown>;
  /** Where the object stands in the body, for messages: '' or 'records[3].'. */
  readonly #place: string;

  /** `names`: all that are known. */
  constructor(entries: ReadonlyMap<string, unknown>, names: readonly string[], place = '') {
    this.#entries = entries;
    this.#place = place;
    for (const name of entries.keys()) {
      if (!names.includes(name)) throw new RequestInvalidError(`unknown field ${JSON.stringify(place + name)}`);
    }
  }

  static ofBody(request: HttpRequest, names: readonly string[]): Fields {
    return new Fields(readEntries(request), names);
  }

  /** Parameters of the query; each at most once. */
  static ofQuery(request: HttpRequest, names: readonly string[]): Fields {
    const entries = new Map<string, unknown>();
    for (const [name, value] of new URLSearchParams(request.query)) {
      if (entries.has(name)) throw new RequestInvalidError(`the field ${JSON.stringify(name)} is there twice`);
      entries.set(name, value);
    }
    return new Fields(entries, names);
  }

  /** Undefined when it is not there. */
  value(name: string): unknown {
    return this.#entries.get(name);
  }

  text(name: string): string {
    const value = this.#entries.get(name);
    if (typeof value !== 'string') throw this.wrong(name, 'must be a text');
    return value;
  }

  /** A whole number, also as the text that it is in a query. */
  integer<D>(name: string, fallback: D, min: number, max = Number.MAX_SAFE_INTEGER): number | D {
    const given = this.#entries.get(name);
    if (given === undefined) return fallback;
    const value = typeof given === 'string' && /^-?\d{1,16}$/.test(given) ? Number(given) : given;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw this.wrong(name, `must be a whole number ${range}`);
  }

  flag(name: string): boolean {
    const value = this.#entries.get(name) ?? false;
    if (value === true || value === 'true') return true;
    if (value === false || value === 'false') return false;
    throw this.wrong(name, 'must be true or false');
  }

  /** Milliseconds since 1970, or a date as ISO 8601 writes it, with its zone. */
  time<D>(name: string, fallback: D, min = 0): number | D {
    const given = this.#entries.get(name);
    if (given === undefined) return fallback;
    const isDate = typeof given === 'string' && /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(given);
    const value = isDate
      ? Date.parse(given)
      : typeof given === 'string' && /^\d{1,16}$/.test(given)
        ? Number(given)
        : given;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= timestampMax) return value;
    throw this.wrong(name, 'must be milliseconds since 1970, or a date like 2026-01-31T12:00:00Z');
  }

  /** The field as UTF-8, or the one beside it with the name of `name` and `Base64`. Null when it is null, or not there. */
  bytes(name: string): Buffer | null {
    const text = this.#entries.get(name);
    const encoded = this.#entries.get(`${name}Base64`);
    if (text !== undefined && encoded !== undefined) throw this.wrong(name, `is there twice, as ${name}Base64 too`);
    if (encoded !== undefined) return this.#decode(`${name}Base64`, encoded);
    if (text === undefined || text === null) return null;
    if (typeof text !== 'string' || !text.isWellFormed()) throw this.wrong(name, 'must be a text, or null');
    return Buffer.from(text);
  }

  objects(name: string, names: readonly string[], min: number, max: number): readonly Fields[] {
    const value = this.#entries.get(name) ?? [];
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      throw this.wrong(name, `must be a list of ${min} to ${max} objects`);
    }
    return value.map((each: unknown, index) => {
      const place = `${this.#place}${name}[${index}]`;
      if (typeof each !== 'object' || each === null || Array.isArray(each)) {
        throw new RequestInvalidError(`the field "${place}" must be an object`);
      }
      return new Fields(new Map(Object.entries(each)), names, `${place}.`);
    });
  }

  wrong(name: string, problem: string): RequestInvalidError {
    return new RequestInvalidError(`the field "${this.#place}${name}" ${problem}`);
  }

  /** Buffer.from passes over what is no base64, so that is looked for first. */
  #decode(name: string, value: unknown): Buffer {
    if (typeof value === 'string' && value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value)) {
      return Buffer.from(value, 'base64');
    }
    throw this.wrong(name, 'must be base64');
  }
}

const settingNames = [
  ...['retentionBytes', 'retentionMs', 'isCompacted', 'isTiered', 'localRetentionBytes', 'localRetentionMs'],
  ...['batchBytesMax', 'segmentBytes'],
] as const;

/** The field `settings`; how large the numbers may be says the storage. */
export function readSettings(fields: Fields): StreamSettings {
  const value = fields.value('settings') ?? {};
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw fields.wrong('settings', 'must be an object');
  const given = new Fields(new Map(Object.entries(value)), settingNames, 'settings.');
  const bound = (name: string): number | null | undefined =>
    given.value(name) === null ? null : given.integer(name, undefined, 1);
  const flag = (name: string): boolean | undefined => (given.value(name) === undefined ? undefined : given.flag(name));
  const settings = {
    retentionBytes: bound('retentionBytes'),
    retentionMs: bound('retentionMs'),
    isCompacted: flag('isCompacted'),
    isTiered: flag('isTiered'),
    localRetentionBytes: bound('localRetentionBytes'),
    localRetentionMs: bound('localRetentionMs'),
    batchBytesMax: given.integer('batchBytesMax', undefined, 1),
    segmentBytes: given.integer('segmentBytes', undefined, 1),
  };
  return Object.fromEntries(Object.entries(settings).filter(([, each]) => each !== undefined));
}
