import fc from 'fast-check';
import Type, { type TSchema } from 'typebox';
import { Check } from 'typebox/value';
import { describe, expect, it } from 'vitest';
import { checkNode } from '../../../src/config/check.ts';
import { type SettingSchema, walkSchema } from '../../../src/config/json-schema.ts';
import { loadConfiguration } from '../../../src/config/load.ts';
import { createSchema } from '../../../src/config/schema.ts';
import { nodeOf, Problems } from '../../../src/config/source.ts';
import {
  choice,
  either,
  integer,
  list,
  literal,
  optional,
  section,
  text,
} from '../../../src/core/settings/schema-builders.ts';
import { carrier, parts } from './invented-protocol.ts';

function accepts(schema: TSchema, value: unknown): boolean {
  const problems = new Problems();
  const node = checkNode(schema as SettingSchema, nodeOf(value, { kind: 'program' }), [], problems);
  expect(node === undefined).toBe(problems.count > 0);
  return node !== undefined;
}

describe('checkNode()', () => {
  it('judges as TypeBox does', () => {
    const leaf = fc.oneof(
      fc
        .tuple(fc.integer({ min: -5, max: 5 }), fc.integer({ min: -5, max: 5 }))
        .map(([a, b]) => Type.Integer({ minimum: Math.min(a, b), maximum: Math.max(a, b) })),
      fc.constant(Type.Number({ minimum: -1 })),
      fc.constant(Type.Boolean()),
      fc.constant(Type.Literal('a')),
      fc.constant(Type.Enum(['a', 'b', 'c'])),
      fc.constant(Type.Union([Type.Literal('a'), Type.Integer({ minimum: 0 })])),
      fc.constant(Type.String({ minLength: 1, maxLength: 3 })),
      fc.constant(Type.String({ pattern: '^[a-c]*$' })),
    );
    const schema: fc.Arbitrary<TSchema> = fc.oneof(
      leaf,
      leaf.map((items) => Type.Array(items, { maxItems: 2 })),
      fc
        .tuple(leaf, leaf)
        .map(([a, b]) => Type.Object({ a: Type.Optional(a), b: Type.Optional(b) }, { additionalProperties: false })),
    );
    const scalar = fc.oneof(
      fc.constantFrom('', 'a', 'abc', 'abcd', '😀😀😀', true, false),
      fc.integer({ min: -6, max: 6 }),
      fc.double({ min: -2, max: 2, noNaN: true }),
    );
    const value = fc.oneof(
      scalar,
      fc.array(scalar, { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('a', 'b', 'c'), scalar),
    );
    let accepted = 0;
    fc.assert(
      fc.property(schema, value, (one, given) => {
        const verdict = Check(one, given);
        if (verdict) accepted++;
        expect(accepts(one, given)).toBe(verdict);
      }),
      { numRuns: 1000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });

  it('takes whole numbers only as far as they are exact', () => {
    const schema = integer({ description: 'n', minimum: 0, maximum: Number.MAX_VALUE });
    expect(accepts(schema, 2 ** 53 - 1)).toBe(true);
    expect(accepts(schema, 2 ** 53)).toBe(false);
    expect(accepts(schema, Number.POSITIVE_INFINITY)).toBe(false);
  });
});

describe('the builders', () => {
  it('make what TypeBox makes', () => {
    const plain = (schema: TSchema): unknown => JSON.parse(JSON.stringify(schema));
    const d = { description: 'd' };
    const own = section(
      {
        a: integer({ ...d, minimum: 1, maximum: 2 }),
        b: optional(text(d)),
        c: list(text(d), { ...d, maxItems: 3 }),
        e: either([literal('x'), text(d)], d),
      },
      d,
    );
    const theirs = Type.Object(
      {
        a: Type.Integer({ ...d, minimum: 1, maximum: 2 }),
        b: Type.Optional(Type.String(d)),
        c: Type.Array(Type.String(d), { ...d, maxItems: 3 }),
        e: Type.Union([Type.Literal('x'), Type.String(d)], d),
      },
      d,
    );
    expect(plain(own)).toEqual(plain(theirs));
    expect(plain(choice(['x', 'y'], d))).toMatchObject({ enum: ['x', 'y'] });
  });

  it('fit beside a schema that was made with TypeBox', async () => {
    const settings = Type.Object({
      sizeBytes: Type.Integer({ minimum: 1, maximum: 9, default: 5 }),
      nick: Type.Optional(Type.String()),
    });
    const load = (given: unknown) =>
      loadConfiguration({
        environment: {},
        flags: [],
        parts: [{ name: 'other', defaultPort: 1, settings }],
        settings: { other: given },
      });
    expect((await load({})).protocols.get('other')).toEqual({ sizeBytes: 5 });
    await expect(load({ sizeBytes: 10 })).rejects.toThrow('expected a whole number from 1 to 9');
  });
});

describe('createSchema()', () => {
  it('has a description for every setting, and defaults that are accepted', () => {
    walkSchema(createSchema(parts), (settingPath, schema) => {
      expect(schema.description, settingPath.join('.')).toMatch(/\S/);
      if (schema.default !== undefined)
        expect(accepts(schema as TSchema, schema.default), settingPath.join('.')).toBe(true);
    });
  });

  it.each(['limits', 'config', 'Carrier', 'a b', '__proto__'])('refuses a protocol called %s', (name) => {
    expect(() => createSchema([{ ...carrier, name }])).toThrow('protocol name');
  });

  it('refuses keywords that would not be checked', async () => {
    const settings = Type.Object({ a: Type.Record(Type.String(), Type.String()) });
    const loading = loadConfiguration({
      environment: {},
      flags: [],
      parts: [{ name: 'other', defaultPort: 1, settings }],
    });
    await expect(loading).rejects.toThrow('patternProperties');
  });
});
