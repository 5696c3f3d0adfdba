/**
 * A record as the administration API and exports have it: text where bytes are UTF-8, base64 otherwise. Pure; used by the verbs about
 * records.
 */
import { showBytes } from './printer.ts';

export interface JsonHeader {
  readonly key?: string;
  readonly keyBase64?: string;
  readonly value?: string | null;
  readonly valueBase64?: string;
}

/** What can be appended. */
export interface JsonRecord extends Omit<JsonHeader, 'key'> {
  readonly key?: string | null;
  readonly timestamp: number;
  readonly headers?: readonly JsonHeader[];
}

/** A line of an export. */
export interface ExportedRecord extends JsonRecord {
  readonly partition: number;
  /** Where it was; it gets a new one. */
  readonly offset?: number;
}

/** For tables: bytes that are no text as `\xNN`, at most `length` characters. */
export function showField(text: string | null | undefined, base64: string | undefined, length = 200): string {
  if (base64 === undefined && (text === null || text === undefined)) return '-';
  const bytes = base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64');
  const shown = showBytes(bytes);
  return shown.length <= length ? shown : `${shown.slice(0, length)}…`;
}

export function showHeaders(headers: readonly JsonHeader[] = []): string {
  return headers
    .map((each) => `${showField(each.key, each.keyBase64)}=${showField(each.value, each.valueBase64)}`)
    .join(' ');
}

const fieldNames = new Set(['partition', 'offset', 'timestamp', 'key', 'keyBase64', 'headers', 'value', 'valueBase64']);
const headerNames = new Set(['key', 'keyBase64', 'value', 'valueBase64']);

/** The record of a line of an export; a text that says what is wrong with it otherwise. */
export function parseExported(line: string): ExportedRecord | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return 'it is no JSON';
  }
  const fields = fieldsOf(value);
  if (fields === null) return 'it is no object';
  const problem = checkFields(fields, fieldNames) ?? checkNumbers(fields);
  if (problem !== null) return problem;
  const headers = fields.get('headers') ?? [];
  if (!Array.isArray(headers)) return '"headers" must be a list';
  for (const each of headers as unknown[]) {
    const header = fieldsOf(each);
    if (header === null) return 'a header must be an object';
    const wrong = checkFields(header, headerNames);
    if (wrong !== null) return `of a header, ${wrong}`;
    if ((header.get('key') ?? header.get('keyBase64') ?? null) === null) return 'a header must have a "key"';
  }
  return value as ExportedRecord;
}

type Fields = ReadonlyMap<string, unknown>;

function fieldsOf(value: unknown): Fields | null {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? new Map(Object.entries(value)) : null;
}

function checkFields(fields: Fields, names: ReadonlySet<string>): string | null {
  for (const name of fields.keys()) if (!names.has(name)) return `the field ${JSON.stringify(name)} is unknown`;
  return checkBytes(fields, 'key') ?? checkBytes(fields, 'value');
}

function checkNumbers(fields: Fields): string | null {
  for (const [name, min] of [
    ['partition', 0],
    ['offset', 0],
    ['timestamp', -1],
  ] as const) {
    const value = fields.get(name);
    if (name === 'offset' && value === undefined) continue;
    if (!Number.isSafeInteger(value) || (value as number) < min) return `"${name}" must be a whole number`;
  }
  return null;
}

function checkBytes(fields: Fields, name: string): string | null {
  const text = fields.get(name);
  const base64 = fields.get(`${name}Base64`);
  if (base64 === undefined) {
    const isText = text === undefined || text === null || (typeof text === 'string' && text.isWellFormed());
    return isText ? null : `"${name}" must be a text, or null`;
  }
  if (text !== undefined) return `"${name}" is there twice`;
  const isBase64 = typeof base64 === 'string' && base64.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(base64);
  return isBase64 ? null : `"${name}Base64" must be base64`;
}
