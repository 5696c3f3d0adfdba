/** `ringmq ctl kv …`: keys. Main thread of the command's process; run by `commands/ctl.ts`. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { type KeyRange, toRange } from '../../rpc/client/keys.ts';
import type { Expectation } from '../../rpc/client/placement-client.ts';
import type { KeyValue } from '../../rpc/generated/ringmq/placement/v1/common.ts';
import { type OptionSpec, type ParsedArguments, toNumber } from '../arguments.ts';
import { CliError, EXIT_OK, UsageError } from '../exit-codes.ts';
import type { CliIo } from '../io.ts';
import { itemColumns, itemRow, jsonItem, showBytes, toFacts, toTable } from './printer.ts';
import { transactionVerb } from './transaction.ts';
import type { Group, Verb, VerbInput } from './verb.ts';

/** Status of `get` and `exists` without the key, and of a `cas` that found something else. */
const EXIT_NOT_THERE = 1;
const pageItems = 1000;

const serializable: OptionSpec = {
  long: 'serializable',
  help: 'what one server knows; may be behind, needs no quorum',
};
const previous: OptionSpec = { long: 'previous', help: 'print what was there before' };
const pageOptions: readonly OptionSpec[] = [
  { long: 'limit', value: 'COUNT', help: 'at most this many' },
  { long: 'reverse', help: 'the last keys first' },
  { long: 'keys-only', help: 'without values' },
  { long: 'count-only', help: 'print how many there are' },
  serializable,
];

function consistencyOf(options: ParsedArguments): 'linearizable' | 'serializable' {
  return options.has('serializable') ? 'serializable' : 'linearizable';
}

/** `-` is standard input; with --file the value is that file's content. */
async function readValue(text: string | undefined, options: ParsedArguments, io: CliIo): Promise<Uint8Array> {
  const path = options.text('file');
  if ((path === undefined) === (text === undefined)) throw new UsageError('Cannot set: expected VALUE or --file FILE');
  if (text !== undefined) return text === '-' ? buffer(io.stdin) : Buffer.from(text);
  try {
    return readFileSync(path as string);
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
}

function printItems({ print }: VerbInput, items: readonly KeyValue[], facts: object): void {
  print.table({ ...facts, items: items.map(jsonItem) }, itemColumns, items.map(itemRow));
}

const set: Verb = {
  summary: 'write a key',
  values: ['KEY', '[VALUE]'],
  options: [
    { long: 'lease', value: 'ID', help: 'the key goes when this lease ends' },
    { long: 'file', value: 'FILE', help: 'the value is the content of FILE' },
    previous,
  ],
  notes: 'A VALUE of - is read from standard input.',
  run: async ({ client, values, options, print, io }) => {
    const value = await readValue(values[1], options, io);
    const setOptions = { lease: options.integer('lease', 0), returnPrevious: options.has('previous') };
    const result = await client.set(values[0], value, setOptions);
    const before = result.previous === undefined ? null : jsonItem(result.previous);
    const json = { revision: result.revision, ...(setOptions.returnPrevious ? { previous: before } : {}) };
    print.result(json, () => {
      const facts = toFacts([['revision', result.revision]]);
      return result.previous === undefined ? facts : facts + toTable(itemColumns, [itemRow(result.previous)]);
    });
    return EXIT_OK;
  },
};

const get: Verb = {
  summary: 'read a key',
  values: ['KEY'],
  options: [{ long: 'value-only', help: 'print the value as it is and nothing else' }, serializable],
  notes: 'Status 1: there is no such key.',
  run: async ({ client, values: [key], options, print, io }) => {
    const { revision, item } = await client.get(key, { consistency: consistencyOf(options) });
    if (item === undefined) throw new CliError(`Cannot get "${key}": there is no such key`, EXIT_NOT_THERE);
    if (options.has('value-only')) io.out(item.value);
    else print.table({ revision, ...jsonItem(item) }, itemColumns, [itemRow(item)]);
    return EXIT_OK;
  },
};

const exists: Verb = {
  summary: 'say whether a key is there',
  values: ['KEY'],
  options: [serializable],
  notes: 'Status 1: there is no such key.',
  run: async ({ client, values: [key], options, print }) => {
    const result = await client.exists(key, { consistency: consistencyOf(options) });
    print.result(result, () => `${result.exists}\n`);
    return result.exists ? EXIT_OK : EXIT_NOT_THERE;
  },
};

const remove: Verb = {
  summary: 'remove a key, or many',
  values: ['KEY'],
  options: [
    { long: 'prefix', help: 'all keys that begin with KEY' },
    { long: 'end', value: 'END', help: 'all keys from KEY up to END, without END; empty for all that follow' },
    previous,
  ],
  run: async (input) => {
    const { client, values, options, print } = input;
    const returnPrevious = options.has('previous');
    const result = await client.delete(readRange(values[0], options), { returnPrevious });
    const { revision, count } = result;
    const json = { revision, count, ...(returnPrevious ? { previous: result.previous.map(jsonItem) } : {}) };
    print.result(json, () => {
      const facts = toFacts([
        ['deleted', count],
        ['revision', revision],
      ]);
      return returnPrevious ? facts + toTable(itemColumns, result.previous.map(itemRow)) : facts;
    });
    return EXIT_OK;
  },
};

function readRange(key: string, options: ParsedArguments): KeyRange {
  const end = options.text('end');
  if (options.has('prefix')) {
    if (end !== undefined) throw new UsageError('Cannot use --prefix and --end together');
    return { prefix: key };
  }
  return end === undefined ? { key } : { key, end };
}

const range: Verb = {
  summary: 'read the keys from one up to another',
  values: ['FROM', '[END]'],
  options: pageOptions,
  notes: 'Without END: to the last key.',
  run: (input) => readPages(input, { key: input.values[0], end: input.values[1] ?? '' }),
};

const list: Verb = {
  summary: 'read all keys that begin with a prefix',
  values: ['[PREFIX]'],
  options: pageOptions,
  run: (input) => readPages(input, { prefix: input.values[0] ?? '' }),
};

/** Reads page after page until all, or as many as were asked for, are there. */
async function readPages(input: VerbInput, keys: KeyRange): Promise<number> {
  const { client, options, print } = input;
  const consistency = consistencyOf(options);
  if (options.has('count-only')) {
    const { revision, count = 0 } = await client.range(keys, { countOnly: true, consistency });
    print.result({ revision, count }, () => `${count}\n`);
    return EXIT_OK;
  }
  const limit = options.integer('limit', Number.MAX_SAFE_INTEGER, 1);
  const isReverse = options.has('reverse');
  const keysOnly = options.has('keys-only');
  const items: KeyValue[] = [];
  let rest = keys;
  for (;;) {
    const pageLimit = Math.min(pageItems, limit - items.length);
    const page = await client.range(rest, { limit: pageLimit, isReverse, keysOnly, consistency });
    items.push(...page.items);
    const last = page.items.at(-1);
    if (!page.hasMore || last === undefined || items.length >= limit) {
      printItems(input, items, { revision: page.revision, hasMore: page.hasMore });
      return EXIT_OK;
    }
    rest = isReverse ? before(rest, last.key) : after(rest, last.key);
  }
}

/** What is left of a range beyond `key`. */
function after(keys: KeyRange, key: Uint8Array): KeyRange {
  const { end } = toRange(keys);
  return { key: Buffer.concat([key, Buffer.alloc(1)]), ...(end === undefined ? {} : { end }) };
}

function before(keys: KeyRange, key: Uint8Array): KeyRange {
  return { key: toRange(keys).key, end: key };
}

const compareAndSet: Verb = {
  summary: 'write a key if it is as expected',
  values: ['KEY', 'VALUE'],
  options: [
    { long: 'expect', value: 'VALUE', help: 'the present value' },
    { long: 'expect-revision', value: 'REVISION', help: 'the revision of the last write to the key' },
    { long: 'expect-missing', help: 'the key is not there' },
    { long: 'lease', value: 'ID', help: 'the key goes when this lease ends' },
  ],
  notes: 'Status 1: it was not as expected, nothing was written.',
  run: async ({ client, values: [key, value], options, print }) => {
    const lease = options.integer('lease', 0);
    const { revision, succeeded, current } = await client.compareAndSet(key, readExpectation(options), value, {
      lease,
    });
    const json = {
      revision,
      succeeded,
      ...(succeeded ? {} : { current: current === undefined ? null : jsonItem(current) }),
    };
    print.result(json, () => (succeeded ? toFacts([['revision', revision]]) : ''));
    if (succeeded) return EXIT_OK;
    const found = current === undefined ? 'it does not exist' : `it has "${showBytes(current.value)}"`;
    throw new CliError(`Cannot set "${key}": ${found}`, EXIT_NOT_THERE);
  },
};

function readExpectation(options: ParsedArguments): Expectation {
  const given = ['expect', 'expect-revision', 'expect-missing'].filter((flag) => options.has(flag));
  if (given.length !== 1) {
    throw new UsageError('Cannot compare: expected exactly one of --expect, --expect-revision and --expect-missing');
  }
  if (given[0] === 'expect') return { value: options.text('expect') ?? '' };
  return { modRevision: given[0] === 'expect-missing' ? 0 : options.integer('expect-revision', 0, 1) };
}

const compact: Verb = {
  summary: 'forget the history before a revision',
  values: ['REVISION'],
  run: async ({ client, values: [text], print }) => {
    const result = await client.compact(toNumber('REVISION', text, 1, Number.MAX_SAFE_INTEGER));
    print.result(result, () => toFacts([['compacted', result.revision]]));
    return EXIT_OK;
  },
};

export const kv: Group = {
  summary: 'keys and values',
  verbs: new Map([
    ['set', set],
    ['get', get],
    ['delete', remove],
    ['exists', exists],
    ['range', range],
    ['list', list],
    ['cas', compareAndSet],
    ['txn', transactionVerb],
    ['compact', compact],
  ]),
};
