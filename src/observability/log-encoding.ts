/**
 * One log record to one line, as JSON or as text. Pure apart from reading the fields; used on every thread.
 *
 * Fields may hold anything a client sent. So every line is one line: control characters, line separators and characters
 * that reverse the direction of text are escaped, depth, entries and lengths are bounded, and values that cannot be
 * read are replaced instead of thrown.
 */

export interface LogRecord {
  readonly timeMs: number;
  readonly level: string;
  readonly message: string;
  readonly bindings: Readonly<Record<string, unknown>>;
  readonly fields: Readonly<Record<string, unknown>> | undefined;
}

const depthMax = 4;
const textLengthMax = 2048;
/** Values in one record, nested ones included; with `textLengthMax` it bounds the length of a line. */
const valueCountMax = 128;

const masked = '"********"';
const secretName = /^(?:password|passwd|secret|token|authorization|credentials)$/i;
/** Keys of the record itself in JSON; a field with such a name gets an underscore. */
const reservedNames = new Set(['time', 'level', 'message']);
/** Text that needs no quotes in the text format. */
const bareText = /^[\w./:@+-]+$/;
/** What JSON leaves as it is and a terminal or a line-based reader may act on: C1 controls, separators, bidi controls. */
const unsafe = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** `{"time":"…","level":"…","message":"…",…}` with a line feed. */
export function encodeJsonLine(record: LogRecord): string {
  const head = `{"time":"${isoTime(record.timeMs)}","level":"${record.level}","message":${quote(record.message)}`;
  let line = head;
  for (const [name, value] of encodedFields(record)) {
    line += `,${quote(reservedNames.has(name) ? `${name}_` : name)}:${value}`;
  }
  return `${line}}\n`;
}

/** `time LEVEL message name=value …` with a line feed. Values are JSON; plain words go without quotes. */
export function encodeTextLine(record: LogRecord): string {
  // The quotes are taken off again: what matters is that the text cannot leave its line.
  const message = quote(record.message).slice(1, -1).replaceAll('\\"', '"');
  let line = `${isoTime(record.timeMs)} ${record.level.toUpperCase().padEnd(5)} ${message}`;
  for (const [name, value] of encodedFields(record)) line += ` ${bare(quote(name))}=${bare(value)}`;
  return `${line}\n`;
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function bare(json: string): string {
  const text = json.slice(1, -1);
  return json.startsWith('"') && bareText.test(text) ? text : json;
}

/** Names and JSON values of a record; a field hides the binding of the same name. */
function encodedFields({ bindings, fields }: LogRecord): [string, string][] {
  const encoder = new ValueEncoder();
  const merged = new Map<string, string>();
  for (const source of [bindings, fields]) {
    if (source === undefined) continue;
    for (const [name, value] of encoder.entries(source, 0)) merged.set(name, value);
  }
  return [...merged];
}

function quote(text: string): string {
  const cut = text.length > textLengthMax ? `${text.slice(0, textLengthMax)}…(${text.length} characters)` : text;
  return JSON.stringify(cut).replace(unsafe, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Encodes the values of one record and counts them. */
class ValueEncoder {
  private valueCount = 0;

  /** Entries of an object with their JSON values. Undefined values are left out, as JSON does. */
  entries(source: object, depth: number): [string, string][] {
    const encoded: [string, string][] = [];
    for (const name of Object.keys(source)) {
      if (this.valueCount >= valueCountMax) break;
      const value = this.property(source, name, depth);
      if (value !== undefined) encoded.push([name, value]);
    }
    return encoded;
  }

  private property(source: object, name: string, depth: number): string | undefined {
    if (secretName.test(name)) return masked;
    try {
      return this.value((source as Record<string, unknown>)[name], depth);
    } catch {
      // A getter, a proxy or a conversion threw: the line matters more than this value.
      return '"[unreadable]"';
    }
  }

  private value(value: unknown, depth: number): string | undefined {
    this.valueCount++;
    switch (typeof value) {
      case 'string':
        return quote(value);
      case 'number':
        return Number.isFinite(value) ? String(value) : quote(String(value));
      case 'boolean':
        return String(value);
      case 'bigint':
      case 'symbol':
        return quote(String(value));
      case 'function':
        return quote(`[function ${value.name}]`);
      case 'object':
        return value === null ? 'null' : this.object(value, depth);
      default:
        return undefined;
    }
  }

  private object(value: object, depth: number): string {
    if (value instanceof Date) return quote(Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString());
    if (value instanceof URL) return quote(`${value.protocol}//${value.host}${value.pathname}`);
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return quote(`[${value.byteLength} bytes]`);
    if (depth >= depthMax) return '"[nested]"';
    if (Error.isError(value)) return this.error(value, depth);
    if (value instanceof Map) return this.map(value, depth);
    if (Array.isArray(value) || value instanceof Set) return this.list([...value.values()], depth);
    return braces(this.entries(value, depth + 1));
  }

  private list(values: unknown[], depth: number): string {
    const encoded: string[] = [];
    for (const value of values) {
      if (this.valueCount >= valueCountMax) break;
      encoded.push(this.value(value, depth + 1) ?? 'null');
    }
    return `[${encoded.join(',')}]`;
  }

  private map(map: Map<unknown, unknown>, depth: number): string {
    const encoded: [string, string][] = [];
    for (const [key, value] of map) {
      if (this.valueCount >= valueCountMax) break;
      const name = String(key);
      encoded.push([name, secretName.test(name) ? masked : (this.value(value, depth + 1) ?? 'null')]);
    }
    return braces(encoded);
  }

  /**
   * An operating error is told by code and message. One without a code is a defect, and then the stack is what helps.
   */
  private error(error: Error, depth: number): string {
    const { name, code, message, stack, cause } = error as Error & { code?: unknown };
    const parts = { name, code, message, stack: code === undefined ? stack : undefined, cause };
    const errors = error instanceof AggregateError ? { errors: error.errors } : {};
    return braces(this.entries({ ...parts, ...errors }, depth + 1));
  }
}

function braces(entries: [string, string][]): string {
  return `{${entries.map(([name, value]) => `${quote(name)}:${value}`).join(',')}}`;
}
