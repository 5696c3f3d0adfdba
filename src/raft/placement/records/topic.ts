/** Topic that has partitions. Written by the commands `topic-create` and `topic-delete` alone. Any thread. */
import { integer, section } from '../../../core/settings/schema-builders.ts';
import { limits } from '../limits.ts';
import { counter, name, tenantName } from '../record-fields.ts';
import { defineKind, type RecordOf } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    topic: name('Name of the topic.'),
    epoch: counter('Tells a topic from an older one with the same name.'),
    partitions: integer({ description: 'How many there are.', minimum: 1, maximum: limits.partitionsMax }),
    replicationFactor: integer({
      description: 'Replicas that every partition should have.',
      minimum: 1,
      maximum: limits.replicationFactorMax,
    }),
  },
  { description: 'A topic with partitions.' },
);

export type TopicRecord = RecordOf<typeof schema>;
export const topicKind = defineKind({
  name: 'topic',
  tag: 3,
  version: 1,
  schema,
  key: ['tenant', 'topic'],
  isManaged: true,
});
