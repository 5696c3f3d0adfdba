/** Tenant: the namespace of everything else, with its quotas. Any thread. */
import { section } from '../../../core/settings/schema-builders.ts';
import { counter, freeText, name, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: name('Name of the tenant.'),
    description: freeText('For people.', 1_024),
    createdAtMs: timeMs('When it was made.'),
    quotas: section(
      {
        connectionsMax: counter('Connections at one time; 0 for no limit.'),
        sessionsMax: counter('Sessions that are kept; 0 for no limit.'),
        topicsMax: counter('Topics with partitions; 0 for no limit.'),
        messagesPerSMax: counter('Messages published per second; 0 for no limit.'),
        bytesPerSMax: counter('Bytes published per second; 0 for no limit.'),
      },
      { description: 'Limits of the tenant over the whole cluster.' },
    ),
  },
  { description: 'A namespace with quotas.' },
);

export const tenantKind = defineKind({ name: 'tenant', tag: 1, version: 1, schema, key: ['tenant'] });
