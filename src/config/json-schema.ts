/**
 * The part of JSON Schema that settings may use, and what can be read off a schema: the words for what it expects, its
 * paths, the document for editors. Pure; main thread.
 */
import { assert } from '../std/assert.ts';

/** A schema as plain data. Keywords that are not listed would not be checked and are therefore refused. */
export interface SettingSchema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  readonly description?: string;
  readonly title?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly writeOnly?: boolean;
  readonly properties?: Readonly<Record<string, SettingSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: SettingSchema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly powerOfTwo?: boolean;
  readonly const?: string | number | boolean;
  readonly enum?: readonly (string | number)[];
  readonly anyOf?: readonly SettingSchema[];
}

const keywords: ReadonlySet<string> = new Set<keyof SettingSchema>([
  ...(['type', 'description', 'title', 'default', 'examples', 'writeOnly', 'properties', 'required'] as const),
  ...([
    'additionalProperties',
    'items',
    'minItems',
    'maxItems',
    'minLength',
    'maxLength',
    'pattern',
    'format',
  ] as const),
  ...(['minimum', 'maximum', 'powerOfTwo', 'const', 'enum', 'anyOf'] as const),
]);

/** A place in the configuration; list positions are numbers. */
export type SettingPath = readonly (string | number)[];

export function formatPath(path: SettingPath): string {
  return path.join('.');
}

/**
 * Calls `visit` for every setting and section below `schema`. The position in a list is 0.
 * @throws AssertionError when the schema uses a keyword that the configuration does not check.
 */
export function walkSchema(
  schema: SettingSchema,
  visit: (path: SettingPath, schema: SettingSchema, parent: SettingSchema) => void,
  path: SettingPath = [],
): void {
  for (const keyword of Object.keys(schema)) {
    assert(keywords.has(keyword), `the schema keyword "${keyword}" at "${formatPath(path)}" is supported`);
  }
  assert(schema.additionalProperties !== true, `the section "${formatPath(path)}" is closed`);
  for (const alternative of schema.anyOf ?? []) {
    const isSingle = alternative.type !== 'object' && alternative.type !== 'array';
    assert(isSingle, `the alternatives of "${formatPath(path)}" are single values`);
    walkSchema(alternative, () => undefined, path);
  }
  const children = Object.entries(schema.properties ?? {});
  for (const [key, child] of schema.items === undefined ? children : [[0, schema.items] as const]) {
    visit([...path, key], child, schema);
    walkSchema(child, visit, [...path, key]);
  }
}

/** Whether the setting is or holds a secret, which is never shown. */
export function holdsSecret(schema: SettingSchema): boolean {
  const inner = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.anyOf ?? []),
    ...(schema.items ? [schema.items] : []),
  ];
  return schema.writeOnly === true || inner.some(holdsSecret);
}

/** What a value must be, in words that follow "expected". */
export function describeExpected(schema: SettingSchema): string {
  if (schema.anyOf !== undefined) return schema.anyOf.map(describeExpected).join(' or ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return describeChoices(schema.enum);
  switch (schema.type) {
    case 'object':
      return 'a map of settings';
    case 'array':
      return `a list${schema.maxItems === undefined ? '' : ` of at most ${schema.maxItems} entries`}`;
    case 'integer':
      return `${schema.powerOfTwo === true ? 'a power of two' : 'a whole number'}${describeRange(schema)}`;
    case 'number':
      return `a number${describeRange(schema)}`;
    case 'boolean':
      return 'true or false';
    default:
      return describeText(schema);
  }
}

function describeChoices(values: readonly (string | number)[]): string {
  const quoted = values.map((value) => JSON.stringify(value));
  return quoted.length === 1 ? (quoted[0] ?? '') : `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`;
}

function describeRange({ minimum, maximum }: SettingSchema): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  if (minimum !== undefined) return ` of at least ${minimum}`;
  return maximum === undefined ? '' : ` of at most ${maximum}`;
}

function describeText({ format, pattern, minLength = 0, maxLength }: SettingSchema): string {
  if (format === 'listen-address') return 'an address such as 127.0.0.1:1883, [::1]:1883 or unix:/path';
  if (format === 'host-port') return 'an address such as 127.0.0.1:1883 or [::1]:1883';
  let words = 'a text';
  if (maxLength !== undefined) words += ` of ${minLength} to ${maxLength} characters`;
  else if (minLength > 0) words += ` of at least ${minLength} characters`;
  return pattern === undefined ? words : `${words} that matches ${pattern}`;
}

/**
 * The schema as a document for editors: what has a default need not be written, and unknown keys are errors, as they are
 * when RingMQ starts.
 */
export function editorSchema(schema: SettingSchema): Record<string, unknown> {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'RingMQ configuration',
    ...editorNode(schema),
  };
}

function editorNode(schema: SettingSchema): Record<string, unknown> {
  const { properties, required, items, anyOf, powerOfTwo: _, ...rest } = schema;
  const node: Record<string, unknown> = { ...rest };
  if (anyOf !== undefined) node['anyOf'] = anyOf.map(editorNode);
  if (items !== undefined) node['items'] = editorNode(items);
  if (properties === undefined) return node;
  const entries = Object.entries(properties);
  node['properties'] = Object.fromEntries(entries.map(([key, child]) => [key, editorNode(child)]));
  const needed = entries.filter(([key, child]) => required?.includes(key) === true && mustBeGiven(child));
  if (needed.length > 0) node['required'] = needed.map(([key]) => key);
  node['additionalProperties'] = false;
  return node;
}

/** Whether nothing can be filled in when the setting is absent. */
export function mustBeGiven(schema: SettingSchema): boolean {
  if (schema.default !== undefined) return false;
  if (schema.properties === undefined) return true;
  const { properties, required = [] } = schema;
  return required.some((key) => mustBeGiven(properties[key] as SettingSchema));
}
