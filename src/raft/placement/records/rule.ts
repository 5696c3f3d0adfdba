/** Rule: what happens with messages of some topics besides their delivery. Any thread. */
import { boolean, list, section } from '../../../core/settings/schema-builders.ts';
import { freeText, name, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    rule: name('Name of the rule.'),
    description: freeText('For people.', 1_024),
    sources: list(freeText('Topics that it is for.', 65_535), { description: 'Where it listens.', maxItems: 100 }),
    statement: freeText('What it selects and computes.', 65_535),
    actions: list(
      section(
        { action: name('Kind of the action.'), settings: freeText('Its settings as JSON.', 65_535) },
        { description: 'Something to do with the result.' },
      ),
      { description: 'Done in this order.', maxItems: 100 },
    ),
    isEnabled: boolean({ description: 'Whether it is applied.' }),
    updatedAtMs: timeMs('When it was last changed.'),
  },
  { description: 'A rule of a tenant.' },
);

export const ruleKind = defineKind({ name: 'rule', tag: 8, version: 1, schema, key: ['tenant', 'rule'] });
