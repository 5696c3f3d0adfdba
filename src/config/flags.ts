/** Settings from the command line of `ringmq start`, and its help text. Pure; main thread. */
import { didYouMean, quoteShort } from './check.ts';
import { type SettingPath, type SettingSchema, walkSchema } from './json-schema.ts';
import { type ConfigurationPart, flagTransports, ownFlags } from './schema.ts';
import type { Problems } from './source.ts';

/** A setting from a flag: of a path, or the address of a protocol's listener. In the order of the command line. */
interface FlagSetting {
  /** As it was written, with dashes. */
  readonly name: string;
  readonly target: SettingPath | { readonly protocol: string; readonly transport: string };
  readonly text: string;
}

interface Flags {
  readonly file: string | undefined;
  readonly settings: readonly FlagSetting[];
}

/** Flags that stand for a path of their own. */
const pathFlags = new Map<string, SettingPath>([
  ['data', ['data']],
  ['workers', ['workers']],
  ['http', ['http', 'address']],
  ['cluster', ['cluster', 'address']],
  ['join', ['cluster', 'join']],
  ['log-level', ['log', 'level']],
  ['tls-certificate', ['tls', 'certificate']],
  ['tls-key', ['tls', 'key']],
  ['tls-ca', ['tls', 'ca']],
]);

/** Reads `--name value`, `--name=value`, `--help` and `-h`. What it does not know becomes a problem. */
export function readFlags(
  schema: SettingSchema,
  parts: readonly ConfigurationPart[],
  argv: readonly string[],
  problems: Problems,
): Flags {
  const settings: FlagSetting[] = [];
  let file: string | undefined;
  for (let index = 0; index < argv.length; index++) {
    const [name = '', inline] = splitOnce(argv[index] ?? '');
    // Whoever calls looks for it first; here it is only no mistake.
    if (name === '--help' || name === '-h') continue;
    if (!isKnown(name, parts)) {
      noteUnknown(name, parts, problems);
      // The value of a misspelt flag is no second mistake.
      if (inline === undefined && argv[index + 1]?.startsWith('-') === false) index++;
      continue;
    }
    const text = inline ?? argv[++index];
    if (text === undefined) problems.add({ kind: 'flag', name }, 'a value is missing');
    else if (name === '--config') file = text;
    else settings.push(...settingOf(schema, parts, name, text, problems));
  }
  return { file, settings };
}

function isKnown(name: string, parts: readonly ConfigurationPart[]): boolean {
  return name.startsWith('--') && flagNames(parts).includes(name.slice(2));
}

function flagNames(parts: readonly ConfigurationPart[]): string[] {
  return [...ownFlags, ...parts.flatMap(({ name }) => [name, ...flagTransports.map((each) => `${name}-${each}`)])];
}

function noteUnknown(name: string, parts: readonly ConfigurationPart[], problems: Problems): void {
  const origin = { kind: 'flag', name } as const;
  if (!name.startsWith('-')) problems.add(origin, 'unexpected argument');
  else {
    const candidates = flagNames(parts).map((flag) => `--${flag}`);
    problems.add(origin, `unknown flag${didYouMean(name, candidates)}`);
  }
}

/** `--<protocol>-<transport>` as protocol and transport. */
function listenerOf(parts: readonly ConfigurationPart[], flag: string): { protocol: string; transport: string } {
  if (parts.some(({ name }) => name === flag)) return { protocol: flag, transport: 'tcp' };
  const at = flag.lastIndexOf('-');
  return { protocol: flag.slice(0, at), transport: flag.slice(at + 1) };
}

function settingOf(
  schema: SettingSchema,
  parts: readonly ConfigurationPart[],
  name: string,
  text: string,
  problems: Problems,
): FlagSetting[] {
  const flag = name.slice(2);
  const path = pathFlags.get(flag);
  if (flag === 'join') return [{ name, target: ['cluster', 'join'], text: listOf(text) }];
  if (path !== undefined) return [{ name, target: path, text }];
  if (flag !== 'set') return [{ name, target: listenerOf(parts, flag), text }];
  const [dotted = '', value] = splitOnce(text);
  const origin = { kind: 'flag', name: `--set ${dotted}` } as const;
  if (value === undefined) {
    problems.add(origin, 'a value is missing; expected path=value');
    return [];
  }
  const target = findPath(schema, dotted);
  if (target !== undefined) return [{ name: origin.name, target, text: value }];
  const known: string[] = [];
  walkSchema(schema, (knownPath) => known.push(knownPath.join('.')));
  problems.add(origin, `unknown setting ${quoteShort(dotted)}${didYouMean(dotted, known)}`);
  return [];
}

/** `a,b` as JSON. */
function listOf(text: string): string {
  const items = text.split(',').map((item) => item.trim());
  return JSON.stringify(items.filter((item) => item !== ''));
}

/** The path of `limits.connectionsMax` or `listeners.0.address`, when the schema has it. */
function findPath(schema: SettingSchema, dotted: string): SettingPath | undefined {
  const path: (string | number)[] = [];
  let current: SettingSchema = schema;
  for (const step of dotted.split('.')) {
    const { properties = {}, items }: SettingSchema = current;
    const isPosition = items !== undefined && /^\d{1,4}$/.test(step);
    const child: SettingSchema | undefined = isPosition
      ? items
      : Object.hasOwn(properties, step)
        ? properties[step]
        : undefined;
    if (child === undefined) return undefined;
    path.push(isPosition ? Number(step) : step);
    current = child;
  }
  return path;
}

/** Splits at the first `=`. */
function splitOnce(text: string): [string, string | undefined] {
  const at = text.indexOf('=');
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** What `ringmq start --help` prints. */
export function startHelp(parts: readonly ConfigurationPart[]): string {
  const rows: [string, string][] = [
    ['--config FILE', 'configuration file (YAML); also the variable RINGMQ_CONFIG'],
    ['--data DIR', 'folder for everything that is kept on disk'],
    ['--workers N|auto', 'connection worker threads'],
    ...parts.map(({ name, defaultPort }): [string, string] => [
      `--${name} HOST:PORT`,
      `address of the ${name} listener (127.0.0.1:${defaultPort})`,
    ]),
    ...parts.flatMap(({ name }): [string, string][] => [
      [`--${name}-tls HOST:PORT`, `address of ${name} over TLS`],
      [`--${name}-ws HOST:PORT`, `address of ${name} over WebSocket`],
      [`--${name}-wss HOST:PORT`, `address of ${name} over WebSocket and TLS`],
      [`--${name}-unix PATH`, `Unix socket of ${name}`],
    ]),
    ['--tls-certificate FILE', 'certificate and chain of TLS listeners, PEM'],
    ['--tls-key FILE', 'its private key, PEM'],
    ['--tls-ca FILE', 'authorities of client certificates, PEM'],
    ['--http HOST:PORT', 'address of HTTP: metrics, health, administration'],
    ['--cluster HOST:PORT', 'address for other nodes and clients of the placement centre'],
    ['--join HOST:PORT,…', 'nodes to ask for membership at the first start'],
    ['--log-level LEVEL', 'error, warn, info or debug'],
    ['--set PATH=VALUE', 'any setting, for example limits.connectionsMax=1000'],
    ['--help', 'this text'],
  ];
  const width = Math.max(...rows.map(([flag]) => flag.length)) + 2;
  return [
    'Usage: ringmq start [flags]',
    '',
    'Starts a broker. Flags win over environment variables (RINGMQ_<PATH>), which win over the file.',
    'Port 0 takes a free port. "ringmq config show" prints every setting and where it came from.',
    '',
    ...rows.map(([flag, meaning]) => `  ${flag.padEnd(width)}${meaning}`),
    '',
  ].join('\n');
}
