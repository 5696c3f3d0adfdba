/** `ringmq ctl queue …`: queues and their groups. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { OptionSpec } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { toFacts, toTable } from './printer.ts';
import { messageVerbs } from './queue-messages.ts';
import { groupField, groupOption, queueSettingOptions, readQueueSettings } from './queue-settings.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface QueueSummary {
  readonly name: string;
  readonly levels: number;
  readonly partitions: number;
  readonly groups: readonly string[];
  readonly ready: number;
  readonly inFlight: number;
  readonly delayed: number;
  readonly consumers: number;
  readonly deadLettered: number;
  readonly problems: readonly string[];
}

interface GroupState {
  readonly group: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly consumers: readonly { readonly name: string; readonly inFlight: number; readonly credit: number }[];
  readonly ready: number;
  readonly inFlight: number;
  readonly delayed: number;
  readonly held: number;
  readonly dying: number;
  readonly lag: number;
  readonly oldestAgeMs: number | null;
  readonly counters: Readonly<Record<string, number>>;
  readonly partitions: readonly {
    readonly stream: string;
    readonly level: number;
    readonly floor: number;
    readonly position: number;
    readonly holes: number;
  }[];
  readonly problems: readonly string[];
}

interface QueueDescription {
  readonly name: string;
  readonly levels: number;
  readonly ownsStreams: boolean;
  readonly deletesSettled: boolean;
  readonly groups: readonly GroupState[];
  readonly problem: string | null;
}

const startOption: OptionSpec = {
  long: 'start',
  value: 'earliest|latest',
  help: 'where a new group begins (earliest)',
};
/** The most that the API answers at once. */
const pageQueues = 1000;

const create: Verb = {
  summary: 'make a queue, with the group default',
  values: ['NAME'],
  options: [
    { long: 'partitions', value: 'N', help: 'how many, for each level; with several only keys keep their order (1)' },
    { long: 'levels', value: 'N', help: 'levels of priority (1)' },
    { long: 'stream', value: 'STREAM', help: 'read this stream as a queue; can be given several times' },
    startOption,
    ...queueSettingOptions,
  ],
  run: async ({ values: [name], options, print }) => {
    const streams = options.texts('stream');
    const body = {
      name,
      ...(streams.length === 0 ? {} : { streams }),
      ...(options.has('partitions') ? { partitions: options.integer('partitions', 1, 1) } : {}),
      ...(options.has('levels') ? { levels: options.integer('levels', 1, 1) } : {}),
      ...(options.has('start') ? { start: options.text('start') } : {}),
      settings: readQueueSettings(options),
    };
    const made = await new AdminClient(options).post<QueueSummary>('/queues', body);
    print.result(made, () => queueTable([made]));
    return EXIT_OK;
  },
};

const list: Verb = {
  summary: 'the queues, and what is in them',
  values: [],
  run: async ({ options, print }) => {
    const client = new AdminClient(options);
    const queues: QueueSummary[] = [];
    for (let after: string | undefined; ; ) {
      const page = await client.get<{ readonly queues: readonly QueueSummary[]; readonly next: string | null }>(
        '/queues',
        { after, limit: pageQueues },
      );
      queues.push(...page.queues);
      if (page.next === null) break;
      after = page.next;
    }
    print.result({ queues }, () => queueTable(queues));
    return EXIT_OK;
  },
};

function queueTable(queues: readonly QueueSummary[]): string {
  const rows = queues.map((each) => [
    ...[each.name, each.partitions, each.levels, each.groups.length, each.ready, each.inFlight, each.delayed],
    ...[each.consumers, each.problems[0] ?? 'ok'],
  ]);
  const columns = ['PARTITIONS', 'LEVELS', 'GROUPS', 'READY', 'IN FLIGHT', 'DELAYED', 'CONSUMERS', 'STATE'];
  return toTable(['NAME', ...columns], rows);
}

const describe: Verb = {
  summary: 'the groups of a queue: settings, messages, consumers and partitions',
  values: ['NAME'],
  run: async ({ values: [name], options, print }) => {
    const found = await new AdminClient(options).get<QueueDescription>('/queues/describe', { name });
    print.result(found, () => descriptionText(found));
    return EXIT_OK;
  },
};

function descriptionText({ name, levels, ownsStreams, groups, problem }: QueueDescription): string {
  const head = toFacts([
    ['name', name],
    ['levels', levels],
    ['streams', ownsStreams ? 'its own' : 'of others'],
    ['state', problem ?? 'ok'],
  ]);
  return [head, ...groups.map(groupText)].join('\n');
}

function groupText(state: GroupState): string {
  const { group, settings, counters, consumers, partitions, problems } = state;
  const facts = toFacts([
    ['group', group],
    ['state', problems.length === 0 ? 'ok' : problems.join('; ')],
    ...(['ready', 'inFlight', 'delayed', 'held', 'dying', 'lag'] as const).map((each) => [each, state[each]] as const),
    ['oldest', state.oldestAgeMs === null ? '-' : `${state.oldestAgeMs} ms`],
    ...Object.entries(counters).map(([each, count]) => [`${each} since the start`, count] as const),
    ...Object.entries(settings).map(([each, value]) => [each, showSetting(value)] as const),
  ]);
  const places = toTable(
    ['PARTITION', 'STREAM', 'LEVEL', 'SETTLED BELOW', 'READ BELOW', 'UNSETTLED'],
    partitions.map((each, index) => [index, each.stream, each.level, each.floor, each.position, each.holes]),
  );
  const who = toTable(
    ['CONSUMER', 'IN FLIGHT', 'CREDIT'],
    consumers.map((each) => [each.name, each.inFlight, each.credit]),
  );
  return `${facts}\n${places}\n${who}`;
}

function showSetting(value: unknown): string {
  if (value === null) return 'none';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

const remove: Verb = {
  summary: 'delete a queue with its messages, or with --group one of its groups',
  values: ['NAME'],
  options: [groupOption],
  run: async ({ values: [name], options, print }) => {
    const client = new AdminClient(options);
    const group = options.text('group');
    if (group === undefined) await client.post('/queues/delete', { name });
    else await client.post('/queues/groups/delete', { name, group });
    print.result(
      { name, ...(group === undefined ? {} : { group }) },
      () => `deleted  ${name}${group === undefined ? '' : ` ${group}`}\n`,
    );
    return EXIT_OK;
  },
};

const addGroup: Verb = {
  summary: 'add a group: it gets each message of the queue, too',
  values: ['NAME', 'GROUP'],
  options: [startOption, ...queueSettingOptions],
  run: async ({ values: [name, group], options, print }) => {
    const start = options.text('start');
    const body = { name, group, ...(start === undefined ? {} : { start }), settings: readQueueSettings(options) };
    const answer = await new AdminClient(options).post('/queues/groups', body);
    print.result(answer, () => `added  ${name} ${group}\n`);
    return EXIT_OK;
  },
};

const change: Verb = {
  summary: 'change the settings of a group; its consumers begin anew',
  values: ['NAME'],
  options: [groupOption, ...queueSettingOptions],
  run: async ({ values: [name], options, print }) => {
    const settings = readQueueSettings(options);
    if (Object.keys(settings).length === 0) throw new UsageError('Cannot change the queue: expected a setting');
    const answer = await new AdminClient(options).post('/queues/groups/change', {
      name,
      ...groupField(options),
      settings,
    });
    print.result(answer, () => `changed  ${name}\n`);
    return EXIT_OK;
  },
};

const purge: Verb = {
  summary: 'drop the messages that no consumer has',
  values: ['NAME'],
  options: [groupOption],
  run: async ({ values: [name], options, print }) => {
    const body = { name, ...groupField(options) };
    const answer = await new AdminClient(options).post<{ readonly purged: number }>('/queues/purge', body);
    print.result(answer, () => `purged  ${answer.purged}\n`);
    return EXIT_OK;
  },
};

interface Sought {
  readonly partitions: readonly { readonly partition: number; readonly stream: string; readonly next: number }[];
}

const seek: Verb = {
  summary: 'go on at another place: messages come again, or are left out',
  values: ['NAME'],
  options: [
    groupOption,
    { long: 'to', value: 'OFFSET', help: 'or earliest, or latest' },
    { long: 'time', value: 'TIME', help: 'the first messages of this time; milliseconds since 1970, or a date' },
    { long: 'partition', value: 'N', help: 'only this partition, by its number in the description' },
  ],
  notes: 'What is known of the messages is forgotten: deliveries that are out cannot be settled any more.',
  run: async ({ values: [name], options, print }) => {
    const [to, time] = [options.text('to'), options.text('time')];
    if ((to === undefined) === (time === undefined))
      throw new UsageError('Cannot seek: expected one of --to and --time');
    const isWord = to === 'earliest' || to === 'latest';
    const target = isWord ? { to } : to === undefined ? { time } : { offset: options.integer('to', 0) };
    const partition = options.has('partition') ? { partition: options.integer('partition', 0) } : {};
    const body = { name, ...groupField(options), ...target, ...partition };
    const answer = await new AdminClient(options).post<Sought>('/queues/seek', body);
    const rows = answer.partitions.map((each) => [each.partition, each.stream, each.next]);
    print.table(answer, ['PARTITION', 'STREAM', 'NEXT'], rows);
    return EXIT_OK;
  },
};

export const queue: Group = {
  summary: 'queues, their groups and their messages',
  connection: httpOptions,
  verbs: new Map([
    ['create', create],
    ['list', list],
    ['describe', describe],
    ['change', change],
    ['add-group', addGroup],
    ['delete', remove],
    ...messageVerbs,
    ['purge', purge],
    ['seek', seek],
  ]),
};
