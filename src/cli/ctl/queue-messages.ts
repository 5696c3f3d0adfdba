/** Verbs of `ringmq ctl queue` about single messages. Main thread of the command's process; part of `queue.ts`. */
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { CliError, EXIT_OK } from '../exit-codes.ts';
import { bytesField, headerOption, headersField, keyOptions, readValue, showTime, valueOptions } from './fields.ts';
import { groupField, groupOption } from './queue-settings.ts';
import { type JsonRecord, showField, showHeaders } from './record-json.ts';
import { AdminClient } from './stream-client.ts';
import type { Verb } from './verb.ts';

/** Below the time after which a request is given up. */
const waitMsMax = 8_000;
const countMax = 1_000;

interface Produced {
  readonly appended: readonly { readonly partition: string; readonly offset: number }[];
}

const produce: Verb = {
  summary: 'put a message into a queue',
  values: ['NAME', '[VALUE]'],
  options: [
    ...keyOptions,
    { ...headerOption, help: 'a header; can be given several times' },
    { long: 'priority', value: 'N', help: 'level of priority; 0 is served last (0)' },
    { long: 'timestamp', value: 'TIME', help: 'milliseconds since 1970, or a date like 2026-01-31T12:00:00Z (now)' },
    ...valueOptions,
    { long: 'tombstone', help: 'no value' },
  ],
  notes: 'A VALUE of - is read from standard input.',
  run: async ({ values: [name, text], options, print, io }) => {
    const timestamp = options.text('timestamp');
    const message = {
      ...bytesField('key', options),
      headers: headersField(options),
      ...(timestamp === undefined ? {} : { timestamp }),
      ...(options.has('priority') ? { priority: options.integer('priority', 0, 0, 255) } : {}),
      ...(await readValue(text, options, io)),
    };
    const answer = await new AdminClient(options).post<Produced>('/queues/messages', { name, messages: [message] });
    print.table(
      answer,
      ['STREAM', 'OFFSET'],
      answer.appended.map(({ partition, offset }) => [partition, offset]),
    );
    return EXIT_OK;
  },
};

interface Received {
  readonly messages: readonly (JsonRecord & { readonly receipt: string; readonly deliveryCount: number })[];
}

const receive: Verb = {
  summary: 'take messages; they come again unless they are acknowledged in time',
  values: ['NAME'],
  options: [
    groupOption,
    { long: 'count', value: 'N', help: 'at most so many (1)' },
    { long: 'wait', value: 'MS', help: 'wait so long for the first one (0)' },
    { long: 'visibility', value: 'MS', help: 'time to settle them, in place of that of the group' },
    { long: 'acknowledge', help: 'acknowledge at once: after a crash in between a message may be lost' },
  ],
  run: async ({ values: [name], options, print }) => {
    const client = new AdminClient(options);
    const visibility = options.has('visibility') ? { visibilityMs: options.integer('visibility', 1, 1) } : {};
    const answer = await client.post<Received>('/queues/receive', {
      name,
      ...groupField(options),
      count: options.integer('count', 1, 1, countMax),
      waitMs: options.integer('wait', 0, 0, waitMsMax),
      ...visibility,
    });
    const receipts = answer.messages.map(({ receipt }) => receipt);
    if (options.has('acknowledge') && receipts.length > 0) {
      await client.post('/queues/settle', { name, ...groupField(options), receipts, action: 'acknowledge' });
    }
    const rows = answer.messages.map((each) => [
      each.receipt,
      each.deliveryCount,
      showTime(each.timestamp),
      showField(each.key, each.keyBase64),
      showField(each.value, each.valueBase64),
      showHeaders(each.headers),
    ]);
    print.table(answer, ['RECEIPT', 'DELIVERY', 'TIME', 'KEY', 'VALUE', 'HEADERS'], rows);
    return EXIT_OK;
  },
};

interface Settled {
  readonly settled: readonly { readonly receipt: string; readonly isSettled: boolean }[];
}

/** RECEIPTs as values: the first one is needed, others come as a list with commas. */
function settleVerb(
  summary: string,
  done: string,
  more: readonly OptionSpec[],
  action: (options: ParsedArguments) => Record<string, unknown>,
): Verb {
  return {
    summary,
    values: ['NAME', 'RECEIPT[,…]'],
    options: [groupOption, ...more],
    notes:
      'When a receipt is void, since its time was over for example, the status is 2 and the others are settled all the same.',
    run: async ({ values: [name, list], options, print }) => {
      const body = { name, ...groupField(options), receipts: list.split(','), ...action(options) };
      const answer = await new AdminClient(options).post<Settled>('/queues/settle', body);
      const rows = answer.settled.map(({ receipt, isSettled }) => [receipt, isSettled ? done : 'void']);
      print.table(answer, ['RECEIPT', 'STATE'], rows);
      const void_ = answer.settled.filter(({ isSettled }) => !isSettled).map(({ receipt }) => receipt);
      if (void_.length > 0)
        throw new CliError(`Cannot settle ${void_.join(', ')}: the message is somebody else's now, or gone`);
      return EXIT_OK;
    },
  };
}

const acknowledge = settleVerb('a message is done for good', 'acknowledged', [], () => ({ action: 'acknowledge' }));

const reject = settleVerb(
  'a message cannot be processed: to the dead letters, or away; with --retry it comes again',
  'rejected',
  [
    { long: 'retry', help: 'it failed, and comes again as the settings say' },
    { long: 'delay', value: 'MS', help: 'with --retry: it comes again so much later' },
    { long: 'release', help: 'it comes again at once, and this delivery does not count' },
  ],
  (options) => {
    if (options.has('release')) return { action: 'release' };
    if (!options.has('retry') && !options.has('delay')) return { action: 'reject' };
    return { action: 'fail', ...(options.has('delay') ? { delayMs: options.integer('delay', 0) } : {}) };
  },
);

interface Letters {
  readonly stream: string;
  readonly letters: readonly (JsonRecord & { readonly offset: number })[];
  readonly next: number;
  readonly isEnd: boolean;
}

interface Moved {
  readonly moved: number;
  readonly isEnd: boolean;
}

const deadLetters: Verb = {
  summary: 'messages that failed; with --move back into the queue',
  values: ['NAME'],
  options: [
    groupOption,
    { long: 'limit', value: 'COUNT', help: 'at most this many (100; with --move all)' },
    { long: 'all', help: 'show those that were moved back, too' },
    { long: 'move', help: 'put them into the queue again, each once' },
  ],
  notes:
    'The dead-letter stream keeps what was moved for as long as it keeps anything; "ringmq ctl stream purge" empties it.',
  run: async ({ values: [name], options, print }) => {
    const client = new AdminClient(options);
    const limit = options.has('limit') ? options.integer('limit', 100, 1) : undefined;
    if (options.has('move')) {
      const moved = await moveAll(client, { name, ...groupField(options) }, limit ?? Number.MAX_SAFE_INTEGER);
      print.result({ moved }, () => `moved  ${moved}\n`);
      return EXIT_OK;
    }
    const { letters, stream } = await readAll(
      client,
      { name, ...groupField(options) },
      limit ?? 100,
      options.has('all'),
    );
    const rows = letters.map((each) => [
      each.offset,
      showTime(each.timestamp),
      headerOf(each, 'ringmq-dead-reason'),
      headerOf(each, 'ringmq-dead-deliveries'),
      showField(each.key, each.keyBase64),
      showField(each.value, each.valueBase64),
    ]);
    print.table({ stream, letters }, ['OFFSET', 'DIED', 'REASON', 'DELIVERIES', 'KEY', 'VALUE'], rows);
    return EXIT_OK;
  },
};

type Named = { readonly name: string; readonly group?: string };

async function moveAll(client: AdminClient, named: Named, limit: number): Promise<number> {
  let moved = 0;
  while (moved < limit) {
    const body = { ...named, limit: Math.min(countMax, limit - moved) };
    const answer = await client.post<Moved>('/queues/dead-letters/move', body);
    moved += answer.moved;
    if (answer.isEnd) break;
  }
  return moved;
}

async function readAll(client: AdminClient, named: Named, limit: number, all: boolean): Promise<Letters> {
  const letters: (JsonRecord & { readonly offset: number })[] = [];
  for (let from: number | undefined; ; ) {
    const query = { ...named, from, limit: Math.min(countMax, limit - letters.length), ...(all ? { all } : {}) };
    const page = await client.get<Letters>('/queues/dead-letters', query);
    letters.push(...page.letters);
    if (page.isEnd || letters.length >= limit) return { ...page, letters };
    from = page.next;
  }
}

function headerOf({ headers = [] }: JsonRecord, name: string): string {
  return headers.findLast(({ key }) => key === name)?.value ?? '-';
}

export const messageVerbs: readonly (readonly [string, Verb])[] = [
  ['produce', produce],
  ['receive', receive],
  ['acknowledge', acknowledge],
  ['reject', reject],
  ['dead-letters', deadLetters],
];
