/** Node: a broker of the cluster in its newest incarnation. Written by the commands of nodes alone. Any thread. */
import { choice, integer, list, section } from '../../../core/settings/schema-builders.ts';
import { limits } from '../limits.ts';
import { counter, freeText, name } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';
import { fraction, nullable, pair } from '../record-schema.ts';

const report = section(
  {
    cpuShare: fraction({ description: 'Part of its processors that is in use.' }),
    memoryBytes: fraction({ description: 'Memory of the process.' }),
    diskFreeBytes: fraction({ description: 'Space for data.' }),
    connections: fraction({ description: 'Clients.' }),
    bytesInPerS: fraction({ description: 'From clients.' }),
    bytesOutPerS: fraction({ description: 'To clients.' }),
  },
  { description: 'What it said of itself last.' },
);

const schema = section(
  {
    node: name('Name of the node.'),
    epoch: counter('Grows with every registration; an older one is fenced.'),
    addresses: list(
      pair(name('Name of a listener.'), freeText('Host and port.', 512), { description: 'Where a listener is.' }),
      { description: 'Where clients and nodes find it.', maxItems: 64 },
    ),
    roles: list(name('Name of a role.'), { description: 'What it does.', maxItems: 16 }),
    rack: freeText('Nodes of one rack fail together; empty for unknown.', limits.nameLengthMax),
    ttlMs: integer({
      description: 'It is out of service after so long without a heartbeat.',
      minimum: limits.ttlMsMin,
      maximum: limits.nodeTtlMsMax,
    }),
    state: choice(['in-service', 'expired', 'unregistered'], { description: 'Whether work is given to it.' }),
    report: nullable(report),
  },
  { description: 'A node of the cluster.' },
);

export const nodeKind = defineKind({ name: 'node', tag: 10, version: 1, schema, key: ['node'], isManaged: true });
