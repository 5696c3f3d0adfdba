/** Configuration: settings that the whole cluster shares, one record per part. Any thread. */
import { section } from '../../../core/settings/schema-builders.ts';
import { limits } from '../limits.ts';
import { freeText, name, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: freeText('Tenant that it is for; empty for the cluster.', limits.nameLengthMax),
    part: name('Part of the broker that it configures.'),
    settings: freeText('Its settings as JSON.', 262_144),
    updatedAtMs: timeMs('When it was last changed.'),
    updatedBy: freeText('Who changed it.', limits.nameLengthMax),
  },
  { description: 'Shared settings of one part.' },
);

export const configurationKind = defineKind({
  name: 'configuration',
  tag: 9,
  version: 1,
  schema,
  key: ['tenant', 'part'],
});
