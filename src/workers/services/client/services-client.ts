/**
 * Queues, cursors, delayed messages and transactions as a thread uses them that does not have them: a connection worker, or the main
 * thread. Everything lives on the journal worker; the main thread hands in a port to it, and another one after that was replaced.
 *
 * What a death of the journal worker means to a caller: a call that was on its way is answered STORAGE_UNCERTAIN, unless it only asks;
 * later ones wait for the successor, for `callTimeoutMs`, and are answered STORAGE_UNAVAILABLE then. Consumers are attached again by
 * themselves, and told that what they had is void.
 */
import type { MessagePort } from 'node:worker_threads';
import type { BrokerServices } from '../../../core/ports/services.ts';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { BatchedPort } from '../batched-port.ts';
import type { ClientToServices, ServicesToClient } from '../messages.ts';
import { fromSentServiceError } from '../service-error.ts';
import { ClientConsumers } from './client-consumers.ts';
import { createCursors } from './client-cursors.ts';
import { createDelayed } from './client-delayed.ts';
import { ClientHalves } from './client-halves.ts';
import { ClientQueues } from './client-queues.ts';
import { createProducers, createTransactions } from './client-transactions.ts';
import { ServiceCalls } from './service-calls.ts';

export interface ServicesClientOptions {
  /** Of this thread: messages are appended through it, past the journal worker's loop as far as that goes. */
  readonly store: StreamStore;
  /** Calls without an answer; one more is refused. */
  readonly callsMax: number;
  /** How long a call waits for its answer, ms. */
  readonly callTimeoutMs: number;
}

type Port = BatchedPort<ClientToServices, ServicesToClient>;

export class ServicesClient implements BrokerServices {
  readonly queues: BrokerServices['queues'];
  readonly cursors: BrokerServices['cursors'];
  readonly delayed: BrokerServices['delayed'];
  readonly producers: BrokerServices['producers'];
  readonly transactions: BrokerServices['transactions'];
  readonly halves: BrokerServices['halves'];
  readonly #calls: ServiceCalls;
  readonly #consumers: ClientConsumers;
  readonly #halves: ClientHalves;
  #port: Port | null = null;
  #isJoined = false;
  #takenBytes = 0;
  #eased: (() => void) | null = null;
  #closed: Promise<void> | null = null;

  constructor({ store, callsMax, callTimeoutMs }: ServicesClientOptions) {
    const calls = new ServiceCalls({
      callsMax,
      timeoutMs: callTimeoutMs,
      send: (id, call, moved) => this.#port?.post({ type: 'call', id, call }, moved),
      eased: () => this.#eased?.(),
    });
    this.#calls = calls;
    this.#consumers = new ClientConsumers({
      calls,
      post: (message) => this.#post(message),
      cancel: (id) => this.#cancel(id),
      isJoined: () => this.#isJoined,
    });
    this.#halves = new ClientHalves(calls);
    this.queues = new ClientQueues({ calls, store, consumers: this.#consumers });
    this.cursors = createCursors(calls);
    this.delayed = createDelayed(calls);
    this.producers = createProducers(calls);
    this.transactions = createTransactions(calls);
    this.halves = this.#halves;
  }

  /** Calls without an answer. */
  get unanswered(): number {
    return this.#calls.unanswered;
  }

  /** Goes on with a host, the first one or the next. */
  adopt(ends: MessagePort): void {
    this.#lose();
    if (this.#closed !== null) {
      ends.close();
      return;
    }
    const port: Port = new BatchedPort(
      ends,
      (message: ServicesToClient) => {
        if (this.#port === port) this.#receive(message);
      },
      () => {
        if (this.#port === port) this.#lose();
      },
    );
    this.#port = port;
  }

  /** Ends the use of the services on this thread: what was sent is answered first. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #receive(message: ServicesToClient): void {
    switch (message.type) {
      case 'hello':
        this.#isJoined = true;
        this.#calls.open();
        this.#consumers.joined();
        this.#halves.joined();
        break;
      case 'result':
        this.#calls.answered(message.id, message.result);
        break;
      case 'error':
        this.#calls.failed(message.id, message.error);
        break;
      case 'messages':
        this.#taken(message.bytes.byteLength);
        this.#consumers.receive(message.consumer, message.bytes);
        break;
      case 'ended':
        this.#consumers.ended(message.consumer, fromSentServiceError(message.error));
        break;
      case 'check':
        this.#halves.check(message);
    }
  }

  /** The host sends no more than a bound that this thread has not looked at. */
  #taken(bytes: number): void {
    if (this.#takenBytes === 0) {
      queueMicrotask(() => {
        this.#post({ type: 'taken', bytes: this.#takenBytes });
        this.#takenBytes = 0;
      });
    }
    this.#takenBytes += bytes;
  }

  #post(message: ClientToServices): void {
    if (this.#isJoined) this.#port?.post(message);
  }

  #cancel(id: number): void {
    if (this.#calls.isWaiting(id)) {
      this.#calls.withdraw(id, new StorageError('STORAGE_UNAVAILABLE', 'Cannot receive: it was given up'));
    } else this.#post({ type: 'cancel', id });
  }

  #lose(): void {
    const port = this.#port;
    if (port === null) return;
    this.#port = null;
    this.#isJoined = false;
    port.close();
    this.#calls.lose();
    this.#consumers.lost();
  }

  async #close(): Promise<void> {
    const error = new StorageError('STORAGE_CLOSED', 'Cannot use the services: they were closed');
    this.#consumers.close(error);
    this.#calls.close(error);
    await new Promise<void>((resolve) => {
      this.#eased = () => {
        if (this.#calls.unanswered > 0) return;
        this.#eased = null;
        resolve();
      };
      this.#eased();
    });
    const port = this.#port;
    this.#port = null;
    this.#isJoined = false;
    port?.close();
  }
}
