/**
 * The services as a thread has them from its start: loaded with the first call, since most threads of most nodes never use them, and what
 * they need would make every start longer. Each connection worker and the main thread have one.
 */
import type { MessagePort } from 'node:worker_threads';
import type { Cursors } from '../../../core/ports/cursors.ts';
import type { Delayed } from '../../../core/ports/delayed.ts';
import type { Queues } from '../../../core/ports/queues.ts';
import type { BrokerServices } from '../../../core/ports/services.ts';
import type { HalfMessages, Producers, Transactions } from '../../../core/ports/transactions.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import type { ServicesClient, ServicesClientOptions } from './services-client.ts';

export class LazyServices implements BrokerServices {
  readonly queues: Queues;
  readonly cursors: Cursors;
  readonly delayed: Delayed;
  readonly producers: Producers;
  readonly transactions: Transactions;
  readonly halves: HalfMessages;
  readonly #options: ServicesClientOptions;
  #client: ServicesClient | null = null;
  #loading: Promise<ServicesClient> | null = null;
  /** Of a host that nothing was asked of yet. */
  #port: MessagePort | null = null;
  #isClosed = false;

  constructor(options: ServicesClientOptions) {
    this.#options = options;
    this.queues = this.#part('queues', queueCalls);
    this.cursors = this.#part('cursors', cursorCalls);
    this.delayed = this.#part('delayed', delayedCalls);
    this.producers = this.#part('producers', producerCalls);
    this.transactions = this.#part('transactions', transactionCalls);
    this.halves = {
      ...this.#part<'halves', HalfCalls>('halves', halfCalls),
      onCheck: (group, handler) => this.#onCheck(group, handler),
    };
  }

  /** Calls without an answer. */
  get unanswered(): number {
    return this.#client?.unanswered ?? (this.#loading === null ? 0 : 1);
  }

  /** Goes on with a host, the first one or the next. */
  adopt(port: MessagePort): void {
    if (this.#client !== null || this.#isClosed) {
      if (this.#client === null) port.close();
      else this.#client.adopt(port);
      return;
    }
    this.#port?.close();
    this.#port = port;
  }

  /** Ends the use of the services on this thread: what was asked is answered first. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#loading !== null) await (await this.#loading).close();
    this.#port?.close();
    this.#port = null;
  }

  #load(): Promise<ServicesClient> {
    if (this.#isClosed && this.#loading === null) {
      return Promise.reject(new StorageError('STORAGE_CLOSED', 'Cannot use the services: they were closed'));
    }
    this.#loading ??= this.#open();
    return this.#loading;
  }

  async #open(): Promise<ServicesClient> {
    const { ServicesClient: Client } = await import('./services-client.ts');
    const client = new Client(this.#options);
    this.#client = client;
    if (this.#port !== null) client.adopt(this.#port);
    this.#port = null;
    return client;
  }

  /** The calls of one part, each behind the loading. */
  #part<N extends keyof BrokerServices, P = BrokerServices[N]>(name: N, calls: Readonly<Record<keyof P, true>>): P {
    type Call = (...values: unknown[]) => Promise<unknown>;
    const partOf = (client: ServicesClient): Readonly<Record<string, Call>> =>
      client[name] as unknown as Readonly<Record<string, Call>>;
    const forward = (call: string): Call => {
      return (...values) => {
        if (this.#client !== null) return partOf(this.#client)[call](...values);
        return this.#load().then((client) => partOf(client)[call](...values));
      };
    };
    return Object.fromEntries(Object.keys(calls).map((call) => [call, forward(call)])) as P;
  }

  #onCheck(...[group, handler]: Parameters<HalfMessages['onCheck']>): () => void {
    let hasEnded = false;
    let end = (): void => undefined;
    this.#load().then(
      (client) => {
        if (!hasEnded) end = client.halves.onCheck(group, handler);
      },
      // Nobody is asked any more where the services are closed.
      () => undefined,
    );
    return () => {
      hasEnded = true;
      end();
    };
  }
}

type HalfCalls = Omit<HalfMessages, 'onCheck'>;

const queueCalls: Readonly<Record<keyof Queues, true>> = {
  create: true,
  delete: true,
  names: true,
  describe: true,
  createGroup: true,
  changeGroup: true,
  deleteGroup: true,
  produce: true,
  route: true,
  attach: true,
  receive: true,
  settle: true,
  purge: true,
  seek: true,
  seekToTime: true,
};

const cursorCalls: Readonly<Record<keyof Cursors, true>> = {
  claim: true,
  release: true,
  commit: true,
  fetch: true,
  groups: true,
  describe: true,
  deleteCursors: true,
  deleteGroup: true,
};

const delayedCalls: Readonly<Record<keyof Delayed, true>> = {
  acceptAt: true,
  acceptAfter: true,
  cancel: true,
  list: true,
};

const producerCalls: Readonly<Record<keyof Producers, true>> = { allocate: true, open: true };

const transactionCalls: Readonly<Record<keyof Transactions, true>> = {
  initialize: true,
  addPartitions: true,
  addOffsets: true,
  verify: true,
  end: true,
  list: true,
  describe: true,
  abort: true,
};

const halfCalls: Readonly<Record<keyof HalfCalls, true>> = { prepare: true, commit: true, rollback: true };
