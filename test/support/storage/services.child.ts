/**
 * A broker of the library with queues, delayed messages and transactions under way, in a process of its own that somebody kills: started with
 * its data folder as argument; says `begun` when everything that a later life is asked about is durable.
 */
import { BatchBuilder } from '../../../src/core/batch/batch-builder.ts';
import { batchAttributes } from '../../../src/core/batch/batch-format.ts';
import type { ProducerIdentity } from '../../../src/core/ports/transactions.ts';
import { startBroker } from '../../../src/main/index.ts';
import { append } from './storage-rig.ts';

const broker = await startBroker({ http: false, settings: { data: process.argv[2] } });
const { queues, delayed, transactions } = broker.services;

await queues.create('jobs');
await queues.produce('jobs', [{ value: Buffer.from('settled') }, { value: Buffer.from('taken') }, { value: null }]);
const [settled] = await queues.receive('jobs', { name: 'child', waitMs: 10_000, visibilityMs: 600_000 });
await queues.receive('jobs', { name: 'child', waitMs: 10_000, visibilityMs: 600_000 });
await queues.settle('jobs', 'default', [{ action: 'acknowledge', receipt: settled }]);

await broker.storage.create('later-0');
const record = { timestampMs: Date.now(), value: Buffer.from('in time') };
await delayed.acceptAfter(1_000, { target: 'later-0', record });

const out = await broker.storage.create('out-0');
const write = async (producer: ProducerIdentity, value: string): Promise<void> => {
  const builder = new BatchBuilder({ ...producer, baseSequence: 0, attributes: batchAttributes.transactional });
  builder.add({ timestampMs: 1, value: Buffer.from(value) });
  const { error } = await append(out, builder.build());
  if (error !== null) throw error;
};
const begun = async (name: string, value: string): Promise<ProducerIdentity> => {
  const producer = await transactions.initialize(name, 600_000);
  await transactions.addPartitions(name, producer, ['out-0']);
  await write(producer, value);
  return producer;
};
const committed = await begun('committed', 'kept');
await transactions.addOffsets('committed', committed, 'readers', null, [{ stream: 'in-0', offset: 7 }]);
await begun('open', 'undecided');
await transactions.end('committed', committed, 'commit');
process.stdout.write('begun\n');
