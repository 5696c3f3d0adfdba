import { expect, test } from 'vitest';
import {
  filterOfGroup,
  groupKeyError,
  groupKeyOf,
  groupNameOf,
  shownGroupOf,
} from '../../../../../src/core/sessions/groups/group-key.ts';
import {
  decodeGroup,
  decodeGroupKey,
  encodeGroup,
  groupRecordKey,
  type StoredGroup,
} from '../../../../../src/core/sessions/groups/group-records.ts';
import { TenantNames } from '../../../../../src/core/tenants/tenant-names.ts';

const group: StoredGroup = {
  key: groupKeyOf('tenant', 'name', 'a/+/ü'),
  strategy: 'hash-key',
  positions: [7, 2 ** 40],
  since: [0, 12],
  skips: [{ partition: 1, from: 5, to: 9 }],
  open: [[1, 3, 6], [2 ** 40 - 1]],
  passed: [[], [2 ** 40 + 5, 2 ** 40 + 6]],
  emptySince: Number.POSITIVE_INFINITY,
};

test('decodeGroup() reads what encodeGroup() writes', () => {
  expect(decodeGroup(group.key, encodeGroup(group))).toEqual(group);
  const empty = { ...group, emptySince: 1_700_000_000_000 };
  expect(decodeGroup(group.key, encodeGroup(empty))).toEqual(empty);
  expect(decodeGroupKey(groupRecordKey(group.key))).toBe(group.key);
});

test('decodeGroup() answers null for what is damaged, or of another version', () => {
  const value = encodeGroup(group);
  for (let length = 0; length < value.length; length += 1) {
    expect(decodeGroup(group.key, value.subarray(0, length)), String(length)).toBeNull();
  }
  expect(decodeGroup(group.key, Buffer.concat([value, Buffer.from([0])]))).toBeNull();
  expect(decodeGroupKey(null)).toBeNull();
  expect(decodeGroupKey(Buffer.from([2, 65]))).toBeNull();
});

test('groupKeyError() says what is no name of a group', () => {
  expect(groupKeyError(group.key)).toBeNull();
  expect(groupNameOf(group.key)).toEqual({ tenant: 'tenant', name: 'name', filter: 'a/+/ü' });
  const inner = groupKeyOf('', 'name', new TenantNames('acme').inner('a/+'));
  expect(groupKeyError(inner)).toBeNull();
  expect(filterOfGroup(inner)).toBe('$\0acme/a/+');
  expect(shownGroupOf(inner)).toEqual({ tenant: 'acme', name: 'name', filter: 'a/+' });
  expect(shownGroupOf(group.key)).toEqual(groupNameOf(group.key));
  expect(groupKeyError(groupKeyOf('', 'a\0b', 'c'))).toContain('a tenant, a name and a filter');
  expect(groupKeyError(groupKeyOf('', 'a', ''))).toContain('a tenant, a name and a filter');
  expect(groupKeyError(groupKeyOf('', 'a', 'b'.repeat(70_000)))).toContain('65535');
});
