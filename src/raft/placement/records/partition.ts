/** Partition: replicas, leader, epochs and in-sync set. Written by the commands of topics and nodes alone. Any thread. */
import { integer, list, section } from '../../../core/settings/schema-builders.ts';
import { limits } from '../limits.ts';
import { counter, freeText, name, tenantName } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    topic: name('Topic that it is a part of.'),
    partition: integer({ description: 'Its number, from 0.', minimum: 0, maximum: limits.partitionsMax - 1 }),
    replicas: list(name('Name of a node.'), {
      description: 'Nodes that keep it, the preferred leader first.',
      maxItems: limits.replicationFactorMax,
    }),
    leader: freeText('Node that takes writes; empty while no member of the in-sync set is in service.', 255),
    leaderEpoch: counter('Grows when the leader changes.'),
    partitionEpoch: counter('Grows with any change of the record.'),
    isr: list(name('Name of a node.'), {
      description: 'Replicas that have everything that was acknowledged.',
      maxItems: limits.replicationFactorMax,
    }),
  },
  { description: 'A partition of a topic.' },
);

export const partitionKind = defineKind({
  name: 'partition',
  tag: 4,
  version: 1,
  schema,
  key: ['tenant', 'topic', 'partition'],
  isManaged: true,
});
