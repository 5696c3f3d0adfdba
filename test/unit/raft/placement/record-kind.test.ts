import type { TObject } from 'typebox';
import { describe, expect, it } from 'vitest';
import {
  boolean,
  choice,
  integer,
  list,
  optional,
  section,
  text,
} from '../../../../src/core/settings/schema-builders.ts';
import { MalformedError, RecordInvalidError } from '../../../../src/raft/placement/errors.ts';
import { defineKind } from '../../../../src/raft/placement/record-kind.ts';
import { fraction, nullable, pair } from '../../../../src/raft/placement/record-schema.ts';
import { nodeKind } from '../../../../src/raft/placement/records/node.ts';
import { partitionKind } from '../../../../src/raft/placement/records/partition.ts';

const description = 'For the test.';
const name = text({ description, minLength: 1, maxLength: 5 });

const everything = section(
  {
    tenant: name,
    word: choice(['left', 'right'], { description }),
    count: integer({ description, minimum: 0, maximum: 1_000_000_000_000 }),
    balance: integer({ description, minimum: -50, maximum: 50 }),
    share: fraction({ description }),
    isGood: boolean({ description }),
    code: text({ description, maxLength: 3, pattern: '^[a-z]*$' }),
    note: optional(text({ description, maxLength: 10 })),
    names: list(name, { description, minItems: 0, maxItems: 2 }),
    ends: pair(name, name, { description }),
    inner: nullable(section({ depth: integer({ description, minimum: 0, maximum: 9 }) }, { description })),
  },
  { description },
);
const kind = defineKind({ name: 'everything', tag: 200, version: 1, schema: everything, key: ['tenant'] });

const good = {
  tenant: 'acme',
  word: 'left',
  count: 1_000_000_000_000,
  balance: -50,
  share: -0.25,
  isGood: true,
  code: 'abc',
  note: 'a note',
  names: ['a', 'ü'],
  ends: ['x', 'y'],
  inner: { depth: 3 },
} as const;

describe('kinds of typed records', () => {
  it('decode() gives back what encode() was given', () => {
    const { note: _, ...withoutNote } = good;
    for (const record of [good, withoutNote, { ...good, inner: null, names: [], balance: 0, code: '' }]) {
      expect(kind.decode(kind.encode(record))).toEqual(record);
    }
    for (let balance = -50; balance <= 50; balance++) {
      expect(kind.decode(kind.encode({ ...good, balance })).balance).toBe(balance);
    }
  });

  it('encode() names the field that breaks the schema', () => {
    const wrong: readonly (readonly [Readonly<Record<string, unknown>>, string])[] = [
      [{ ...good, tenant: '' }, 'everything.tenant has 0 characters'],
      [{ ...good, tenant: '\ud800' }, 'everything.tenant is not well-formed'],
      [{ ...good, tenant: 7 }, 'everything.tenant is not a text'],
      [{ ...good, word: 'up' }, 'everything.word is none'],
      [{ ...good, count: -1 }, 'everything.count is -1'],
      [{ ...good, count: 0.5 }, 'everything.count is not a whole number'],
      [{ ...good, balance: 51 }, 'everything.balance is 51'],
      [{ ...good, share: Number.NaN }, 'everything.share is not a finite number'],
      [{ ...good, isGood: 1 }, 'everything.isGood is not true or false'],
      [{ ...good, code: 'A' }, 'everything.code does not match'],
      [{ ...good, names: ['a', 'b', 'c'] }, 'everything.names has 3 items'],
      [{ ...good, names: ['a', ''] }, 'everything.names[1] has 0 characters'],
      [{ ...good, ends: ['a'] }, 'everything.ends is not a list of 2'],
      [{ ...good, inner: { depth: 10 } }, 'everything.inner.depth is 10'],
      [{ ...good, inner: undefined }, 'everything.inner is missing'],
      [{ ...good, extra: 1 }, 'everything.extra is unknown'],
    ];
    for (const [record, message] of wrong) {
      expect(() => kind.encode(record as never)).toThrow(RecordInvalidError);
      expect(() => kind.encode(record as never)).toThrow(message);
    }
    expect(kind.decode(kind.encode(good))).toEqual(good);
  });

  it('decode() upgrades records of every older version, step by step', () => {
    const first = section({ tenant: name }, { description });
    const second = section({ tenant: name, size: integer({ description, minimum: 0, maximum: 9 }) }, { description });
    const third = section(
      { tenant: name, sizes: list(integer({ description, minimum: 0, maximum: 9 }), { description, maxItems: 9 }) },
      { description },
    );
    const older = [
      { version: 1, schema: first as TObject, upgrade: (record: { tenant: string }) => ({ ...record, size: 4 }) },
      {
        version: 2,
        schema: second as TObject,
        upgrade: ({ tenant, size }: { tenant: string; size: number }) => ({ tenant, sizes: [size] }),
      },
    ];
    const base = { name: 'aging', tag: 201, key: ['tenant'] as const };
    const v1 = defineKind({ ...base, version: 1, schema: first });
    const v2 = defineKind({ ...base, version: 2, schema: second, older: older.slice(0, 1) });
    const v3 = defineKind({ ...base, version: 3, schema: third, older });
    expect(v2.decode(v1.encode({ tenant: 'a' }))).toEqual({ tenant: 'a', size: 4 });
    expect(v3.decode(v1.encode({ tenant: 'a' }))).toEqual({ tenant: 'a', sizes: [4] });
    expect(v3.decode(v2.encode({ tenant: 'a', size: 7 }))).toEqual({ tenant: 'a', sizes: [7] });
    expect(() => v1.decode(v3.encode({ tenant: 'a', sizes: [] }))).toThrow(MalformedError);
  });

  it('decode() throws MalformedError for cut or longer bytes', () => {
    const encoded = kind.encode(good);
    for (let length = 0; length < encoded.length; length++) {
      expect(() => kind.decode(encoded.subarray(0, length))).toThrow(MalformedError);
    }
    expect(() => kind.decode(Buffer.concat([encoded, Buffer.from([0])]))).toThrow(MalformedError);
  });

  it('keeps the bytes of records that are stored', () => {
    const partition = {
      tenant: 't',
      topic: 'p',
      partition: 3,
      replicas: ['a', 'b'],
      leader: 'a',
      leaderEpoch: 300,
      partitionEpoch: 2,
      isr: ['a'],
    };
    expect(Buffer.from(partitionKind.encode(partition)).toString('hex')).toBe(
      '010174017003020161016201' + '61' + 'ac02' + '02' + '010161',
    );
    expect(Buffer.from(partitionKind.keyOf(partition)).toString('hex')).toBe('0004' + '000174' + '000170' + '00000003');
    expect(Buffer.from(nodeKind.key('n1')).toString('hex')).toBe('000a' + '00026e31');
  });
});
