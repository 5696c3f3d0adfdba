/** Session owner: which node, in which incarnation, keeps the session of a client. Any thread. */
import { section } from '../../../core/settings/schema-builders.ts';
import { counter, freeText, name, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    client: freeText('Name that the client gives.', 1_024),
    node: name('Node that owns the session.'),
    nodeEpoch: counter('Incarnation of the node; an older one has lost the session.'),
    sessionEpoch: counter('Grows when the session moves, and fences the owner before.'),
    expiresAfterMs: counter('How long the session is kept after the client has gone.'),
    connectedAtMs: timeMs('When the client connected last.'),
  },
  { description: 'The owner of a session.' },
);

export const sessionOwnerKind = defineKind({
  name: 'session-owner',
  tag: 6,
  version: 1,
  schema,
  key: ['tenant', 'client'],
});
