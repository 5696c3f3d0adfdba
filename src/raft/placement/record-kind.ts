/**
 * What a kind of typed record is: its own keyspace, a schema with a version, and the way from older versions. Pure; any
 * thread. Each file of `records/` defines one with `defineKind`.
 *
 * ```
 * value = version fields…        (the fields as `record-schema.ts` writes them)
 * ```
 */
import type { Static, TObject } from 'typebox';
import type { Bytes } from '../../core/ports/placement.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { MalformedError, RecordInvalidError } from './errors.ts';
import { buildKey, type KeyPart, type KeyShape, parseKey } from './keys.ts';
import { compileSchema } from './record-schema.ts';

type DeepReadonly<T> = { readonly [K in keyof T]: DeepReadonly<T[K]> };
export type RecordOf<S extends TObject> = DeepReadonly<Static<S>>;

/** A schema that records may still be stored with. `upgrade` makes the form of the version after it. */
export interface OlderVersion {
  readonly version: number;
  readonly schema: TObject;
  upgrade(record: never): unknown;
}

export interface KindDefinition<S extends TObject> {
  readonly name: string;
  /** 1 to 255, stored in keys: never used again for something else. */
  readonly tag: number;
  /** Grows with every change of the schema. */
  readonly version: number;
  readonly schema: S;
  /** The fields that make the key, the tenant first where there is one. */
  readonly key: readonly (keyof Static<S> & string)[];
  /** Written by commands of their own alone, which keep what belongs together together. */
  readonly isManaged?: boolean;
  /** Every version since the first, without the present one. */
  readonly older?: readonly OlderVersion[];
}

export interface RecordKind<T> {
  readonly name: string;
  readonly tag: number;
  readonly version: number;
  readonly schema: TObject;
  readonly keyFields: readonly string[];
  readonly keyShape: KeyShape;
  readonly isManaged: boolean;
  /** Throws `RecordInvalidError` when the record breaks the schema. */
  encode(record: T): Bytes;
  /** Older versions are upgraded. Throws `MalformedError`, also for versions that this program does not know. */
  decode(value: Bytes): T;
  /** Throws `RecordInvalidError` when the key would be too long. */
  keyOf(record: T): Bytes;
  /** The key of all its parts, or the prefix of all keys that begin with them. */
  key(...parts: readonly KeyPart[]): Bytes;
  parseKey(key: Bytes): KeyPart[];
}

const scratch = new ByteWriter(1024);

export function defineKind<S extends TObject>(definition: KindDefinition<S>): RecordKind<RecordOf<S>> {
  const { name, tag, version, schema, key, isManaged = false, older = [] } = definition;
  const codec = compileSchema(schema);
  const olderByVersion = new Map(older.map((each) => [each.version, { ...each, codec: compileSchema(each.schema) }]));
  const properties = schema.properties as Readonly<Record<string, { readonly type?: string }>>;
  const keyShape = key.map((field) => (properties[field].type === 'integer' ? 'number' : 'text'));

  function decode(value: Bytes): RecordOf<S> {
    const reader = new ByteReader(value);
    const stored = reader.varint();
    let record: unknown;
    if (stored === version) {
      record = codec.read(reader);
    } else {
      const first = olderByVersion.get(stored);
      if (first === undefined) throw new MalformedError(`A ${name} has the unknown version ${stored}`);
      record = first.codec.read(reader);
      for (let each = stored; each < version; each++) record = olderByVersion.get(each)!.upgrade(record as never);
    }
    reader.end();
    return record as RecordOf<S>;
  }

  return {
    name,
    tag,
    version,
    schema,
    keyFields: key,
    keyShape,
    isManaged,
    encode(record) {
      scratch.reset();
      scratch.varint(version);
      codec.write(scratch, record, name);
      return scratch.finish();
    },
    decode,
    keyOf(record) {
      const parts = key.map((field) => {
        const part = (record as Readonly<Record<string, unknown>>)[field];
        if (typeof part !== 'string' && typeof part !== 'number') {
          throw new RecordInvalidError(`${name}.${field} is missing`);
        }
        return part;
      });
      return buildKey(tag, keyShape, parts);
    },
    key: (...parts) => buildKey(tag, keyShape, parts),
    parseKey: (bytes) => parseKey(tag, keyShape, bytes),
  };
}
