/** Session owner: which node, in which incarnation, has the session of a name. Any thread. */
import { boolean, section } from '../../../core/settings/schema-builders.ts';
import { counter, freeText, name, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    scope: name('Kind of session: the protocol that has it.'),
    name: freeText('Name of the session, or what stands for one that is too long for a key.', 1_100),
    node: name('Node that owns the session.'),
    nodeEpoch: counter('Incarnation of the node in which it took the session.'),
    sessionEpoch: counter('Another one for each move from node to node.'),
    isLasting: boolean({ description: 'The session is stored on the node, and outlives it.', default: false }),
    takenAtMs: timeMs('When the node took the session.'),
  },
  { description: 'The owner of a session.' },
);

export const sessionOwnerKind = defineKind({
  name: 'session-owner',
  tag: 6,
  version: 1,
  schema,
  key: ['scope', 'name'],
});
