/** Consumer group: members that share the partitions of topics. Any thread. */
import { integer, list, section } from '../../../core/settings/schema-builders.ts';
import { limits } from '../limits.ts';
import { counter, freeText, name, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const partitionNumber = integer({
  description: 'Number of a partition.',
  minimum: 0,
  maximum: limits.partitionsMax - 1,
});

const schema = section(
  {
    tenant: tenantName(),
    group: name('Name of the group.'),
    coordinator: freeText('Node that coordinates it; empty for none.', limits.nameLengthMax),
    generation: counter('Grows with every assignment of partitions.'),
    leader: freeText('Member that assigns the partitions; empty for none.', limits.nameLengthMax),
    assignor: freeText('How partitions are assigned.', 64),
    updatedAtMs: timeMs('When it was last changed.'),
    members: list(
      section(
        {
          member: name('Name of the member.'),
          client: freeText('Name that its client gives.', limits.nameLengthMax),
          node: freeText('Node that it is connected to.', limits.nameLengthMax),
          assignment: list(
            section(
              {
                topic: name('Name of a topic.'),
                partitions: list(partitionNumber, {
                  description: 'Partitions of the topic.',
                  maxItems: limits.partitionsMax,
                }),
              },
              { description: 'Partitions of one topic.' },
            ),
            { description: 'What the member reads.', maxItems: 1_000 },
          ),
        },
        { description: 'A member of the group.' },
      ),
      { description: 'The present members.', maxItems: 10_000 },
    ),
  },
  { description: 'Consumers that share partitions.' },
);

export const consumerGroupKind = defineKind({
  name: 'consumer-group',
  tag: 5,
  version: 1,
  schema,
  key: ['tenant', 'group'],
});
