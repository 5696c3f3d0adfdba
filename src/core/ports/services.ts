/** Everything that the node keeps beside plain streams, as one object for each thread. */
import type { Cursors } from './cursors.ts';
import type { Delayed } from './delayed.ts';
import type { Queues } from './queues.ts';
import type { HalfMessages, Producers, Transactions } from './transactions.ts';

export interface BrokerServices {
  readonly queues: Queues;
  readonly cursors: Cursors;
  readonly delayed: Delayed;
  readonly producers: Producers;
  readonly transactions: Transactions;
  readonly halves: HalfMessages;
}
