/**
 * `ringmq ctl shared-group …`: groups of shared subscriptions that messages are kept for. Main thread of the command's process; run by
 * `commands/ctl.ts`.
 */
import { EXIT_OK } from '../exit-codes.ts';
import { showText } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface SharedGroups {
  readonly groups: readonly SharedGroupRow[];
  readonly count: number;
  readonly missingWorkers: number;
}

interface SharedGroupRow {
  readonly name: string;
  readonly filter: string;
  readonly strategy: string;
  readonly members: number;
  readonly sessions: number;
  readonly waiting: number;
  readonly isCounted: boolean;
  readonly inFlight: number;
  readonly oldestAtMs: number | null;
  readonly given: number;
  readonly redelivered: number;
  readonly dropped: number;
}

const columns = [
  ...['GROUP', 'FILTER', 'STRATEGY', 'MEMBERS', 'SESSIONS', 'WAITING', 'IN FLIGHT', 'OLDEST S'],
  ...['GIVEN', 'AGAIN', 'DROPPED'],
];

const list: Verb = {
  summary: 'groups that messages are kept for, those with most that waits first',
  values: [],
  options: [
    { long: 'limit', value: 'COUNT', help: 'at most this many, up to 1000 (100)' },
    { long: 'name', value: 'NAME', help: 'groups of this name alone' },
  ],
  notes:
    'A group is kept when a member of it has a stored session. SESSIONS are the stored sessions that are subscribed, MEMBERS the clients\n' +
    'that are there. OLDEST S is the age of the oldest message that waits or is in flight. GIVEN, AGAIN (of those: may have been given before)\n' +
    'and DROPPED are counted since the group was opened on its worker. A + behind WAITING: more waits than is counted.',
  run: async ({ options, print, io }) => {
    const limit = options.integer('limit', 100, 1, 1000);
    const name = options.text('name');
    const query = name === undefined ? { limit } : { limit, name };
    const answer = await new AdminClient(options).get<SharedGroups>('/shared-groups', query);
    const nowMs = Date.now();
    print.table(
      answer,
      columns,
      answer.groups.map((group) => rowOf(group, nowMs)),
    );
    if (answer.count > answer.groups.length) io.err(`${answer.groups.length} of ${answer.count} groups are shown\n`);
    if (answer.missingWorkers > 0) io.err(`${answer.missingWorkers} connection workers did not answer\n`);
    return EXIT_OK;
  },
};

function rowOf(group: SharedGroupRow, nowMs: number): (string | number)[] {
  const { name, filter, strategy, members, sessions, waiting, isCounted, inFlight, oldestAtMs } = group;
  return [
    // That of `$queue/`.
    name === '' ? '-' : showText(name),
    showText(filter),
    strategy,
    ...[members, sessions, isCounted ? waiting : `${waiting}+`, inFlight],
    oldestAtMs === null ? '-' : Math.max(0, Math.round((nowMs - oldestAtMs) / 1000)),
    ...[group.given, group.redelivered, group.dropped],
  ];
}

export const sharedGroup: Group = {
  summary: 'groups of shared subscriptions that messages are kept for',
  connection: httpOptions,
  verbs: new Map([['list', list]]),
};
