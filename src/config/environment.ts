/**
 * Settings from environment variables: `RINGMQ_<PATH>`, two underscores between levels, `connectionsMax` as
 * `CONNECTIONS_MAX`. Pure; main thread.
 */
import { didYouMean, quoteShort } from './check.ts';
import { type SettingPath, type SettingSchema, walkSchema } from './json-schema.ts';
import type { Problems } from './source.ts';

/** Variables of the process, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

const prefix = 'RINGMQ_';
/** Names the configuration file; it is no setting. */
export const fileVariable = 'RINGMQ_CONFIG';
/** Where `ringmq ctl` finds the cluster; a shell that has it must be able to start a broker too. */
const serverVariable = 'RINGMQ_SERVER';

export interface EnvironmentSetting {
  readonly name: string;
  readonly path: SettingPath;
  readonly text: string;
}

/** The settings among the variables, sections before what lies in them. Unknown `RINGMQ_` variables are problems. */
export function readEnvironment(
  schema: SettingSchema,
  environment: Environment,
  problems: Problems,
): EnvironmentSetting[] {
  const known = new Map<string, SettingPath>();
  walkSchema(schema, (path) => known.set(variableOf(path), path));
  const settings: EnvironmentSetting[] = [];
  // Sorted, so that the result depends on the variables alone: a name before its extensions, positions as numbers.
  const names = Object.keys(environment).filter((name) => name.startsWith(prefix));
  const sortKeys = new Map(names.map((name) => [name, name.replaceAll(/\d+/g, (digits) => digits.padStart(4, '0'))]));
  for (const name of names.sort((a, b) => ((sortKeys.get(a) ?? a) < (sortKeys.get(b) ?? b) ? -1 : 1))) {
    const text = environment[name];
    if (name === fileVariable || name === serverVariable || text === undefined || isServiceLink(name, text)) continue;
    const [template, positions] = withoutPositions(name);
    const path = known.get(template);
    if (path === undefined) {
      const message = `unknown variable ${quoteShort(name)}${didYouMean(name, [...known.keys(), fileVariable])}`;
      problems.add({ kind: 'environment', name }, message);
      continue;
    }
    settings.push({ name, path: path.map((step) => (step === 0 ? (positions.shift() ?? 0) : step)), text });
  }
  return settings;
}

/** The variable of a setting; `RINGMQ_LIMITS__CONNECTIONS_MAX` for `limits.connectionsMax`. */
export function variableOf(path: SettingPath): string {
  return prefix + path.map((step) => upperSnake(String(step))).join('__');
}

function upperSnake(name: string): string {
  return name
    .replaceAll(/[A-Z]/g, (letter) => `_${letter}`)
    .replaceAll('-', '_')
    .toUpperCase();
}

/** The schema knows a position in a list as 0. */
function withoutPositions(name: string): [string, number[]] {
  const positions: number[] = [];
  const template = name.replaceAll(/__(\d{1,4})(?=__|$)/g, (_, digits: string) => {
    positions.push(Number(digits));
    return '__0';
  });
  return [template, positions];
}

/**
 * Whether it is one of the variables that Kubernetes and Docker links put into every container when a service is called
 * `ringmq` or `ringmq-…`. They are not meant for the broker, and refusing them would stop it in its most natural home.
 */
function isServiceLink(name: string, text: string): boolean {
  if (/^RINGMQ_(?:[A-Z0-9]+_)*SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)$/.test(name)) return true;
  if (/^RINGMQ_(?:[A-Z0-9]+_)*PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/.test(name)) return true;
  return /^RINGMQ_(?:[A-Z0-9]+_)*PORT$/.test(name) && /^(?:tcp|udp|sctp):\/\//.test(text);
}
