/** Session node: all sessions of the node have a record of their owner. Any thread. */
import { section } from '../../../core/settings/schema-builders.ts';
import { name, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    node: name('Node of which no session is without a record.'),
    sinceMs: timeMs('When it had looked through them.'),
  },
  { description: 'A node whose sessions are known to the others.' },
);

export const sessionNodeKind = defineKind({ name: 'session-node', tag: 13, version: 1, schema, key: ['node'] });
