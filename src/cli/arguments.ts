/**
 * Command-line flags as mosquitto users type them: `-q 1`, `--qos 1`, `--qos=1`, repeated flags, flags with several values.
 *
 * `parseArgs` of `node:util` has neither flags with more than one value nor suggestions, hence this small layer.
 * Main thread; called by every verb.
 */
import { UsageError } from './exit-codes.ts';

/** One flag. `long` is its name everywhere in the code. */
export interface OptionSpec {
  readonly long: string;
  readonly short?: string;
  /** Placeholder of the value in the help; a flag without it takes no value. */
  readonly value?: string;
  /** How many arguments the flag takes, seen what follows it; 1 when `value` is there. */
  readonly countValues?: (following: readonly string[]) => number;
  readonly help: string;
}

/** Flags as typed, checked against their specs; conversion happens on reading. */
export class ParsedArguments {
  readonly positionals: string[] = [];
  private readonly values = new Map<string, string[][]>();

  add(long: string, values: string[]): void {
    const known = this.values.get(long);
    if (known === undefined) this.values.set(long, [values]);
    else known.push(values);
  }

  has(long: string): boolean {
    return this.values.has(long);
  }

  /** The last value given. */
  text(long: string): string | undefined {
    return this.values.get(long)?.at(-1)?.[0];
  }

  texts(long: string): string[] {
    return this.tuples(long).map((tuple) => tuple[0] ?? '');
  }

  tuples(long: string): string[][] {
    return this.values.get(long) ?? [];
  }

  /** A number in `[min, max]`; throws `UsageError` otherwise. */
  number(long: string, fallback: number, min = 0, max = Number.MAX_SAFE_INTEGER): number {
    const text = this.text(long);
    if (text === undefined) return fallback;
    return toNumber(`--${long}`, text, min, max);
  }

  integer(long: string, fallback: number, min = 0, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.number(long, fallback, min, max);
    if (!Number.isInteger(value)) throw new UsageError(`Cannot use --${long} "${value}": expected a whole number`);
    return value;
  }
}

/** Reads a number in `[min, max]`; `what` names it in the error. */
export function toNumber(what: string, text: string, min: number, max: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value) || value < min || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new UsageError(`Cannot use ${what} "${text}": expected a number ${range}`);
  }
  return value;
}

/** Splits `argv` by `specs`; throws `UsageError` for what no spec knows. `--` ends the flags. */
export function parseArguments(argv: readonly string[], specs: readonly OptionSpec[]): ParsedArguments {
  const byName = new Map<string, OptionSpec>();
  for (const spec of specs) {
    byName.set(`--${spec.long}`, spec);
    if (spec.short !== undefined) byName.set(`-${spec.short}`, spec);
  }
  const parsed = new ParsedArguments();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i];
    if (argument === '--') {
      parsed.positionals.push(...argv.slice(i + 1));
      break;
    }
    if (!argument.startsWith('-') || argument === '-') {
      parsed.positionals.push(argument);
      continue;
    }
    i += readFlag(parsed, byName, argv, i);
  }
  return parsed;
}

/** Reads the flag at `index`; returns how many further arguments it took. */
function readFlag(
  parsed: ParsedArguments,
  byName: Map<string, OptionSpec>,
  argv: readonly string[],
  index: number,
): number {
  const argument = argv[index];
  const equals = argument.startsWith('--') ? argument.indexOf('=') : -1;
  const name = equals < 0 ? argument : argument.slice(0, equals);
  const spec = byName.get(name);
  if (spec === undefined) throw unknownFlag(name, byName);
  const following = argv.slice(index + 1);
  const count = spec.value === undefined ? 0 : (spec.countValues?.(following) ?? 1);
  if (equals >= 0) {
    if (count !== 1) throw new UsageError(`Cannot use "${argument}": ${name} takes ${count} values, none after "="`);
    parsed.add(spec.long, [argument.slice(equals + 1)]);
    return 0;
  }
  if (following.length < count) throw new UsageError(`Cannot use ${name}: expected ${spec.value} after it`);
  parsed.add(spec.long, following.slice(0, count));
  return count;
}

function unknownFlag(name: string, byName: Map<string, OptionSpec>): UsageError {
  const near = nearestName(name, [...byName.keys()]);
  return new UsageError(`Cannot use "${name}": unknown option${near === undefined ? '' : `; did you mean ${near}?`}`);
}

/** The known name that a mistyped one most likely meant, if one is near enough. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.ceil(name.length / 3)) + 1;
  for (const candidate of known) {
    const isStart = name.length >= 4 && candidate.startsWith(name);
    const distance = isStart ? 1 : editDistance(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substituted, previous[j] + 1, row[j - 1] + 1));
    }
    previous = row;
  }
  return previous[b.length];
}

/** The option part of a help text. */
export function describeOptions(specs: readonly OptionSpec[]): string {
  const heads = specs.map((spec) => {
    const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
    return `  ${short}--${spec.long}${spec.value === undefined ? '' : ` ${spec.value}`}`;
  });
  const width = Math.min(40, Math.max(...heads.map((head) => head.length)));
  return specs.map((spec, i) => `${heads[i].padEnd(width)}  ${spec.help}`).join('\n');
}
