/** Fields of the requests about queues, each checked by hand: what is wrong is named. Lives on the main thread. */
import type { QueueSettings, Receipt, Settlement, SettlementAction } from '../../core/ports/queues.ts';
import { defaultQueueSettings } from '../../core/queues/queue-settings.ts';
import type { StreamCatalog } from '../../core/streams/stream-catalog.ts';
import { Fields } from './streams-fields.ts';

const numberNames = [
  ...(['visibilityMs', 'deliveriesMax', 'ttlMs', 'guardEvery'] as const),
  ...(['holesMax', 'readAheadMax', 'bufferBytesMax'] as const),
];
const choiceNames = ['expired', 'order', 'consumers', 'priority', 'settlement', 'deliveryCount'] as const;
const redeliveryNames = ['baseMs', 'factor', 'maxMs', 'jitter'] as const;
const receiptsMax = 1000;

/** The field `settings`; which values are allowed say the queues. `known`: what stays where nothing is given. */
export async function readQueueSettings(
  fields: Fields,
  catalog: StreamCatalog,
  known: QueueSettings = defaultQueueSettings,
): Promise<Partial<QueueSettings>> {
  const names = [...numberNames, ...choiceNames, 'redelivery', 'deadLetterStream'];
  const given = objectOf(fields, 'settings', names);
  const settings = new Map<string, unknown>();
  for (const name of numberNames) {
    if (given.value(name) === null) settings.set(name, null);
    else if (given.value(name) !== undefined) settings.set(name, given.integer(name, 0, 1));
  }
  for (const name of choiceNames) if (given.value(name) !== undefined) settings.set(name, given.text(name));
  if (given.value('redelivery') !== undefined) settings.set('redelivery', readRedelivery(given, known.redelivery));
  const dead = given.value('deadLetterStream');
  if (dead === null) settings.set('deadLetterStream', null);
  else if (dead !== undefined) settings.set('deadLetterStream', await deadLetterPartition(given, catalog));
  return Object.fromEntries(settings);
}

function readRedelivery(fields: Fields, known: QueueSettings['redelivery']): QueueSettings['redelivery'] {
  const given = objectOf(fields, 'redelivery', redeliveryNames);
  const numbers = redeliveryNames.map((name) => {
    const value = given.value(name) ?? known[name];
    if (typeof value === 'number' && Number.isFinite(value)) return [name, value] as const;
    throw given.wrong(name, 'must be a number');
  });
  return Object.fromEntries(numbers) as unknown as QueueSettings['redelivery'];
}

/** Dead letters go to one partition, so that their stream has one. */
async function deadLetterPartition(fields: Fields, catalog: StreamCatalog): Promise<string> {
  const { partitions } = await catalog.find(fields.text('deadLetterStream'));
  if (partitions.length === 1) return partitions[0];
  throw fields.wrong('deadLetterStream', `must be a stream with one partition; it has ${partitions.length}`);
}

function objectOf(fields: Fields, name: string, names: readonly string[]): Fields {
  const value = fields.value(name) ?? {};
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw fields.wrong(name, 'must be an object');
  return new Fields(new Map(Object.entries(value)), names, `${name}.`);
}

/** All partitions of all streams that are named; null when none is. */
export async function readStreams(fields: Fields, catalog: StreamCatalog): Promise<string[] | null> {
  const names = fields.value('streams');
  if (names === undefined) return null;
  if (!Array.isArray(names) || names.length === 0 || !names.every((name) => typeof name === 'string')) {
    throw fields.wrong('streams', 'must be a list of names of streams');
  }
  const partitions: string[] = [];
  for (const name of names) partitions.push(...(await catalog.find(name as string)).partitions);
  return partitions;
}

export function receiptText({ partition, offset, tag }: Receipt): string {
  return `${partition}-${offset}-${tag}`;
}

/** The field `receipts` with what becomes of all of them. */
export function readSettlements(fields: Fields): readonly Settlement[] {
  const texts = fields.value('receipts');
  const isList = Array.isArray(texts) && texts.length > 0 && texts.length <= receiptsMax;
  if (!isList) throw fields.wrong('receipts', `must be a list of 1 to ${receiptsMax} receipts`);
  const action = readAction(fields);
  return texts.map((text: unknown, index) => {
    const match = typeof text === 'string' ? /^(\d{1,4})-(\d{1,16})-(\d{1,16})$/.exec(text) : null;
    if (match === null) throw fields.wrong(`receipts[${index}]`, 'is no receipt');
    const [partition, offset, tag] = match.slice(1).map(Number);
    return { ...action, receipt: { partition, offset, tag } };
  });
}

function readAction(fields: Fields): SettlementAction {
  const action = fields.text('action');
  switch (action) {
    case 'acknowledge':
    case 'release':
    case 'reject':
      return { action };
    case 'fail':
      return { action, delayMs: fields.integer('delayMs', null, 0) };
    case 'extend': {
      const visibilityMs = fields.integer('visibilityMs', null, 0);
      if (visibilityMs === null) throw fields.wrong('visibilityMs', 'must be there to extend');
      return { action, visibilityMs };
    }
    default:
      throw fields.wrong('action', 'must be "acknowledge", "fail", "release", "extend" or "reject"');
  }
}
