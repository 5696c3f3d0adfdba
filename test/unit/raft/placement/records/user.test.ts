/** Users that were stored by the first version of the record. */
import { expect, test } from 'vitest';
import { boolean, section, text } from '../../../../../src/core/settings/schema-builders.ts';
import { counter, name } from '../../../../../src/raft/placement/record-fields.ts';
import { defineKind } from '../../../../../src/raft/placement/record-kind.ts';
import { userKind } from '../../../../../src/raft/placement/records/user.ts';

const first = defineKind({
  name: 'user',
  tag: 2,
  version: 1,
  schema: section(
    {
      tenant: name('Tenant.'),
      user: name('Name.'),
      mechanism: text({ description: 'Mechanism.' }),
      verifier: text({ description: 'Verifier.' }),
      isSuperuser: boolean({ description: 'Superuser.' }),
      isEnabled: boolean({ description: 'Enabled.' }),
      createdAtMs: counter('Made.'),
    },
    { description: 'A user.' },
  ),
  key: ['tenant', 'user'],
});

test('decode() makes a user of now of one of version 1', () => {
  const old = { tenant: 'acme', user: 'ann', isSuperuser: true, isEnabled: false, createdAtMs: 7 };
  const stored = first.encode({ ...old, mechanism: 'scrypt', verifier: '$scrypt$x' });
  const record = userKind.decode(stored);
  expect(record).toMatchObject({
    ...old,
    verifiers: ['$scrypt$x'],
    isAdministrator: false,
    groups: [],
    changedAtMs: 7,
  });
  expect(userKind.decode(userKind.encode(record))).toEqual(record);
});
