/** `ringmq ctl transaction …`: transactional producers. Main thread of the command's process; run by `commands/ctl.ts`. */
import { EXIT_OK } from '../exit-codes.ts';
import { toFacts, toTable } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface Transaction {
  readonly name: string;
  readonly state: string;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly timeoutMs: number;
  readonly ageMs: number | null;
  readonly partitions: readonly string[];
  readonly groups: readonly string[];
}

const list: Verb = {
  summary: 'the producers, and what they have under way',
  values: [],
  options: [{ long: 'open', help: 'only those with a transaction under way' }],
  run: async ({ options, print }) => {
    const open = options.has('open') ? { open: true } : {};
    const answer = await new AdminClient(options).get<{ readonly transactions: readonly Transaction[] }>(
      '/transactions',
      open,
    );
    const rows = answer.transactions.map((each) => [
      ...[each.name, each.state, each.producerId, each.producerEpoch, each.ageMs ?? '-'],
      ...[each.partitions.length, each.groups.length],
    ]);
    print.result(answer, () => toTable(['NAME', 'STATE', 'PRODUCER', 'EPOCH', 'AGE MS', 'PARTITIONS', 'GROUPS'], rows));
    return EXIT_OK;
  },
};

const describe: Verb = {
  summary: 'a producer and its transaction',
  values: ['NAME'],
  run: async ({ values: [name], options, print }) => {
    const found = await new AdminClient(options).get<Transaction>('/transactions/describe', { name });
    print.result(found, () => transactionText(found));
    return EXIT_OK;
  },
};

const abort: Verb = {
  summary: 'give up the transaction that is under way; its producer is refused until it begins anew',
  values: ['NAME'],
  run: async ({ values: [name], options, print }) => {
    const found = await new AdminClient(options).post<Transaction>('/transactions/abort', { name });
    print.result(found, () => transactionText(found));
    return EXIT_OK;
  },
};

function transactionText(found: Transaction): string {
  return toFacts([
    ['name', found.name],
    ['state', found.state],
    ['producer', found.producerId],
    ['epoch', found.producerEpoch],
    ['time-out', `${found.timeoutMs} ms`],
    ['age', found.ageMs === null ? '-' : `${found.ageMs} ms`],
    ['partitions', found.partitions.length === 0 ? '-' : found.partitions.join(' ')],
    ['groups', found.groups.length === 0 ? '-' : found.groups.join(' ')],
  ]);
}

export const transaction: Group = {
  summary: 'transactional producers',
  connection: httpOptions,
  verbs: new Map([
    ['list', list],
    ['describe', describe],
    ['abort', abort],
  ]),
};
