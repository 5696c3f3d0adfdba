/** `ringmq ctl alarm …`: what is wrong with a broker, and what was. Main thread of the command's process; run by `commands/ctl.ts`. */
import { EXIT_OK } from '../exit-codes.ts';
import { showTime } from './fields.ts';
import { showText, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface Alarm {
  readonly name: string;
  readonly subject: string;
  readonly message: string;
  readonly activatedAtMs: number;
  readonly deactivatedAtMs: number | null;
}

const list: Verb = {
  summary: 'alarms that are active',
  values: [],
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).get<{ readonly alarms: readonly Alarm[] }>('/alarms');
    const rows = answer.alarms.map((each) => [each.name, showTime(each.activatedAtMs), showText(each.message)]);
    print.table(answer, ['ALARM', 'SINCE', 'MESSAGE'], rows);
    return EXIT_OK;
  },
};

const history: Verb = {
  summary: 'alarms that are over, the newest first',
  values: [],
  options: [{ long: 'limit', value: 'COUNT', help: 'at most this many, up to 1000 (100)' }],
  run: async ({ options, print }) => {
    const limit = options.integer('limit', 100, 1, 1000);
    type Past = { readonly alarms: readonly Alarm[]; readonly isComplete: boolean };
    const answer = await new AdminClient(options).get<Past>('/alarms/history', { limit });
    print.result(answer, () => {
      const rows = answer.alarms.map((each) => {
        const { name, activatedAtMs, deactivatedAtMs, message } = each;
        return [name, showTime(activatedAtMs), showTime(deactivatedAtMs ?? activatedAtMs), showText(message)];
      });
      return `${toTable(['ALARM', 'BEGAN', 'ENDED', 'MESSAGE'], rows)}${answer.isComplete ? '' : '…\n'}`;
    });
    return EXIT_OK;
  },
};

const clear: Verb = {
  summary: 'forget alarms that are over',
  values: [],
  notes: 'An alarm that is active ends when its reason does.',
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).delete<{ readonly deleted: number }>('/alarms/history');
    print.result(answer, () => `forgot ${answer.deleted}\n`);
    return EXIT_OK;
  },
};

export const alarm: Group = {
  summary: 'what is wrong with a broker',
  connection: httpOptions,
  verbs: new Map([
    ['list', list],
    ['history', history],
    ['clear', clear],
  ]),
};
