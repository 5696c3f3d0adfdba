/** `ringmq ctl delayed …`: records that wait for their time. Main thread of the command's process; run by `commands/ctl.ts`. */
import { CliError, EXIT_OK } from '../exit-codes.ts';
import { showTime } from './fields.ts';
import { toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface Waiting {
  readonly messages: readonly {
    readonly id: string;
    readonly dueMs: number;
    readonly partition: string;
    readonly bytes: number;
  }[];
  readonly isComplete: boolean;
}

const list: Verb = {
  summary: 'records that wait, the next ones first',
  values: [],
  options: [{ long: 'limit', value: 'COUNT', help: 'at most this many, up to 1000 (100)' }],
  run: async ({ options, print }) => {
    const limit = options.integer('limit', 100, 1, 1000);
    const answer = await new AdminClient(options).get<Waiting>('/delayed', { limit });
    print.result(answer, () => {
      const rows = answer.messages.map((each) => [each.id, showTime(each.dueMs), each.partition, each.bytes]);
      return `${toTable(['ID', 'DUE', 'PARTITION', 'BYTES'], rows)}${answer.isComplete ? '' : '…\n'}`;
    });
    return EXIT_OK;
  },
};

const cancel: Verb = {
  summary: 'take a record back before it is written',
  values: ['ID'],
  notes: 'The status is 2 when it is too late, or there is no such record.',
  run: async ({ values: [id], options, print }) => {
    const answer = await new AdminClient(options).post<{ readonly outcome: string }>('/delayed/cancel', { id });
    print.result(answer, () => `${answer.outcome === 'recorded' ? 'cancelled' : answer.outcome}  ${id}\n`);
    if (answer.outcome === 'tooLate') throw new CliError(`Cannot cancel ${id}: it is written, or just being`);
    if (answer.outcome === 'unknown') throw new CliError(`Cannot cancel ${id}: there is none`);
    return EXIT_OK;
  },
};

export const delayed: Group = {
  summary: 'records that wait for their time',
  connection: httpOptions,
  verbs: new Map([
    ['list', list],
    ['cancel', cancel],
  ]),
};
