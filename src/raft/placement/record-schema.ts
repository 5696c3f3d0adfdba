/**
 * Bytes of typed records, derived from their schemas: one walk over a schema makes the functions that check and write a
 * value and that read it back. Pure; any thread. The schemas are plain JSON Schema made with
 * `core/settings/schema-builders.ts` and the builders below.
 *
 * ```
 * object  = its properties in the order of the schema, an optional one with a flag(1) before it
 * array   = count item*          pair = first second          text = length utf8
 * integer = varint when the minimum is not negative, otherwise zigzag varint
 * number  = float64(8)           boolean = flag(1)            nullable = flag(1) value
 * ```
 */
import type { TNull, TNumber, TObject, TSchema, TTuple, TUnion } from 'typebox';
import type { ByteReader, ByteWriter } from './bytes.ts';
import { RecordInvalidError } from './errors.ts';

interface Described {
  readonly description: string;
}

/** A finite number that need not be whole. */
export function fraction(options: Described): TNumber {
  return { type: 'number', ...options } as unknown as TNumber;
}

export function nullable<T extends TSchema>(schema: T): TUnion<[T, TNull]> {
  return { anyOf: [schema, { type: 'null' }] } as unknown as TUnion<[T, TNull]>;
}

/** Exactly two values. */
export function pair<A extends TSchema, B extends TSchema>(first: A, second: B, options: Described): TTuple<[A, B]> {
  return { type: 'array', prefixItems: [first, second], ...options } as unknown as TTuple<[A, B]>;
}

export interface ValueCodec {
  /** Throws `RecordInvalidError` with `path` in the message when the value breaks the schema. */
  write(writer: ByteWriter, value: unknown, path: string): void;
  /** Throws `MalformedError`. Checks no limits: they may have been others when it was written. */
  read(reader: ByteReader): unknown;
}

/** What of JSON Schema the builders use. */
interface Node {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
  readonly prefixItems?: readonly Node[];
  readonly anyOf?: readonly Node[];
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
}

export function compileSchema(schema: TObject): ValueCodec {
  return compile(schema as unknown as Node);
}

function compile(node: Node): ValueCodec {
  if (node.anyOf !== undefined) return compileNullable(node.anyOf);
  switch (node.type) {
    case 'object':
      return compileObject(node.properties ?? {});
    case 'array':
      return node.prefixItems === undefined ? compileList(node) : compileFixed(node.prefixItems);
    case 'string':
      return compileText(node);
    case 'integer':
      return compileInteger(node);
    case 'number':
      return {
        write(writer, value, path) {
          if (typeof value !== 'number' || !Number.isFinite(value)) fail(path, 'is not a finite number');
          writer.float64(value);
        },
        read: (reader) => reader.float64(),
      };
    case 'boolean':
      return {
        write(writer, value, path) {
          if (typeof value !== 'boolean') fail(path, 'is not true or false');
          writer.byte(value ? 1 : 0);
        },
        read: (reader) => reader.flag(),
      };
    default:
      throw new Error(`Cannot store a schema of the type "${node.type}"`);
  }
}

function compileObject(properties: Readonly<Record<string, Node>>): ValueCodec {
  const fields = Object.entries(properties).map(([name, node]) => ({
    name,
    isOptional: Object.hasOwn(node, '~optional'),
    codec: compile(node),
  }));
  const names = new Set(fields.map(({ name }) => name));
  return {
    write(writer, value, path) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'is not a record');
      for (const name of Object.keys(value)) {
        if (!names.has(name)) fail(`${path}.${name}`, 'is unknown');
      }
      for (const { name, isOptional, codec } of fields) {
        const field = (value as Readonly<Record<string, unknown>>)[name];
        if (isOptional) {
          writer.byte(field === undefined ? 0 : 1);
          if (field === undefined) continue;
        } else if (field === undefined) {
          fail(`${path}.${name}`, 'is missing');
        }
        codec.write(writer, field, `${path}.${name}`);
      }
    },
    read(reader) {
      const record: Record<string, unknown> = {};
      for (const { name, isOptional, codec } of fields) {
        if (!isOptional || reader.flag()) record[name] = codec.read(reader);
      }
      return record;
    },
  };
}

function compileList({ items, minItems = 0, maxItems = 0 }: Node): ValueCodec {
  const codec = compile(items ?? {});
  return {
    write(writer, value, path) {
      if (!Array.isArray(value)) fail(path, 'is not a list');
      if (value.length < minItems || value.length > maxItems) {
        fail(path, `has ${value.length} items instead of ${minItems} to ${maxItems}`);
      }
      writer.varint(value.length);
      value.forEach((item, index) => {
        codec.write(writer, item, `${path}[${index}]`);
      });
    },
    read(reader) {
      const list: unknown[] = [];
      for (let left = reader.count(); left > 0; left--) list.push(codec.read(reader));
      return list;
    },
  };
}

function compileFixed(nodes: readonly Node[]): ValueCodec {
  const codecs = nodes.map(compile);
  return {
    write(writer, value, path) {
      if (!Array.isArray(value) || value.length !== codecs.length) fail(path, `is not a list of ${codecs.length}`);
      codecs.forEach((codec, index) => {
        codec.write(writer, value[index], `${path}[${index}]`);
      });
    },
    read: (reader) => codecs.map((codec) => codec.read(reader)),
  };
}

function compileNullable(alternatives: readonly Node[]): ValueCodec {
  const node = alternatives.find(({ type }) => type !== 'null');
  if (node === undefined || alternatives.length !== 2) throw new Error('Cannot store a choice of schemas');
  const codec = compile(node);
  return {
    write(writer, value, path) {
      writer.byte(value === null ? 0 : 1);
      if (value !== null) codec.write(writer, value, path);
    },
    read: (reader) => (reader.flag() ? codec.read(reader) : null),
  };
}

function compileText(node: Node): ValueCodec {
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY } = node;
  const words = node.enum === undefined ? null : new Set(node.enum);
  const pattern = node.pattern === undefined ? null : new RegExp(node.pattern, 'u');
  return {
    write(writer, value, path) {
      if (typeof value !== 'string') fail(path, 'is not a text');
      if (!value.isWellFormed()) fail(path, 'is not well-formed Unicode');
      if (value.length < minLength || value.length > maxLength) {
        fail(path, `has ${value.length} characters instead of ${minLength} to ${maxLength}`);
      }
      if (words !== null && !words.has(value)) fail(path, 'is none of the words that it may be');
      if (pattern !== null && !pattern.test(value)) fail(path, `does not match ${node.pattern}`);
      writer.text(value);
    },
    read: (reader) => reader.text(),
  };
}

function compileInteger({ minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER }: Node): ValueCodec {
  const isSigned = minimum < 0;
  const half = Math.floor(Number.MAX_SAFE_INTEGER / 2);
  return {
    write(writer, value, path) {
      if (!Number.isSafeInteger(value)) fail(path, 'is not a whole number');
      const number = value as number;
      if (number < minimum || number > maximum || (isSigned && Math.abs(number) > half)) {
        fail(path, `is ${number}, not from ${minimum} to ${maximum}`);
      }
      writer.varint(isSigned ? (number < 0 ? -number * 2 - 1 : number * 2) : number);
    },
    read(reader) {
      const number = reader.varint();
      if (!isSigned) return number;
      return number % 2 === 1 ? -(number + 1) / 2 : number / 2;
    },
  };
}

function fail(path: string, problem: string): never {
  throw new RecordInvalidError(`${path} ${problem}`);
}
