/** What the verbs about kept messages share: flags for keys, headers, values and times, and how they are shown. Pure but for files. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import { jsonBytes } from './printer.ts';

export const keyOptions: readonly OptionSpec[] = [
  { long: 'key', value: 'KEY', help: 'as text' },
  { long: 'key-base64', value: 'BASE64', help: 'a key that is no text' },
];

export const headerOption: OptionSpec = { long: 'header', value: 'NAME=VALUE', help: 'a header' };

/** The value of a message in one of four ways. */
export const valueOptions: readonly OptionSpec[] = [
  { long: 'value-base64', value: 'BASE64', help: 'a value that is no text' },
  { long: 'file', value: 'FILE', help: 'the value is the content of FILE' },
];

/** `--name` or `--name-base64` as the field of the API. Throws `UsageError`. */
export function bytesField(name: string, options: ParsedArguments): Record<string, string> {
  const [text, base64] = [options.text(name), options.text(`${name}-base64`)];
  if (text !== undefined && base64 !== undefined)
    throw new UsageError(`Cannot use --${name} and --${name}-base64 together`);
  if (base64 !== undefined) return { [`${name}Base64`]: base64 };
  return text === undefined ? {} : { [name]: text };
}

/** Throws `UsageError`. */
export function splitHeader(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 0) throw new UsageError(`Cannot use --header "${text}": expected NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** All `--header` flags as the field of the API. Throws `UsageError`. */
export function headersField(options: ParsedArguments): readonly { readonly key: string; readonly value: string }[] {
  return options.texts('header').map((header) => {
    const [key, value] = splitHeader(header);
    return { key, value };
  });
}

/** The value as the field of the API: VALUE, standard input for `-`, or a flag. Throws `UsageError`. */
export async function readValue(
  text: string | undefined,
  options: ParsedArguments,
  io: CliIo,
): Promise<Record<string, string>> {
  const base64 = options.text('value-base64');
  const path = options.text('file');
  const isTombstone = options.has('tombstone');
  const given = [text !== undefined, base64 !== undefined, path !== undefined, isTombstone].filter(Boolean).length;
  if (given !== 1) {
    throw new UsageError('Cannot produce: expected one of VALUE, --value-base64, --file and --tombstone');
  }
  if (isTombstone) return {};
  if (base64 !== undefined) return { valueBase64: base64 };
  if (text !== undefined && text !== '-') return { value: text };
  if (path === undefined) return jsonBytes('value', await buffer(io.stdin));
  try {
    return jsonBytes('value', readFileSync(path));
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
}

/** Milliseconds since 1970 as a date; `-` for what is none. */
export function showTime(timestamp: number): string {
  const date = new Date(timestamp);
  return timestamp < 0 || Number.isNaN(date.getTime()) ? '-' : date.toISOString();
}
