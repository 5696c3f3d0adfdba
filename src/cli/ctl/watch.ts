/** `ringmq ctl watch`: prints what happens to keys. Main thread of the command's process. */
import { type WatchEvent, WatchEventType } from '../../rpc/generated/ringmq/placement/v1/watch.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { jsonItem, type Printer, showBytes } from './printer.ts';
import type { Group, Verb } from './verb.ts';

function printEvent(print: Printer, { type, item, previous }: WatchEvent): void {
  if (item === undefined) return;
  const name = type === WatchEventType.DELETE ? 'delete' : 'set';
  const json = { type: name, ...jsonItem(item), ...(previous === undefined ? {} : { previous: jsonItem(previous) }) };
  print.result(json, () => {
    const value = name === 'set' ? ` ${showBytes(item.value)}` : '';
    const before = previous === undefined ? '' : ` (was ${showBytes(previous.value)})`;
    return `${item.modRevision} ${name} ${showBytes(item.key)}${value}${before}\n`;
  });
}

const watchVerb: Verb = {
  summary: 'print what happens to keys until interrupted',
  values: ['[KEY]'],
  options: [
    { long: 'prefix', help: 'all keys that begin with KEY; without KEY, all keys' },
    { long: 'end', value: 'END', help: 'all keys from KEY up to END, without END; empty for all that follow' },
    { long: 'from', value: 'REVISION', help: 'first revision to report (what comes after now)' },
    { long: 'previous', help: 'with the value before' },
    { long: 'count', value: 'COUNT', help: 'stop after this many events' },
  ],
  notes: 'One line for each event: revision, set or delete, key, value.',
  run: async ({ client, values: [key], options, print, io }) => {
    const end = options.text('end');
    if (key === undefined && !options.has('prefix')) throw new UsageError('Cannot watch: expected KEY or --prefix');
    if (end !== undefined && options.has('prefix')) throw new UsageError('Cannot use --prefix and --end together');
    const keys = options.has('prefix') ? { prefix: key ?? '' } : { key, ...(end === undefined ? {} : { end }) };
    let left = options.integer('count', Number.MAX_SAFE_INTEGER, 1);
    const abort = new AbortController();
    const removeStop = io.onStop(() => abort.abort());
    const { signal } = abort;
    const watchOptions = { fromRevision: options.integer('from', 0), withPrevious: options.has('previous'), signal };
    try {
      for await (const { events } of client.watch(keys, watchOptions)) {
        for (const event of events.slice(0, left)) printEvent(print, event);
        left -= events.length;
        if (left <= 0) break;
      }
    } finally {
      removeStop();
    }
    return EXIT_OK;
  },
};

export const watch: Group = { summary: watchVerb.summary, verbs: new Map([['', watchVerb]]) };
