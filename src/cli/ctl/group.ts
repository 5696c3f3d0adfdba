/** `ringmq ctl group …`: groups of readers and their cursors. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { showTime } from './fields.ts';
import { toFacts, toTable } from './printer.ts';
import { readPartition } from './stream.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface GroupSummary {
  readonly name: string;
  readonly state: string;
  readonly generation: number;
  readonly cursors: number;
}

interface GroupDescription extends Omit<GroupSummary, 'cursors'> {
  readonly cursors: readonly {
    readonly stream: string;
    readonly offset: number;
    readonly time: number;
    readonly metadata: string;
    readonly highWatermark?: number;
    readonly lag?: number;
    readonly error?: { readonly code: string; readonly message: string };
  }[];
}

/** The most that the API answers at once. */
const pageGroups = 1000;

const list: Verb = {
  summary: 'the groups that have cursors',
  values: [],
  run: async ({ options, print }) => {
    const client = new AdminClient(options);
    const groups: GroupSummary[] = [];
    for (let after: string | undefined; ; ) {
      const page = await client.get<{ readonly groups: readonly GroupSummary[]; readonly next: string | null }>(
        '/groups',
        { after, limit: pageGroups },
      );
      groups.push(...page.groups);
      if (page.next === null) break;
      after = page.next;
    }
    const rows = groups.map(({ name, state, generation, cursors }) => [name, state, generation, cursors]);
    print.table({ groups }, ['NAME', 'STATE', 'GENERATION', 'CURSORS'], rows);
    return EXIT_OK;
  },
};

const describe: Verb = {
  summary: 'where a group is in each stream, and how far behind',
  values: ['NAME'],
  run: async ({ values: [name], options, print }) => {
    const found = await new AdminClient(options).get<GroupDescription>('/groups/describe', { name });
    print.result(found, () => {
      const facts = toFacts([
        ['name', found.name],
        ['state', found.state === 'claimed' ? 'claimed: it has members' : found.state],
        ['generation', found.generation],
      ]);
      const rows = found.cursors.map((each) => [
        each.stream,
        each.offset,
        each.highWatermark ?? '-',
        each.lag ?? '-',
        showTime(each.time),
        each.error === undefined ? each.metadata : each.error.message,
      ]);
      return `${facts}\n${toTable(['PARTITION', 'OFFSET', 'END', 'LAG', 'COMMITTED', 'NOTE'], rows)}`;
    });
    return EXIT_OK;
  },
};

interface Reset {
  readonly isExecuted: boolean;
  readonly cursors: readonly { readonly stream: string; readonly from: number | null; readonly to: number }[];
}

const reset: Verb = {
  summary: 'move the cursors of a group; only shows what it would do, without --execute',
  values: ['NAME'],
  options: [
    { long: 'stream', value: 'STREAM', help: 'in which stream' },
    { long: 'partition', value: 'N', help: 'only this partition' },
    { long: 'to', value: 'OFFSET', help: 'to an offset, or earliest, or latest' },
    { long: 'time', value: 'TIME', help: 'to the first record of this time; milliseconds since 1970, or a date' },
    { long: 'by', value: 'N', help: 'forwards by so many records, or backwards with a minus: --by=-10' },
    { long: 'execute', help: 'do it' },
  ],
  notes: 'A group that does not exist is made. One that has members is refused: stop them first.',
  run: async ({ values: [name], options, print }) => {
    const stream = options.text('stream');
    if (stream === undefined) throw new UsageError('Cannot reset: expected --stream STREAM');
    const partition = readPartition(options);
    const body = {
      name,
      stream,
      ...(partition === undefined ? {} : { partition }),
      ...targetOf(options),
      execute: options.has('execute'),
    };
    const answer = await new AdminClient(options).post<Reset>('/groups/reset', body);
    print.result(answer, () => {
      const rows = answer.cursors.map((each) => [each.stream, each.from ?? '-', each.to]);
      const note = answer.isExecuted ? '' : '\nNothing was changed: --execute does it.\n';
      return `${toTable(['PARTITION', 'FROM', 'TO'], rows)}${note}`;
    });
    return EXIT_OK;
  },
};

function targetOf(options: ParsedArguments): Record<string, unknown> {
  const given = ['to', 'time', 'by'].filter((flag) => options.has(flag));
  if (given.length !== 1) throw new UsageError('Cannot reset: expected one of --to, --time and --by');
  const to = options.text('to');
  if (to === 'earliest' || to === 'latest') return { to };
  if (to !== undefined) return { offset: options.integer('to', 0) };
  if (options.has('time')) return { time: options.text('time') };
  return { by: options.integer('by', 0, -Number.MAX_SAFE_INTEGER) };
}

const remove: Verb = {
  summary: 'forget a group, or with --stream its cursors there',
  values: ['NAME'],
  options: [{ long: 'stream', value: 'STREAM', help: 'only the cursors in this stream, or partition' }],
  run: async ({ values: [name], options, print }) => {
    const stream = options.text('stream');
    const body = { name, ...(stream === undefined ? {} : { stream }) };
    const answer = await new AdminClient(options).post<{ readonly deleted?: readonly string[] }>(
      '/groups/delete',
      body,
    );
    print.result(answer, () => `deleted  ${answer.deleted === undefined ? name : answer.deleted.join(' ')}\n`);
    return EXIT_OK;
  },
};

export const group: Group = {
  summary: 'groups of readers and their cursors',
  connection: httpOptions,
  verbs: new Map([
    ['list', list],
    ['describe', describe],
    ['reset', reset],
    ['delete', remove],
  ]),
};
