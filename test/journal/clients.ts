/** Which services a run loads, and what it must have seen in the end. Thread of the test. */
import { Random } from '../fuzz/random.ts';
import { DelayedClient } from './delayed-client.ts';
import { HalfClient } from './half-client.ts';
import type { Client } from './link.ts';
import { ProducersClient } from './producers-client.ts';
import { QueuesClient } from './queues-client.ts';
import { type ServiceName, serviceNames } from './store-lines.ts';
import { TransactionsClient } from './transactions-client.ts';

const makers: Record<ServiceName, (random: Random) => Client> = {
  producers: (random) => new ProducersClient(random),
  transactions: (random) => new TransactionsClient(random),
  delayed: (random) => new DelayedClient(random),
  queues: (random) => new QueuesClient(random),
  half: (random) => new HalfClient(random),
};

/** Each with its own chance, so that one does not change what another does. */
export function newClients(seed: number, names: readonly ServiceName[] = serviceNames): readonly Client[] {
  return names.map((name) => makers[name](Random.of(seed, serviceNames.indexOf(name))));
}

/** Counts of all, by service. */
export type ClientCounts = Readonly<Record<string, Record<string, number>>>;

export function countsOf(clients: readonly Client[]): ClientCounts {
  return Object.fromEntries(clients.map(({ name, counts }) => [name, { ...counts }]));
}

/** A checker that saw nothing says nothing: what each one must have met, and has not. */
export function unseen(clients: readonly Client[], counts: ClientCounts): string[] {
  return clients.flatMap(({ name, needs }) =>
    needs.filter((need) => (counts[name]?.[need] ?? 0) === 0).map((need) => `The run has seen no "${need}" of ${name}`),
  );
}
