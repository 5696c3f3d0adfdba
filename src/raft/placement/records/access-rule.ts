/** Access rule: who may connect, publish and subscribe where. Any thread. */
import { boolean, choice, integer, list, section } from '../../../core/settings/schema-builders.ts';
import { freeText, name, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    rule: name('Name of the rule.'),
    order: integer({
      description:
        'Rules are asked from the smallest to the largest, equal ones by name; the first that matches decides.',
      minimum: 0,
      maximum: 1_000_000_000,
    }),
    permission: choice(['allow', 'deny'], { description: 'What happens when it matches.' }),
    actions: list(choice(['connect', 'publish', 'subscribe'], { description: 'An action.' }), {
      description: 'What it is about; none for everything.',
      maxItems: 3,
    }),
    users: list(freeText('Name of a user; empty for the anonymous one.', 255), {
      description: 'Whom it is about; none for everybody.',
      maxItems: 1_000,
    }),
    groups: list(name('Name of a group.'), { description: 'Narrows it to members of one of them.', maxItems: 1_000 }),
    clients: list(freeText('A client id.', 1_024), { description: 'Narrows it to these client ids.', maxItems: 1_000 }),
    addresses: list(freeText('An address or a range.', 64), {
      description: 'Narrows it to clients from there.',
      maxItems: 1_000,
    }),
    topics: list(freeText('A topic filter.', 65_535), { description: 'Topics; none for all.', maxItems: 1_000 }),
    isExact: boolean({ description: 'The filters are compared as text.' }),
    qos: list(integer({ description: 'A quality of service.', minimum: 0, maximum: 2 }), {
      description: 'Narrows it to these; none for all.',
      maxItems: 3,
    }),
    retain: choice(['any', 'retained', 'plain'], {
      description: 'Narrows it to publications that are retained, or are not.',
    }),
    description: freeText('For people.', 1_024),
    changedAtMs: timeMs('When it was last changed.'),
  },
  { description: 'A rule of access of a tenant.' },
);

export const accessRuleKind = defineKind({
  name: 'access-rule',
  tag: 11,
  version: 1,
  schema,
  key: ['tenant', 'rule'],
});
