/** Subscription that is known to the whole cluster. Any thread. */
import { boolean, integer, section } from '../../../core/settings/schema-builders.ts';
import { counter, freeText, tenantName } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    client: freeText('Name that the client gives.', 1_024),
    filter: freeText('Topics that it is for.', 65_535),
    group: freeText('Group that shares it; empty for none.', 1_024),
    quality: integer({ description: 'Highest quality of delivery.', minimum: 0, maximum: 2 }),
    isNoLocal: boolean({ description: 'Not what the client itself publishes.' }),
    isRetainAsPublished: boolean({ description: 'The retain flag stays as the publisher set it.' }),
    retainHandling: integer({ description: 'When retained messages are sent.', minimum: 0, maximum: 2 }),
    identifier: counter('Number that deliveries carry; 0 for none.'),
  },
  { description: 'A subscription of a client.' },
);

export const subscriptionKind = defineKind({
  name: 'subscription',
  tag: 7,
  version: 1,
  schema,
  key: ['tenant', 'client', 'filter'],
});
