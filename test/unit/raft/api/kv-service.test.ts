import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PlacementError } from '../../../../src/core/ports/placement.ts';
import { Consistency } from '../../../../src/rpc/generated/ringmq/placement/v1/common.ts';
import {
  type Compare,
  KvServiceService as kv,
  type Operation,
  Relation,
} from '../../../../src/rpc/generated/ringmq/placement/v1/kv.ts';
import { rpcStatus } from '../../../../src/rpc/status.ts';
import { ServerFixture } from './server-fixture.ts';

let fixture: ServerFixture;

beforeEach(async () => {
  fixture = await ServerFixture.start({ callTimeoutMsMax: 2000, receiveBytesMax: 100_000 });
});

afterEach(async () => {
  await fixture.stop();
  expect(fixture.defects).toEqual([]);
});

const none = new Uint8Array(0);
const bytes = (text: string): Buffer => Buffer.from(text);

function setOf(key: string, value: string, more: { requestId?: Uint8Array; returnPrevious?: boolean } = {}) {
  return { key: bytes(key), value: bytes(value), lease: 0, returnPrevious: false, requestId: none, ...more };
}

function rangeOf(key: string, end: string | undefined, more: object = {}) {
  const range = { key: bytes(key), end: end === undefined ? undefined : bytes(end), limit: 0, consistency: 0 as const };
  return { ...range, isReverse: false, keysOnly: false, countOnly: false, ...more };
}

describe('KvService', () => {
  test('set() writes, and tells what was there before when asked', async () => {
    expect((await fixture.call(kv.set, setOf('k', 'one'))).response).toMatchObject({ revision: 1, wasRepeated: false });
    const { response } = await fixture.call(kv.set, setOf('k', 'two', { returnPrevious: true }));
    expect(response?.revision).toBe(2);
    expect(Buffer.from(response?.previous?.value ?? none).toString()).toBe('one');
    expect(response?.previous).toMatchObject({ createRevision: 1, modRevision: 1, version: 1, lease: 0 });
  });

  test('set() passes the request id on, so that a repeat is applied once', async () => {
    const request = setOf('k', 'v', { requestId: Buffer.alloc(16, 1) });
    await fixture.call(kv.set, request);
    const { response } = await fixture.call(kv.set, request);
    expect(response).toMatchObject({ revision: 1, wasRepeated: true });
    expect(fixture.node.revision).toBe(1);
  });

  test('get() and exists() read one key, as fresh as asked for', async () => {
    await fixture.call(kv.set, setOf('k', 'v'));
    const found = await fixture.call(kv.get, { key: bytes('k'), consistency: Consistency.SERIALIZABLE });
    expect(Buffer.from(found.response?.item?.value ?? none).toString()).toBe('v');
    const missing = await fixture.call(kv.get, { key: bytes('x'), consistency: Consistency.UNSPECIFIED });
    expect(missing.response).toEqual({ revision: 1, item: undefined });
    expect((await fixture.call(kv.exists, { key: bytes('k'), consistency: 1 })).response?.exists).toBe(true);
    expect((await fixture.call(kv.exists, { key: bytes('x'), consistency: 1 })).response?.exists).toBe(false);
    expect(fixture.node.queried.map((query) => query.consistency)).toEqual([
      'serializable',
      'linearizable',
      'linearizable',
      'linearizable',
    ]);
  });

  test('range() tells a missing end from an empty one', async () => {
    for (const key of ['a', 'b', 'c']) await fixture.call(kv.set, setOf(key, 'v'));
    const keysOf = async (request: ReturnType<typeof rangeOf>): Promise<string> => {
      const { response } = await fixture.call(kv.range, request);
      return (response?.items ?? []).map(({ key }) => Buffer.from(key).toString()).join('');
    };
    expect(await keysOf(rangeOf('b', undefined))).toBe('b');
    expect(await keysOf(rangeOf('b', ''))).toBe('bc');
    expect(await keysOf(rangeOf('a', 'c'))).toBe('ab');
    expect(await keysOf(rangeOf('a', '', { isReverse: true }))).toBe('cba');
    const page = await fixture.call(kv.range, rangeOf('a', '', { limit: 2, keysOnly: true }));
    expect(page.response).toMatchObject({ count: 3, hasMore: true });
    expect(page.response?.items.map(({ value }) => value.length)).toEqual([0, 0]);
    const count = await fixture.call(kv.range, rangeOf('a', '', { countOnly: true }));
    expect(count.response).toMatchObject({ count: 3, items: [], hasMore: false });
  });

  test('delete() removes one key or a range', async () => {
    for (const key of ['a', 'b', 'c']) await fixture.call(kv.set, setOf(key, key));
    const one = { key: bytes('a'), end: undefined, returnPrevious: true, requestId: none };
    const first = (await fixture.call(kv.delete, one)).response;
    expect(first).toMatchObject({ revision: 4, count: 1 });
    expect(first?.previous.map(({ value }) => Buffer.from(value).toString())).toEqual(['a']);
    const rest = { key: bytes('a'), end: none, returnPrevious: false, requestId: none };
    expect((await fixture.call(kv.delete, rest)).response).toMatchObject({ count: 2, previous: [] });
  });

  test('transaction() runs what its compares choose', async () => {
    await fixture.call(kv.set, setOf('k', 'v'));
    const set = (key: string, value: string): Operation => ({
      operation: { $case: 'set', value: { key: bytes(key), value: bytes(value), lease: 0, returnPrevious: false } },
    });
    const compare: Compare = {
      key: bytes('k'),
      relation: Relation.EQUAL,
      operand: { $case: 'value', value: bytes('v') },
    };
    const read: Operation = { operation: { $case: 'range', value: rangeOf('k', undefined) } };
    const remove: Operation = {
      operation: { $case: 'delete', value: { key: bytes('k'), end: undefined, returnPrevious: false } },
    };
    const request = { compares: [compare], success: [set('k', 'w'), read], failure: [remove], requestId: none };
    const first = (await fixture.call(kv.transaction, request)).response;
    expect(first).toMatchObject({ revision: 2, succeeded: true });
    expect(first?.results.map(({ result }) => result?.$case)).toEqual(['set', 'range']);
    const second = (await fixture.call(kv.transaction, request)).response;
    expect(second).toMatchObject({ succeeded: false });
    expect(second?.results[0].result).toEqual({ $case: 'delete', value: { count: 1, previous: [] } });
  });

  test('transaction() passes on every kind of compare', async () => {
    const operands: Compare['operand'][] = [
      { $case: 'value', value: bytes('x') },
      { $case: 'version', value: 0 },
      { $case: 'createRevision', value: 1 },
      { $case: 'modRevision', value: 2 },
      { $case: 'lease', value: 3 },
    ];
    const relations = [Relation.EQUAL, Relation.NOT_EQUAL, Relation.GREATER, Relation.LESS, Relation.EQUAL];
    const compares = operands.map((operand, i) => ({ key: bytes('k'), relation: relations[i], operand }));
    await fixture.call(kv.transaction, { compares, success: [], failure: [], requestId: none });
    const command = fixture.node.executed[0].command;
    expect(
      command.type === 'transaction' && command.compares.map(({ target, relation }) => [target, relation]),
    ).toEqual([
      ['value', 'equal'],
      ['version', 'not-equal'],
      ['create-revision', 'greater'],
      ['mod-revision', 'less'],
      ['lease', 'equal'],
    ]);
  });

  test('compareAndSet() writes when it finds what is expected, and tells what it found otherwise', async () => {
    const request = { key: bytes('k'), newValue: bytes('new'), lease: 0, requestId: none };
    const missing = { ...request, expected: { $case: 'modRevision', value: 0 } } as const;
    expect((await fixture.call(kv.compareAndSet, missing)).response).toMatchObject({ succeeded: true, revision: 1 });
    const again = (await fixture.call(kv.compareAndSet, missing)).response;
    expect(again?.succeeded).toBe(false);
    expect(Buffer.from(again?.current?.value ?? none).toString()).toBe('new');
    const byValue = { ...request, expected: { $case: 'value', value: bytes('new') } } as const;
    expect((await fixture.call(kv.compareAndSet, byValue)).response?.succeeded).toBe(true);
  });

  test('compareAndSet() takes a missing key for no empty value', async () => {
    const expected = { $case: 'value', value: none } as const;
    const request = { key: bytes('k'), newValue: bytes('new'), lease: 0, requestId: none, expected };
    expect((await fixture.call(kv.compareAndSet, request)).response?.succeeded).toBe(false);
    await fixture.call(kv.set, setOf('k', ''));
    expect((await fixture.call(kv.compareAndSet, request)).response?.succeeded).toBe(true);
  });

  test('compact() passes the revision on', async () => {
    expect((await fixture.call(kv.compact, { revision: 4 })).response).toEqual({ revision: 4 });
  });

  test('bad fields are INVALID_ARGUMENT with their name, and reach no node', async () => {
    const compare = { key: bytes('k'), relation: Relation.EQUAL, operand: undefined };
    const transaction = { compares: [], success: [], failure: [], requestId: none };
    const outcomes = [
      await fixture.call(kv.set, setOf('', 'v')),
      await fixture.call(kv.set, setOf('k', 'v', { requestId: Buffer.alloc(15) })),
      await fixture.call(kv.get, { key: bytes('k'), consistency: 9 as never }),
      await fixture.call(kv.get, { key: none, consistency: 0 }),
      await fixture.call(kv.range, rangeOf('', '')),
      await fixture.call(kv.delete, { key: none, end: undefined, returnPrevious: false, requestId: none }),
      await fixture.call(kv.compact, { revision: 0 }),
      await fixture.call(kv.transaction, { ...transaction, compares: [compare] }),
      await fixture.call(kv.transaction, { ...transaction, compares: [{ ...compare, relation: 7 as never }] }),
      await fixture.call(kv.transaction, { ...transaction, success: [{ operation: undefined }] }),
      await fixture.call(kv.transaction, {
        ...transaction,
        failure: [{ operation: { $case: 'range', value: rangeOf('', '') } }],
      }),
      await fixture.call(kv.compareAndSet, {
        ...{ key: bytes('k'), newValue: none, lease: 0, requestId: none },
        expected: undefined,
      }),
    ];
    expect(outcomes.map(({ status }) => status)).toEqual(outcomes.map(() => rpcStatus.INVALID_ARGUMENT));
    expect(outcomes.map(({ code, field }) => `${code} ${field}`)).toEqual([
      'EMPTY_KEY key',
      'INVALID_ARGUMENT request_id',
      'INVALID_ARGUMENT consistency',
      'EMPTY_KEY key',
      'EMPTY_KEY key',
      'EMPTY_KEY key',
      'INVALID_ARGUMENT revision',
      'INVALID_ARGUMENT compares[0].operand',
      'INVALID_ARGUMENT compares[0].relation',
      'INVALID_ARGUMENT success[0]',
      'EMPTY_KEY failure[0].range.key',
      'INVALID_ARGUMENT expected',
    ]);
    expect(fixture.node.executed).toEqual([]);
    expect(fixture.node.queried).toEqual([]);
  });

  test('refusals and errors of the moment carry code and hint', async () => {
    fixture.node.answers.push({ type: 'refused', code: 'VALUE_TOO_LARGE', message: 'The value has too many bytes' });
    const refused = await fixture.call(kv.set, setOf('k', 'v'));
    expect(refused).toMatchObject({ status: rpcStatus.INVALID_ARGUMENT, code: 'VALUE_TOO_LARGE', field: 'value' });
    expect(refused.message).toBe('The value has too many bytes');
    fixture.node.errors.push(new PlacementError('NO_LEADER', 'Nobody leads', '10.0.0.1:7'));
    const lost = await fixture.call(kv.set, setOf('k', 'v'));
    expect(lost).toMatchObject({ status: rpcStatus.UNAVAILABLE, code: 'NO_LEADER', leader: '10.0.0.1:7' });
  });

  test('a call gets what is left of its deadline, and no more than the server allows', async () => {
    await fixture.call(kv.set, setOf('k', 'v'), 700);
    await fixture.call(kv.set, setOf('k', 'v'), 60_000);
    const [short, long] = fixture.node.executed.map(({ timeoutMs }) => timeoutMs);
    expect(short).toBeLessThanOrEqual(700);
    expect(long).toBe(2000);
  });

  test('a request that is too large is refused before it is read', async () => {
    const outcome = await fixture.call(kv.set, setOf('k', 'v'.repeat(200_000)));
    expect(outcome.status).toBe(rpcStatus.RESOURCE_EXHAUSTED);
    expect(fixture.node.executed).toEqual([]);
  });
});

test('KvService hides a defect from the caller and reports it', async () => {
  fixture.node.answers.push({ type: 'done', revision: 1 });
  const outcome = await fixture.call(kv.set, setOf('k', 'v'));
  expect(outcome).toMatchObject({ status: rpcStatus.INTERNAL, code: 'INTERNAL' });
  expect(fixture.defects.splice(0)).toHaveLength(1);
});
