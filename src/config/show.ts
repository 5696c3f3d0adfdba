/** Texts about the configuration: the effective values with their origins, and the schema for editors. Pure; main thread. */
import { escapeControls } from './escape.ts';
import { editorSchema, formatPath, type SettingPath, type SettingSchema } from './json-schema.ts';
import type { EffectiveConfiguration } from './load.ts';
import { describeOrigin, type Origin } from './source.ts';

const masked = '********';
/** Text that YAML takes as the same text without quotes, whatever the rules for numbers and words are. */
const plainText = /^[A-Za-z][A-Za-z0-9/_-]*$/;
const yamlWords = /^(?:true|false|null|yes|no|on|off|y|n)$/i;

/** The effective values as YAML that is valid configuration itself (secrets aside), the origin behind each value. */
export function showYaml(configuration: EffectiveConfiguration, schema: SettingSchema): string {
  const lines: string[] = [];
  writeMap(lines, shownValues(configuration, schema), [], configuration.origins, '');
  return `${lines.join('\n')}\n`;
}

/** `{"values": …, "origins": {"limits.connectionsMax": "default", …}}` */
export function showJson(configuration: EffectiveConfiguration, schema: SettingSchema): string {
  const origins = [...configuration.origins].map(([path, origin]) => [path, describeOrigin(origin)]);
  const shown = { values: shownValues(configuration, schema), origins: Object.fromEntries(origins) };
  return `${JSON.stringify(shown, null, 2)}\n`;
}

/** The JSON Schema of the configuration file, for editors. */
export function schemaText(schema: SettingSchema): string {
  return `${JSON.stringify(editorSchema(schema), null, 2)}\n`;
}

function shownValues(configuration: EffectiveConfiguration, schema: SettingSchema): object {
  const values = { ...configuration.node, ...Object.fromEntries(configuration.protocols) };
  return mask(schema, values) as object;
}

function mask(schema: SettingSchema | undefined, value: unknown): unknown {
  if (schema?.writeOnly === true) return masked;
  if (Array.isArray(value)) return value.map((item) => mask(schema?.items, item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, mask(schema?.properties?.[key], child)]));
}

type Origins = ReadonlyMap<string, Origin>;

function writeMap(lines: string[], map: object, path: SettingPath, origins: Origins, indent: string): void {
  for (const [key, value] of Object.entries(map))
    writeEntry(lines, `${indent}${key}:`, value, [...path, key], origins, indent);
}

function writeEntry(
  lines: string[],
  head: string,
  value: unknown,
  path: SettingPath,
  origins: Origins,
  indent: string,
): void {
  if (Array.isArray(value) && value.length > 0) {
    lines.push(`${head}${comment(path, origins)}`);
    for (const [index, item] of value.entries()) writeItem(lines, item, [...path, index], origins, `${indent}  `);
  } else if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
    lines.push(head);
    writeMap(lines, value, path, origins, `${indent}  `);
  } else lines.push(`${head} ${yamlScalar(value)}${comment(path, origins)}`);
}

function writeItem(lines: string[], item: unknown, path: SettingPath, origins: Origins, indent: string): void {
  if (typeof item !== 'object' || item === null || Object.keys(item).length === 0) {
    lines.push(`${indent}- ${yamlScalar(item)}${comment(path, origins)}`);
    return;
  }
  // The lines of the map, the first of them with the dash.
  const inner: string[] = [];
  writeMap(inner, item, path, origins, `${indent}  `);
  inner[0] = `${indent}- ${(inner[0] ?? '').trimStart()}`;
  lines.push(...inner);
}

function comment(path: SettingPath, origins: Origins): string {
  const origin = origins.get(formatPath(path));
  return origin === undefined ? '' : ` # ${escapeControls(describeOrigin(origin))}`;
}

/** Lists and maps get here only when they are empty; JSON is YAML. */
function yamlScalar(value: unknown): string {
  if (typeof value === 'string' && plainText.test(value) && !yamlWords.test(value)) return value;
  return escapeControls(JSON.stringify(value));
}
