/**
 * Reads the configuration file: YAML 1.2, one document, with the line and column of every key and value. Main thread.
 *
 * The parser is imported when there is a file to parse: it costs about 20 ms at start. Only plain YAML is taken: what can
 * hide a value or multiply it (aliases, merge keys, tags, duplicate keys) is refused.
 */
import { readFile } from 'node:fs/promises';
import type { Document, LineCounter, Pair, ParsedNode } from 'yaml';
import { quoteShort } from './check.ts';
import type { MapNode, Origin, Problems, SourceEntry, SourceNode } from './source.ts';

const fileBytesMax = 1024 * 1024;
/** No schema is nearly as deep; bounds the recursion. */
const depthMax = 32;

/** The settings in `file`, or undefined when they cannot be read, with the reasons in `problems`. */
export async function readYamlFile(file: string, problems: Problems): Promise<MapNode | undefined> {
  const text = await readText(file, problems);
  return text === undefined ? undefined : await parseYaml(text, file, problems);
}

async function parseYaml(text: string, file: string, problems: Problems): Promise<MapNode | undefined> {
  const found = problems.count;
  const yaml = await import('yaml');
  const lines = new yaml.LineCounter();
  const start: Origin = { kind: 'file', file, line: 1, column: 1 };
  let documents: Document.Parsed[];
  try {
    // Duplicate keys are found below: the parser's own search compares each key with all others.
    const own = { lineCounter: lines, prettyErrors: false, uniqueKeys: false } as const;
    const options = { ...own, version: '1.2', schema: 'core', merge: false } as const;
    documents = [...yaml.parseAllDocuments(text, options)];
  } catch (error) {
    // The parser is recursive: this is a file of nothing but brackets, or a defect in the parser.
    problems.add(
      start,
      `Cannot parse the file: ${error instanceof RangeError ? 'it is nested too deeply' : String(error)}`,
    );
    return undefined;
  }
  const [document, second] = documents;
  const converter = new Converter(yaml, file, lines, problems);
  if (second !== undefined)
    problems.add(converter.originAt(second.range[0]), 'Cannot use a second document: expected one');
  for (const error of [...(document?.errors ?? []), ...(document?.warnings ?? [])]) {
    problems.add(
      converter.originAt(error.pos[0]),
      `Cannot parse the file: ${describeSyntax(error.code, error.message)}`,
    );
  }
  if (problems.count > found) return undefined;
  const root = document?.contents ?? null;
  const empty: MapNode = { kind: 'map', entries: new Map(), origin: start };
  const node = root === null ? empty : converter.node(root, 0);
  // An empty document, or one of nothing but comments.
  if (node?.kind === 'scalar' && node.value === null) return empty;
  if (node !== undefined && node.kind !== 'map') {
    const given = node.kind === 'list' ? 'a list' : 'a single value';
    problems.add(node.origin, `Cannot use ${given} for the configuration: expected a map of settings`);
  }
  return problems.count === found && node?.kind === 'map' ? node : undefined;
}

async function readText(file: string, problems: Problems): Promise<string | undefined> {
  const origin: Origin = { kind: 'file', file, line: 1, column: 1 };
  try {
    const bytes = await readFile(file);
    if (bytes.length > fileBytesMax) {
      problems.add(origin, `Cannot read the file: it is larger than ${fileBytesMax} bytes`);
      return undefined;
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    problems.add(origin, `Cannot read the file: ${describeReadError(code, error)}`);
    return undefined;
  }
}

function describeReadError(code: unknown, error: unknown): string {
  if (code === 'ENOENT') return 'it does not exist';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'it is not UTF-8 text';
  return error instanceof Error ? error.message : String(error);
}

/** The first line of the parser's message, where it does not deserve better words. */
function describeSyntax(code: string, message: string): string {
  if (code === 'TAB_AS_INDENT') return 'a tab indents the line; use spaces';
  if (message.startsWith('Maximum call stack')) return 'it is nested too deeply';
  // Quoted without the quotes, since the message repeats what the file holds.
  const [line = ''] = message.split('\n');
  return quoteShort(line.trim().replace(/[.:]$/, ''), 160).slice(1, -1).replaceAll('\\"', '"');
}

/** Turns the parser's nodes into source nodes. */
class Converter {
  private readonly yaml: typeof import('yaml');
  private readonly file: string;
  private readonly lines: LineCounter;
  private readonly problems: Problems;

  constructor(yaml: typeof import('yaml'), file: string, lines: LineCounter, problems: Problems) {
    this.yaml = yaml;
    this.file = file;
    this.lines = lines;
    this.problems = problems;
  }

  originAt(offset: number): Origin {
    const { line, col } = this.lines.linePos(offset);
    return { kind: 'file', file: this.file, line: Math.max(1, line), column: Math.max(1, col) };
  }

  /** Undefined after a problem was noted. */
  node(parsed: ParsedNode, depth: number): SourceNode | undefined {
    const { yaml } = this;
    const origin = this.originAt(parsed.range[0]);
    if (yaml.isAlias(parsed)) return this.refuse(origin, 'an alias', 'values that are written out');
    if (parsed.anchor !== undefined) return this.refuse(origin, 'an anchor', 'values without anchors');
    if (parsed.tag !== undefined) return this.refuse(origin, 'a tag', 'values without tags');
    if (depth > depthMax) return this.refuse(origin, 'a value', `at most ${depthMax} levels`);
    if (yaml.isScalar(parsed)) return this.scalar(parsed.value, origin);
    if (yaml.isSeq(parsed)) {
      const items = parsed.items.map((item) => this.node(item, depth + 1));
      return items.includes(undefined) ? undefined : { kind: 'list', items: items as SourceNode[], origin };
    }
    return this.map(parsed.items as Pair<ParsedNode, ParsedNode | null>[], origin, depth);
  }

  private scalar(value: unknown, origin: Origin): SourceNode | undefined {
    const isPlain =
      value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
    return isPlain ? { kind: 'scalar', value, origin } : this.refuse(origin, `a ${typeof value}`, 'plain values');
  }

  private map(pairs: Pair<ParsedNode, ParsedNode | null>[], origin: Origin, depth: number): SourceNode | undefined {
    const entries = new Map<string, SourceEntry>();
    let complete = true;
    for (const { key, value } of pairs) {
      const keyOrigin = this.originAt(key.range[0]);
      const name = this.key(key, keyOrigin);
      const node = value === null ? this.scalar(null, keyOrigin) : this.node(value, depth + 1);
      const isDuplicate = name !== undefined && entries.has(name);
      if (isDuplicate) this.problems.add(keyOrigin, `the key ${quoteShort(name)} is there twice`);
      if (name === undefined || node === undefined || isDuplicate) complete = false;
      else entries.set(name, { keyOrigin, node });
    }
    return complete ? { kind: 'map', entries, origin } : undefined;
  }

  private key(key: ParsedNode, origin: Origin): string | undefined {
    if (!this.yaml.isScalar(key) || key.anchor !== undefined || typeof key.value !== 'string') {
      this.refuse(origin, 'this key', 'names as keys');
      return undefined;
    }
    if (key.value !== '<<') return key.value;
    this.refuse(origin, `the merge key ${quoteShort(key.value)}`, 'values that are written out');
    return undefined;
  }

  private refuse(origin: Origin, given: string, expected: string): undefined {
    this.problems.add(origin, `Cannot use ${given}: expected ${expected}`);
  }
}
