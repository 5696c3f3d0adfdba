/** `ringmq ctl acl …`: rules of access. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { showText, toFacts, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import { tenantField, tenantOption } from './user.ts';
import type { Group, Verb } from './verb.ts';

interface RuleView {
  readonly rule: string;
  readonly source: string;
  readonly order: number;
  readonly permission: string;
  readonly actions: readonly string[];
  readonly users: readonly string[];
  readonly groups: readonly string[];
  readonly clients: readonly string[];
  readonly addresses: readonly string[];
  readonly topics: readonly string[];
  readonly isExact: boolean;
  readonly qos: readonly number[];
  readonly retain: string;
}

/** Status of `check` for "no". */
const EXIT_DENIED = 1;

const ruleOptions: readonly OptionSpec[] = [
  { long: 'action', value: 'connect|publish|subscribe', help: 'what it is about; several times; all without it' },
  { long: 'user', value: 'NAME', help: 'whom it is about; several times; everybody without it' },
  { long: 'anonymous', help: 'it is about clients without a name' },
  { long: 'group', value: 'NAME', help: 'only members of this group; several times' },
  { long: 'client', value: 'ID', help: 'only this client id; several times' },
  { long: 'address', value: 'RANGE', help: 'only from this address or range; several times' },
  {
    long: 'topic',
    value: 'FILTER',
    help: "topics, also with placeholders for the client's own names; several times; all without it",
  },
  { long: 'exact', help: 'a subscription to exactly these filters, and not to what they match' },
  { long: 'qos', value: '0|1|2', help: 'only this quality of service; several times' },
  { long: 'retain', value: 'any|retained|plain', help: 'only publications that are retained, or are not (any)' },
  { long: 'order', value: 'N', help: 'rules are asked from small to large (1000)' },
  { long: 'description', value: 'TEXT', help: 'for people' },
];

function optionalText(options: ParsedArguments, flag: string, field: string): Record<string, string> {
  const text = options.text(flag);
  return text === undefined ? {} : { [field]: text };
}

const add: Verb = {
  summary: 'add a rule',
  values: ['NAME', 'allow|deny'],
  options: [...ruleOptions, tenantOption],
  notes: 'The first rule that matches decides, in the order of --order and, where that is equal, of the names.',
  run: async ({ values: [name, permission], options, print }) => {
    const body = {
      ...tenantField(options),
      name,
      permission,
      actions: options.texts('action'),
      users: [...options.texts('user'), ...(options.has('anonymous') ? [''] : [])],
      groups: options.texts('group'),
      clients: options.texts('client'),
      addresses: options.texts('address'),
      topics: options.texts('topic'),
      exact: options.has('exact'),
      qos: options.texts('qos').map(Number),
      ...optionalText(options, 'retain', 'retain'),
      ...(options.has('order') ? { order: options.integer('order', 0) } : {}),
      ...optionalText(options, 'description', 'description'),
    };
    const answer = await new AdminClient(options).post('/acl', body);
    print.result(answer, () => toFacts([['added', showText(name)]]));
    return EXIT_OK;
  },
};

const list: Verb = {
  summary: 'the rules, in the order in which they are asked',
  values: [],
  options: [tenantOption],
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).get<{ readonly rules: readonly RuleView[] }>(
      '/acl',
      tenantField(options),
    );
    print.result(answer, () => ruleTable(answer.rules));
    return EXIT_OK;
  },
};

function ruleTable(rules: readonly RuleView[]): string {
  const rows = rules.map((rule) => [
    rule.source === 'file' ? 'file' : rule.order,
    showText(rule.rule),
    rule.permission,
    rule.actions.join(',') || 'all',
    who(rule),
    what(rule),
  ]);
  return toTable(['ORDER', 'NAME', 'PERMISSION', 'ACTIONS', 'WHO', 'TOPICS'], rows);
}

function who({ users, groups, clients, addresses }: RuleView): string {
  const part = (name: string, values: readonly string[]): readonly string[] =>
    values.length === 0
      ? []
      : [`${name}=${values.map((each) => (each === '' ? '(anonymous)' : showText(each))).join(',')}`];
  const parts = [
    ...part('user', users),
    ...part('group', groups),
    ...part('client', clients),
    ...part('address', addresses),
  ];
  return parts.join(' ') || 'everybody';
}

function what({ topics, isExact, qos, retain }: RuleView): string {
  const conditions = [
    ...(isExact ? ['exact'] : []),
    ...(qos.length > 0 ? [`qos=${qos.join(',')}`] : []),
    ...(retain === 'any' ? [] : [retain]),
  ];
  return [topics.map(showText).join(' ') || 'all', ...conditions].join(' ');
}

const remove: Verb = {
  summary: 'remove a rule',
  values: ['NAME'],
  options: [tenantOption],
  run: async ({ values: [name], options, print }) => {
    const answer = await new AdminClient(options).post('/acl/delete', { ...tenantField(options), name });
    print.result(answer, () => toFacts([['removed', showText(name)]]));
    return EXIT_OK;
  },
};

interface Answer {
  readonly isAllowed: boolean;
  readonly why: string;
  readonly rule: string | null;
}

const check: Verb = {
  summary: 'whether a client may do something, and why',
  values: ['connect|publish|subscribe', '[TOPIC]'],
  options: [
    { long: 'user', value: 'NAME', help: 'name of the user; without it an anonymous client' },
    { long: 'client', value: 'ID', help: 'client id' },
    { long: 'address', value: 'ADDRESS', help: 'where it comes from' },
    { long: 'certificate', value: 'NAME', help: 'common name of its certificate' },
    { long: 'qos', value: '0|1|2', help: 'quality of service (0)' },
    { long: 'retained', help: 'the publication is retained' },
    tenantOption,
  ],
  notes: 'Status 0: allowed, 1: denied. Answered by the rules in force on the broker that is asked.',
  run: async ({ values: [action, topic], options, print }) => {
    if ((topic === undefined) !== (action === 'connect')) {
      throw new UsageError(`Cannot check "${action}": expected ${action === 'connect' ? 'no topic' : 'a topic'}`);
    }
    const body = {
      ...tenantField(options),
      action,
      ...(topic === undefined ? {} : { topic }),
      ...optionalText(options, 'user', 'user'),
      ...optionalText(options, 'client', 'client'),
      ...optionalText(options, 'address', 'address'),
      ...optionalText(options, 'certificate', 'certificate'),
      qos: options.integer('qos', 0, 0, 2),
      retained: options.has('retained'),
    };
    const answer = await new AdminClient(options).post<Answer>('/acl/check', body);
    print.result(answer, () =>
      toFacts([
        ['allowed', answer.isAllowed ? 'yes' : 'no'],
        ['why', showText(answer.why)],
      ]),
    );
    return answer.isAllowed ? EXIT_OK : EXIT_DENIED;
  },
};

const status: Verb = {
  summary: 'whether rules are in force on a broker',
  values: [],
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).get('/acl/status');
    print.result(answer, () => toFacts(Object.entries(answer).map(([name, value]) => [name, String(value ?? 'none')])));
    return EXIT_OK;
  },
};

export const acl: Group = {
  summary: 'rules: who may connect, publish and subscribe where',
  connection: httpOptions,
  verbs: new Map([
    ['add', add],
    ['list', list],
    ['remove', remove],
    ['check', check],
    ['status', status],
  ]),
};
