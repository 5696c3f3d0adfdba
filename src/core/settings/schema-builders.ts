/**
 * Builders of TypeBox schemas without TypeBox at run time: the objects are plain JSON Schema, the types are TypeBox's, so
 * `Static<typeof schema>` works. Any thread; imports nothing.
 *
 * The reason is start-up time: importing `typebox` loads some 300 modules and costs about 70 ms of CPU on every thread
 * that does it, of which these few functions are all that a settings schema needs. A schema that was made with TypeBox's
 * own `Type` fits just as well.
 */
import type {
  TArray,
  TBoolean,
  TEnum,
  TInteger,
  TLiteral,
  TObject,
  TOptional,
  TProperties,
  TSchema,
  TString,
  TUnion,
} from 'typebox';

/** What every setting says of itself. A setting without a default must be given, unless it is optional. */
interface Annotations {
  /** One or two sentences for the documentation and for editors. */
  readonly description: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
}

interface IntegerOptions extends Annotations {
  readonly minimum: number;
  readonly maximum: number;
  /** A further demand that JSON Schema has no word for. */
  readonly powerOfTwo?: boolean;
}

interface TextOptions extends Annotations {
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  /** `host-port`: an address as `address.ts` reads it; `listen-address`: the same, or the path of a Unix socket. */
  readonly format?: 'host-port' | 'listen-address';
  /** A secret: never shown and never quoted in a message. */
  readonly writeOnly?: boolean;
}

interface ListOptions extends Annotations {
  readonly minItems?: number;
  readonly maxItems: number;
}

/** A section: a map with exactly these keys. */
export function section<P extends TProperties>(
  properties: P,
  annotations: { readonly description: string },
): TObject<P> {
  const names = Object.keys(properties).filter((name) => !Object.hasOwn(properties[name] as object, '~optional'));
  const required = names.length === 0 ? {} : { required: names };
  return { type: 'object', ...required, properties, ...annotations } as unknown as TObject<P>;
}

/** Marks a setting that may be absent from the effective configuration. */
export function optional<T extends TSchema>(schema: T): TOptional<T> {
  // Where TypeBox keeps its marker too, and not enumerable for the same reason: it is no part of the JSON Schema.
  return Object.defineProperty({ ...schema }, '~optional', { value: true }) as TOptional<T>;
}

export function integer(options: IntegerOptions): TInteger {
  return { type: 'integer', ...options } as unknown as TInteger;
}

export function boolean(annotations: Annotations): TBoolean {
  return { type: 'boolean', ...annotations } as unknown as TBoolean;
}

export function text(options: TextOptions): TString {
  return { type: 'string', ...options } as unknown as TString;
}

/** One of a few fixed words. */
export function choice<const V extends string[]>(values: V, annotations: Annotations): TEnum<V> {
  return { type: 'string', enum: values, ...annotations } as unknown as TEnum<V>;
}

export function literal<const V extends string>(value: V): TLiteral<V> {
  return { type: 'string', const: value } as unknown as TLiteral<V>;
}

export function either<T extends TSchema[]>(alternatives: [...T], annotations: Annotations): TUnion<T> {
  return { anyOf: alternatives, ...annotations } as unknown as TUnion<T>;
}

export function list<T extends TSchema>(items: T, options: ListOptions): TArray<T> {
  return { type: 'array', items, ...options } as unknown as TArray<T>;
}
