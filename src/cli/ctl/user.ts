/** `ringmq ctl user …`: who may connect. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import { jsonBytes, showText, toFacts, toTable } from './printer.ts';
import { askSecret, readSecretFile } from './secret.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface UserView {
  readonly user: string;
  readonly credentials: readonly string[];
  readonly isSuperuser: boolean;
  readonly isAdministrator: boolean;
  readonly isEnabled: boolean;
  readonly groups: readonly string[];
  readonly clients: readonly string[];
  readonly addresses: readonly string[];
  readonly description: string;
}

const pageUsers = 1_000;

export const tenantOption: OptionSpec = { long: 'tenant', value: 'NAME', help: 'tenant (default)' };

const passwordOptions: readonly OptionSpec[] = [
  { long: 'password-file', value: 'FILE', help: 'the password is the content of FILE; otherwise it is asked for' },
  { long: 'hash', value: 'scrypt|argon2id', help: 'how the password is kept (scrypt)' },
  { long: 'scram', value: 'sha-256|sha-512', help: 'keep keys for SCRAM too; can be given for both' },
];
const fieldOptions: readonly OptionSpec[] = [
  { long: 'superuser', value: 'yes|no', help: 'rules are not asked' },
  { long: 'administrator', value: 'yes|no', help: 'may use the administration API' },
  { long: 'group', value: 'NAME', help: 'a group that rules may be about; several times; "" for none' },
  { long: 'client', value: 'ID', help: 'only this client id; several times; "" for any' },
  { long: 'address', value: 'RANGE', help: 'only from this address or range; several times; "" for everywhere' },
  { long: 'description', value: 'TEXT', help: 'for people' },
];
const flags = [
  ['superuser', 'isSuperuser'],
  ['administrator', 'isAdministrator'],
] as const;
const lists = [
  ['group', 'groups'],
  ['client', 'clients'],
  ['address', 'addresses'],
] as const;

export function tenantField(options: ParsedArguments): { readonly tenant?: string } {
  const tenant = options.text('tenant');
  return tenant === undefined ? {} : { tenant };
}

/** Only what is given. */
function readFields(options: ParsedArguments): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [flag, field] of flags) {
    const text = options.text(flag);
    if (text === undefined) continue;
    if (text !== 'yes' && text !== 'no') throw new UsageError(`Cannot use --${flag} "${text}": expected yes or no`);
    fields[field] = text === 'yes';
  }
  for (const [flag, field] of lists) {
    if (options.has(flag)) fields[field] = options.texts(flag).filter((text) => text !== '');
  }
  const description = options.text('description');
  return description === undefined ? fields : { ...fields, description };
}

async function readPassword(options: ParsedArguments, io: CliIo): Promise<Record<string, unknown>> {
  const path = options.text('password-file');
  const secret = path === undefined ? await askSecret(io, 'Password') : readSecretFile(path);
  const hash = options.text('hash');
  const scram = options.texts('scram').map((kind) => `scram-${kind}`);
  return { ...jsonBytes('password', secret), ...(hash === undefined ? {} : { hash }), scram };
}

function userTable(users: readonly UserView[]): string {
  const rows = users.map((each) => [
    showText(each.user),
    each.isEnabled ? 'yes' : 'no',
    each.isSuperuser ? 'yes' : 'no',
    each.isAdministrator ? 'yes' : 'no',
    each.credentials.join(',') || '-',
    each.groups.map(showText).join(',') || '-',
  ]);
  return toTable(['NAME', 'ENABLED', 'SUPERUSER', 'ADMINISTRATOR', 'CREDENTIALS', 'GROUPS'], rows);
}

function userFacts(user: UserView): string {
  const anyOf = (texts: readonly string[]): string => texts.map(showText).join(', ') || 'any';
  return toFacts([
    ['name', showText(user.user)],
    ['enabled', user.isEnabled ? 'yes' : 'no'],
    ['superuser', user.isSuperuser ? 'yes' : 'no'],
    ['administrator', user.isAdministrator ? 'yes' : 'no'],
    ['credentials', user.credentials.join(', ') || 'none'],
    ['groups', user.groups.map(showText).join(', ') || 'none'],
    ['clients', anyOf(user.clients)],
    ['addresses', anyOf(user.addresses)],
    ['description', showText(user.description)],
  ]);
}

const add: Verb = {
  summary: 'make a user',
  values: ['NAME'],
  options: [
    ...passwordOptions,
    { long: 'no-password', help: 'known by a certificate alone' },
    ...fieldOptions,
    tenantOption,
  ],
  notes:
    'The password is typed, or all of standard input. The first user ends the time in which names are not looked at.',
  run: async ({ values: [name], options, print, io }) => {
    const client = new AdminClient(options);
    const fields = { ...tenantField(options), name, ...readFields(options) };
    const password = options.has('no-password') ? {} : await readPassword(options, io);
    const user = await client.post<UserView>('/users', { ...fields, ...password });
    print.result(user, () => userFacts(user));
    return EXIT_OK;
  },
};

const list: Verb = {
  summary: 'the users',
  values: [],
  options: [tenantOption],
  run: async ({ options, print }) => {
    const client = new AdminClient(options);
    const users: UserView[] = [];
    for (;;) {
      const query = { ...tenantField(options), limit: pageUsers, after: users.at(-1)?.user };
      const page = await client.get<{ readonly users: readonly UserView[]; readonly hasMore: boolean }>(
        '/users',
        query,
      );
      users.push(...page.users);
      if (!page.hasMore) break;
    }
    print.result({ users }, () => userTable(users));
    return EXIT_OK;
  },
};

const show: Verb = {
  summary: 'everything about a user but its secrets',
  values: ['NAME'],
  options: [tenantOption],
  run: async ({ values: [name], options, print }) => {
    const query = { ...tenantField(options), name };
    const { users } = await new AdminClient(options).get<{ readonly users: readonly UserView[] }>('/users', query);
    print.result(users[0], () => userFacts(users[0]));
    return EXIT_OK;
  },
};

/** `change`, `enable` and `disable` take other fields of the same. */
function changeVerb(summary: string, options: readonly OptionSpec[], fixed: Record<string, unknown>): Verb {
  return {
    summary,
    values: ['NAME'],
    options: [...options, tenantOption],
    run: async ({ values: [name], options: given, print }) => {
      const body = { ...tenantField(given), name, ...readFields(given), ...fixed };
      const user = await new AdminClient(given).post<UserView>('/users/change', body);
      print.result(user, () => userFacts(user));
      return EXIT_OK;
    },
  };
}

const password: Verb = {
  summary: 'give a user another password',
  values: ['NAME'],
  options: [...passwordOptions, tenantOption],
  notes: 'Keys for SCRAM are made only when they are asked for. Clients that are connected stay.',
  run: async ({ values: [name], options, print, io }) => {
    const client = new AdminClient(options);
    const body = { ...tenantField(options), name, ...(await readPassword(options, io)) };
    const user = await client.post<UserView>('/users/password', body);
    print.result(user, () => userFacts(user));
    return EXIT_OK;
  },
};

const remove: Verb = {
  summary: 'remove a user; its clients are disconnected',
  values: ['NAME'],
  options: [tenantOption],
  run: async ({ values: [name], options, print }) => {
    const answer = await new AdminClient(options).post('/users/delete', { ...tenantField(options), name });
    print.result(answer, () => toFacts([['removed', showText(name)]]));
    return EXIT_OK;
  },
};

export const user: Group = {
  summary: 'who may connect',
  connection: httpOptions,
  verbs: new Map([
    ['add', add],
    ['list', list],
    ['show', show],
    ['change', changeVerb('change what is given, and leave the rest', fieldOptions, {})],
    ['enable', changeVerb('let a user connect again', [], { isEnabled: true })],
    ['disable', changeVerb('keep a user out; its clients are disconnected', [], { isEnabled: false })],
    ['password', password],
    ['remove', remove],
  ]),
};
