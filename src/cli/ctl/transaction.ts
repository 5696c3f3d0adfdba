/** `ringmq ctl kv txn`: compares and operations as flags. Main thread of the command's process; part of `kv.ts`. */
import type { Compare, Operation, RelationName } from '../../rpc/client/transactions.ts';
import type { OperationResult } from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import { toNumber } from '../arguments.ts';
import { EXIT_OK, UsageError } from '../exit-codes.ts';
import { itemColumns, itemRow, jsonItem, toFacts, toTable } from './printer.ts';
import type { Verb } from './verb.ts';

const relations = new Map<string, RelationName>([
  ['=', 'equal'],
  ['!=', 'not-equal'],
  ['>', 'greater'],
  ['<', 'less'],
]);

/** How many words an operation takes, with its name. */
const operationWords = new Map([
  ['set', 3],
  ['delete', 2],
  ['get', 2],
]);

const countWords = (following: readonly string[]): number => operationWords.get(following[0]) ?? 2;

function readNumber(text: string): number {
  const value = toNumber('the right side', text, 0, Number.MAX_SAFE_INTEGER);
  if (!Number.isInteger(value)) throw new UsageError(`Cannot compare with "${text}": expected a whole number`);
  return value;
}

function readCompare([target, key, sign, operand]: readonly string[]): Compare {
  const relation = relations.get(sign);
  if (relation === undefined) throw new UsageError(`Cannot compare by "${sign}": expected =, !=, > or <`);
  switch (target) {
    case 'value':
      return { key, relation, value: operand };
    case 'version':
      return { key, relation, version: readNumber(operand) };
    case 'create-revision':
      return { key, relation, createRevision: readNumber(operand) };
    case 'mod-revision':
      return { key, relation, modRevision: readNumber(operand) };
    case 'lease':
      return { key, relation, lease: readNumber(operand) };
    default:
      throw new UsageError(
        `Cannot compare "${target}": expected value, version, create-revision, mod-revision or lease`,
      );
  }
}

function readOperation([name, key, value = '']: readonly string[]): Operation {
  switch (name) {
    case 'set':
      return { set: key, value };
    case 'delete':
      return { delete: { key } };
    case 'get':
      return { range: { key } };
    default:
      throw new UsageError(`Cannot run operation "${name}": expected set, delete or get`);
  }
}

function toJson({ result }: OperationResult): unknown {
  switch (result?.$case) {
    case 'delete':
      return { type: 'delete', count: result.value.count };
    case 'range':
      return { type: 'get', items: result.value.items.map(jsonItem) };
    default:
      return { type: 'set' };
  }
}

function toText({ result }: OperationResult): string {
  switch (result?.$case) {
    case 'delete':
      return `deleted ${result.value.count}\n`;
    case 'range':
      return toTable(itemColumns, result.value.items.map(itemRow));
    default:
      return 'set\n';
  }
}

export const transactionVerb: Verb = {
  summary: 'compare, then write or read several keys at once',
  values: [],
  options: [
    { long: 'if', value: 'WHAT KEY SIGN X', countValues: () => 4, help: 'must hold; all of them, when repeated' },
    { long: 'then', value: 'OPERATION', countValues: countWords, help: 'done when all hold; may be repeated' },
    { long: 'else', value: 'OPERATION', countValues: countWords, help: 'done otherwise; may be repeated' },
  ],
  notes: [
    'WHAT is value, version, create-revision, mod-revision or lease; SIGN is =, !=, > or <. A missing key has 0.',
    'OPERATION is one of: set KEY VALUE, delete KEY, get KEY.',
    'Example: ringmq ctl kv txn --if version lock = 0 --then set lock me --else get lock',
  ].join('\n'),
  run: async ({ client, options, print }) => {
    const transaction = {
      compares: options.tuples('if').map(readCompare),
      success: options.tuples('then').map(readOperation),
      failure: options.tuples('else').map(readOperation),
    };
    if (transaction.success.length + transaction.failure.length === 0) {
      throw new UsageError('Cannot run transaction: expected --then or --else');
    }
    const { revision, succeeded, results } = await client.transaction(transaction);
    print.result({ revision, succeeded, results: results.map(toJson) }, () => {
      const facts = toFacts([
        ['succeeded', succeeded],
        ['revision', revision],
      ]);
      return facts + results.map(toText).join('');
    });
    return EXIT_OK;
  },
};
