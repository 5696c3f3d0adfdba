/** `ringmq ctl slow-subscriptions …`: clients whose messages take long. Main thread of the command's process; run by `commands/ctl.ts`. */
import { EXIT_OK } from '../exit-codes.ts';
import { showTime } from './fields.ts';
import { showText, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface Slow {
  readonly isEnabled: boolean;
  readonly subscriptions: readonly {
    /** Absent: the default one. */
    readonly tenant?: string;
    readonly clientId: string;
    readonly topic: string;
    readonly delayMs: number;
    readonly lastAtMs: number;
  }[];
  readonly missingWorkers: number;
}

const list: Verb = {
  summary: 'the slowest first',
  values: [],
  options: [{ long: 'limit', value: 'COUNT', help: 'at most this many, up to 1000 (100)' }],
  run: async ({ options, print, io }) => {
    const limit = options.integer('limit', 100, 1, 1000);
    const answer = await new AdminClient(options).get<Slow>('/slow-subscriptions', { limit });
    print.result(answer, () => {
      const hasTenants = answer.subscriptions.some(({ tenant }) => tenant !== undefined);
      const rows = answer.subscriptions.map((each) => {
        const { tenant = 'default', clientId, topic, delayMs, lastAtMs } = each;
        const whose = hasTenants ? [showText(tenant)] : [];
        return [delayMs, ...whose, showText(clientId), showText(topic), showTime(lastAtMs)];
      });
      return toTable(['DELAY MS', ...(hasTenants ? ['TENANT'] : []), 'CLIENT', 'TOPIC', 'LAST'], rows);
    });
    if (!answer.isEnabled) io.err('The broker does not measure it: its setting slowSubscriptions.enabled is off\n');
    if (answer.missingWorkers > 0) io.err(`${answer.missingWorkers} connection workers did not answer\n`);
    return EXIT_OK;
  },
};

const clear: Verb = {
  summary: 'begin a new list',
  values: [],
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).delete('/slow-subscriptions');
    print.result(answer, () => 'cleared\n');
    return EXIT_OK;
  },
};

export const slowSubscriptions: Group = {
  summary: 'clients whose messages take long',
  connection: httpOptions,
  verbs: new Map([
    ['list', list],
    ['clear', clear],
  ]),
};
