/** User: who may connect, with a verifier of the password and never the password. Any thread. */
import { boolean, section, text } from '../../../core/settings/schema-builders.ts';
import { name, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const schema = section(
  {
    tenant: tenantName(),
    user: name('Name that the client gives.'),
    mechanism: text({ description: 'How the verifier was made.', minLength: 1, maxLength: 64 }),
    verifier: text({
      description: 'Salt, parameters and hash, in the text form of the mechanism.',
      minLength: 0,
      maxLength: 4_096,
      writeOnly: true,
    }),
    isSuperuser: boolean({ description: 'Permissions are not asked for.' }),
    isEnabled: boolean({ description: 'Whether the user may connect.' }),
    createdAtMs: timeMs('When it was made.'),
  },
  { description: 'A user of a tenant.' },
);

export const userKind = defineKind({ name: 'user', tag: 2, version: 1, schema, key: ['tenant', 'user'] });
