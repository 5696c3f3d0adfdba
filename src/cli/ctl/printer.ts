/** Results of `ringmq ctl`: a table for people, or one line of JSON for programs. Main thread of the command's process. */
import { isUtf8 } from 'node:buffer';
import type { KeyValue } from '../../rpc/generated/ringmq/placement/v1/common.ts';
import type { CliIo } from '../io.ts';

type Cell = string | number | boolean;

export class Printer {
  readonly isJson: boolean;
  private readonly io: CliIo;

  constructor(io: CliIo, isJson: boolean) {
    this.io = io;
    this.isJson = isJson;
  }

  /** The JSON form, or what `print` makes of it for people. */
  result(json: unknown, print: () => string): void {
    this.io.out(this.isJson ? `${JSON.stringify(json)}\n` : print());
  }

  table(json: unknown, columns: readonly string[], rows: readonly (readonly Cell[])[]): void {
    this.result(json, () => toTable(columns, rows));
  }
}

/** Columns as wide as their widest cell, two spaces apart; without rows it is the heads alone. */
export function toTable(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const lines = [columns, ...rows].map((row) => row.map(String));
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  const text = lines.map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i]))
      .join('  ')
      .trimEnd(),
  );
  return `${text.join('\n')}\n`;
}

/** One `name  value` line for each fact. */
export function toFacts(facts: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}

/** Text as it is; control characters and bytes that are no text as `\xNN`, so that a terminal shows them and nothing more. */
export function showBytes(bytes: Uint8Array): string {
  const text = isUtf8(bytes) ? Buffer.from(bytes).toString() : Buffer.from(bytes).toString('latin1');
  const strange = isUtf8(bytes) ? /[\x00-\x1f\x7f-\x9f]/g : /[^\x20-\x7e]/g;
  return text.replace(strange, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** Text that somebody else chose, so that a terminal shows it and nothing more. */
export function showText(text: string): string {
  return showBytes(Buffer.from(text));
}

/** `{name: text}`, or `{nameBase64: …}` for what is no text. */
export function jsonBytes(name: string, bytes: Uint8Array): Record<string, string> {
  const buffer = Buffer.from(bytes);
  return isUtf8(bytes) ? { [name]: buffer.toString() } : { [`${name}Base64`]: buffer.toString('base64') };
}

export function jsonItem(item: KeyValue): Record<string, unknown> {
  const { createRevision, modRevision, version, lease } = item;
  return {
    ...jsonBytes('key', item.key),
    ...jsonBytes('value', item.value),
    createRevision,
    modRevision,
    version,
    lease,
  };
}

export const itemColumns = ['KEY', 'VALUE', 'REVISION', 'VERSION', 'LEASE'];

export function itemRow({ key, value, modRevision, version, lease }: KeyValue): Cell[] {
  return [showBytes(key), showBytes(value), modRevision, version, lease === 0 ? '-' : lease];
}
