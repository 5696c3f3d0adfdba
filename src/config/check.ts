/**
 * Checks values against the schema and says what is wrong in words for people, at the place where it was written.
 * Pure; main thread.
 *
 * A walk of its own, because TypeBox's `Value` and `Compile` cost about 100 ms to import, know no positions and word
 * their messages for programmers; a unit test compares the verdicts of the two.
 */
import { formatAddress, parseAddress, parseUnixAddress } from './address.ts';
import { escapeControls } from './escape.ts';
import { describeExpected, formatPath, holdsSecret, type SettingPath, type SettingSchema } from './json-schema.ts';
import { nearest } from './nearest.ts';
import { nodeOf, type Origin, type Problems, type Scalar, type SourceEntry, type SourceNode } from './source.ts';

/**
 * Checks one source on its own: what is absent is no problem. Returns the node with addresses in their one spelling, or
 * undefined when something is wrong with it.
 */
export function checkNode(
  schema: SettingSchema,
  node: SourceNode,
  path: SettingPath,
  problems: Problems,
): SourceNode | undefined {
  // A section of which every line is commented out is empty, not wrong.
  const isEmpty = node.kind === 'scalar' && node.value === null && schema.type === 'object';
  const present: SourceNode = isEmpty ? { kind: 'map', entries: new Map(), origin: node.origin } : node;
  if (schema.type === 'object' && present.kind === 'map') return checkMap(schema, present, path, problems);
  if (schema.type === 'array' && present.kind === 'list') return checkList(schema, present, path, problems);
  const accepted = present.kind === 'scalar' ? acceptScalar(schema, present.value) : undefined;
  if (present.kind === 'scalar' && accepted !== undefined) return { ...present, value: accepted };
  problems.add(node.origin, wrongValue(schema, describeNode(node), path));
  return undefined;
}

function checkMap(
  schema: SettingSchema,
  node: Extract<SourceNode, { kind: 'map' }>,
  path: SettingPath,
  problems: Problems,
): SourceNode | undefined {
  const { properties = {} } = schema;
  const entries = new Map<string, SourceEntry>();
  let complete = true;
  for (const [key, entry] of node.entries) {
    const child = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (child === undefined) problems.add(entry.keyOrigin, unknownKey(key, Object.keys(properties), path));
    const checked = child && checkNode(child, entry.node, [...path, key], problems);
    if (checked === undefined) complete = false;
    else entries.set(key, { ...entry, node: checked });
  }
  return complete ? { ...node, entries } : undefined;
}

function checkList(
  schema: SettingSchema,
  node: Extract<SourceNode, { kind: 'list' }>,
  path: SettingPath,
  problems: Problems,
): SourceNode | undefined {
  const { items = {}, minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema;
  if (node.items.length < minItems || node.items.length > maxItems) {
    problems.add(node.origin, wrongValue(schema, `a list of ${node.items.length} entries`, path));
    return undefined;
  }
  const checked = node.items.map((item, index) => checkNode(items, item, [...path, index], problems));
  return checked.includes(undefined) ? undefined : { ...node, items: checked as SourceNode[] };
}

/** The value in its one spelling when the schema takes it. */
function acceptScalar(schema: SettingSchema, value: Scalar): Scalar | undefined {
  if (schema.anyOf !== undefined) {
    for (const alternative of schema.anyOf) {
      const accepted = acceptScalar(alternative, value);
      if (accepted !== undefined) return accepted;
    }
    return undefined;
  }
  if (schema.const !== undefined) return value === schema.const ? value : undefined;
  if (schema.enum !== undefined) return schema.enum.some((choice) => choice === value) ? value : undefined;
  switch (schema.type) {
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    case 'integer':
    case 'number':
      return typeof value === 'number' && acceptsNumber(schema, value) ? value : undefined;
    case 'string':
      return typeof value === 'string' ? acceptText(schema, value) : undefined;
    default:
      return undefined;
  }
}

function acceptsNumber(schema: SettingSchema, value: number): boolean {
  const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
  if (!Number.isFinite(value) || value < minimum || value > maximum) return false;
  if (schema.type === 'integer' && !Number.isSafeInteger(value)) return false;
  return schema.powerOfTwo !== true || (value > 0 && Number.isInteger(Math.log2(value)));
}

function acceptText(schema: SettingSchema, value: string): string | undefined {
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern, format } = schema;
  // JSON Schema counts code points.
  const length = [...value].length;
  if (length < minLength || length > maxLength) return undefined;
  if (pattern !== undefined && !new RegExp(pattern, 'u').test(value)) return undefined;
  if (format !== 'host-port' && format !== 'listen-address') return value;
  if (format === 'listen-address' && parseUnixAddress(value) !== undefined) return value;
  const address = parseAddress(value);
  return address && formatAddress(address);
}

/**
 * Reads a value that was written as text, in the environment or on the command line. Lists and sections are JSON. The
 * result still has to be checked.
 */
export function readText(schema: SettingSchema, text: string, origin: Origin): SourceNode {
  return interpret(schema, text, origin) ?? { kind: 'scalar', value: text, origin };
}

function interpret(schema: SettingSchema, text: string, origin: Origin): SourceNode | undefined {
  const value = scalarOf(schema, text);
  if (value !== undefined && acceptScalar(schema, value) !== undefined) return { kind: 'scalar', value, origin };
  for (const alternative of schema.anyOf ?? []) {
    const node = interpret(alternative, text, origin);
    if (node !== undefined) return node;
  }
  if (schema.type !== 'array' && schema.type !== 'object') return undefined;
  try {
    return nodeOf(JSON.parse(text), origin);
  } catch {
    // Not JSON: the text itself is then refused, with what was expected.
    return undefined;
  }
}

function scalarOf(schema: SettingSchema, text: string): Scalar | undefined {
  const choices = schema.const === undefined ? schema.enum : [schema.const];
  if (choices !== undefined) return choices.find((choice) => String(choice) === text);
  switch (schema.type) {
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : undefined;
    case 'integer':
      return /^-?\d+$/.test(text) ? Number(text) : undefined;
    case 'number':
      return /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
    case 'string':
      return text;
    default:
      return undefined;
  }
}

function wrongValue(schema: SettingSchema, given: string, path: SettingPath): string {
  const shown = holdsSecret(schema) ? 'the given value' : given;
  const place = path.length === 0 ? 'the configuration' : `"${formatPath(path)}"`;
  return `Cannot use ${shown} for ${place}: expected ${describeExpected(schema)}`;
}

function unknownKey(key: string, known: Iterable<string>, path: SettingPath): string {
  const place = path.length === 0 ? 'the top level' : `"${formatPath(path)}"`;
  return `unknown key ${quoteShort(key)} in ${place}${didYouMean(key, known)}`;
}

/** `; did you mean "limits"?`, or nothing when no candidate is near. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const meant = nearest(name, candidates);
  return meant === undefined ? '' : `; did you mean "${meant}"?`;
}

function describeNode(node: SourceNode): string {
  if (node.kind === 'map') return 'a map';
  if (node.kind === 'list') return 'a list';
  if (node.value === null) return 'nothing';
  return typeof node.value === 'string' ? quoteShort(node.value) : String(node.value);
}

/** Quotes what somebody wrote, in one line of at most `lengthMax` characters and without anything a terminal obeys. */
export function quoteShort(text: string, lengthMax = 60): string {
  return escapeControls(JSON.stringify(text.length > lengthMax ? `${text.slice(0, lengthMax)}…` : text));
}
