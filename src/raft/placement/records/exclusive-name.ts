/** Exclusive name: what one session of the cluster at a time may hold, such as an exclusive subscription. Any thread. */
import { section } from '../../../core/settings/schema-builders.ts';
import { counter, freeText, name, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    name: freeText('What is held, or what stands for a name that is too long for a key.', 1_100),
    owner: freeText('Who holds it, or what stands for it.', 1_100),
    node: name('Node on which it is held.'),
    nodeEpoch: counter('Incarnation of the node; with an older one it is held no longer.'),
    takenAtMs: timeMs('When it was taken.'),
  },
  { description: 'A name that one session holds.' },
);

export const exclusiveNameKind = defineKind({ name: 'exclusive-name', tag: 14, version: 1, schema, key: ['name'] });
