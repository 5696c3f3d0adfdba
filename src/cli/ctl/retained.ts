/** `ringmq ctl retained …`: retained messages of a broker. Main thread of the command's process; run by `commands/ctl.ts`. */
import { EXIT_OK } from '../exit-codes.ts';
import { showTime } from './fields.ts';
import { showBytes, showText, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import { tenantField, tenantOption } from './user.ts';
import type { Group, Verb } from './verb.ts';

interface Retained {
  readonly topic: string;
  readonly qos: number;
  readonly payloadBytes: number;
  readonly storedAtMs: number;
  readonly expiresAtMs: number | null;
  readonly tenant: string;
}

interface Page {
  readonly values: readonly Retained[];
  readonly cursor: string | null;
}

const list: Verb = {
  summary: 'those whose topics match',
  values: ['[FILTER]'],
  options: [
    { long: 'limit', value: 'COUNT', help: 'at most this many, up to 1000 (100)' },
    { long: 'cursor', value: 'TEXT', help: 'go on where a list ended; it tells where' },
    tenantOption,
  ],
  run: async ({ values: [filter = '#'], options, print, io }) => {
    const limit = options.integer('limit', 100, 1, 1000);
    const query = { ...tenantField(options), filter, limit, cursor: options.text('cursor') };
    const page = await new AdminClient(options).get<Page>('/retained', query);
    print.result(page, () => {
      const rows = page.values.map((each) => {
        const expires = each.expiresAtMs === null ? '-' : showTime(each.expiresAtMs);
        const { topic, qos, payloadBytes, storedAtMs } = each;
        return [showText(topic), qos, payloadBytes, showTime(storedAtMs), expires];
      });
      return toTable(['TOPIC', 'QOS', 'BYTES', 'STORED', 'EXPIRES'], rows);
    });
    if (page.cursor !== null) io.err(`There may be more: --cursor ${page.cursor}\n`);
    return EXIT_OK;
  },
};

const get: Verb = {
  summary: 'the payload of a topic’s message',
  values: ['TOPIC'],
  options: [tenantOption],
  run: async ({ values: [topic], options, print }) => {
    const value = await new AdminClient(options).get<Retained & { readonly payload: string }>('/retained/value', {
      ...tenantField(options),
      topic,
    });
    print.result(value, () => `${showBytes(Buffer.from(value.payload, 'base64'))}\n`);
    return EXIT_OK;
  },
};

const remove: Verb = {
  summary: 'remove the message of a topic',
  values: ['TOPIC'],
  options: [tenantOption],
  run: async ({ values: [topic], options, print }) => {
    const answer = await new AdminClient(options).post('/retained/delete', { ...tenantField(options), topic });
    print.result(answer, () => `deleted  ${showText(topic)}\n`);
    return EXIT_OK;
  },
};

export const retained: Group = {
  summary: 'retained messages',
  connection: httpOptions,
  verbs: new Map([
    ['list', list],
    ['get', get],
    ['delete', remove],
  ]),
};
