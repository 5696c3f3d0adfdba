/** `ringmq ctl block …`: who is kept out. Main thread of the command's process; run by `commands/ctl.ts`. */
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { showText, toFacts, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import { tenantField, tenantOption } from './user.ts';
import type { Group, Verb } from './verb.ts';

interface BlockView {
  readonly kind: string;
  readonly value: string;
  readonly reason: string;
  readonly untilMs: number;
}

const whoOptions: readonly OptionSpec[] = [
  { long: 'client', value: 'ID', help: 'a client id' },
  { long: 'user', value: 'NAME', help: 'a user' },
  { long: 'address', value: 'RANGE', help: 'an address, or a range like 10.0.0.0/8' },
];

/** Exactly one of the three. */
function readWho(options: ParsedArguments): { readonly kind: string; readonly value: string } {
  const given = whoOptions.filter(({ long }) => options.has(long));
  if (given.length !== 1) throw new UsageError('Cannot block: expected exactly one of --client, --user and --address');
  const kind = given[0].long;
  return { kind, value: options.text(kind) ?? '' };
}

const add: Verb = {
  summary: 'keep somebody out, and disconnect those who are in',
  values: [],
  options: [
    ...whoOptions,
    { long: 'for', value: 'SECONDS', help: 'how long; for good without it' },
    { long: 'reason', value: 'TEXT', help: 'for people' },
    tenantOption,
  ],
  run: async ({ options, print }) => {
    const reason = options.text('reason');
    const body = {
      ...tenantField(options),
      ...readWho(options),
      ...(options.has('for') ? { seconds: options.integer('for', 1, 1) } : {}),
      ...(reason === undefined ? {} : { reason }),
    };
    const block = await new AdminClient(options).post<BlockView>('/blocks', body);
    print.result(block, () => blockTable([block]));
    return EXIT_OK;
  },
};

const remove: Verb = {
  summary: 'let somebody in again',
  values: [],
  options: [...whoOptions, tenantOption],
  run: async ({ options, print }) => {
    const who = readWho(options);
    const answer = await new AdminClient(options).post('/blocks/delete', { ...tenantField(options), ...who });
    print.result(answer, () => toFacts([['removed', `${who.kind} ${showText(who.value)}`]]));
    return EXIT_OK;
  },
};

const list: Verb = {
  summary: 'who is kept out',
  values: [],
  options: [tenantOption],
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).get<{ readonly blocks: readonly BlockView[] }>(
      '/blocks',
      tenantField(options),
    );
    print.result(answer, () => blockTable(answer.blocks));
    return EXIT_OK;
  },
};

function blockTable(blocks: readonly BlockView[]): string {
  const rows = blocks.map(({ kind, value, untilMs, reason }) => [
    kind,
    showText(value),
    untilMs === 0 ? 'for good' : new Date(untilMs).toISOString(),
    showText(reason) || '-',
  ]);
  return toTable(['KIND', 'VALUE', 'UNTIL', 'REASON'], rows);
}

export const block: Group = {
  summary: 'who is kept out',
  connection: httpOptions,
  verbs: new Map([
    ['add', add],
    ['remove', remove],
    ['list', list],
  ]),
};
