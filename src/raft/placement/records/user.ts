/** User: who may connect, with verifiers of the password and never the password. Any thread. */
import { boolean, list, section, text } from '../../../core/settings/schema-builders.ts';
import { freeText, name, tenantName, timeMs } from '../record-fields.ts';
import { defineKind } from '../record-kind.ts';

const mechanism = text({ description: 'How the verifier was made.', minLength: 1, maxLength: 64 });
const verifier = text({
  description: 'Salt, parameters and hash, in the text form of the mechanism.',
  minLength: 0,
  maxLength: 4_096,
  writeOnly: true,
});
const common = {
  tenant: tenantName(),
  user: name('Name that the client gives.'),
};
const flags = {
  isSuperuser: boolean({ description: 'Permissions are not asked for.' }),
  isEnabled: boolean({ description: 'Whether the user may connect.' }),
  createdAtMs: timeMs('When it was made.'),
};

/** Version 1 had one verifier, whose kind stood beside it. */
const first = section({ ...common, mechanism, verifier, ...flags }, { description: 'A user of a tenant.' });

const schema = section(
  {
    ...common,
    verifiers: list(verifier, {
      description: 'One for each way to prove the password; each names its kind.',
      maxItems: 8,
    }),
    ...flags,
    isAdministrator: boolean({ description: 'Whether the administration API may be used.' }),
    groups: list(name('Name of a group.'), { description: 'Groups that rules may be about.', maxItems: 64 }),
    clients: list(freeText('A client id.', 1_024), {
      description: 'Client ids that it may use; none for any.',
      maxItems: 1_000,
    }),
    addresses: list(freeText('An address or a range.', 64), {
      description: 'Where it may come from; none for everywhere.',
      maxItems: 100,
    }),
    description: freeText('For people.', 1_024),
    changedAtMs: timeMs('When it was last changed.'),
  },
  { description: 'A user of a tenant.' },
);

interface FirstVersion {
  readonly tenant: string;
  readonly user: string;
  readonly verifier: string;
  readonly isSuperuser: boolean;
  readonly isEnabled: boolean;
  readonly createdAtMs: number;
}

function fromFirst({ tenant, user, verifier: only, isSuperuser, isEnabled, createdAtMs }: FirstVersion): object {
  const own = { tenant, user, verifiers: only === '' ? [] : [only], isSuperuser, isEnabled, createdAtMs };
  const added = { isAdministrator: false, groups: [], clients: [], addresses: [], description: '' };
  return { ...own, ...added, changedAtMs: createdAtMs };
}

export const userKind = defineKind({
  name: 'user',
  tag: 2,
  version: 2,
  schema,
  key: ['tenant', 'user'],
  older: [{ version: 1, schema: first, upgrade: fromFirst }],
});
