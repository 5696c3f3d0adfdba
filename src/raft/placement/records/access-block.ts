/** Access block: a client, user or address that is kept out, for a time or for good. Any thread. */
import { choice, section } from '../../../core/settings/schema-builders.ts';
import { counter, freeText, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    kind: choice(['client', 'user', 'address'], { description: 'What is blocked.' }),
    value: freeText('Client id, name of the user, or address or range.', 1_024),
    reason: freeText('For people.', 1_024),
    createdAtMs: timeMs('When it was made.'),
    untilMs: counter('When it ends, milliseconds since 1970; 0 for never.'),
  },
  { description: 'Somebody who is kept out.' },
);

export const accessBlockKind = defineKind({
  name: 'access-block',
  tag: 12,
  version: 1,
  schema,
  key: ['tenant', 'kind', 'value'],
});
