/**
 * The services on the journal worker: answers the threads that use them, and lets time pass for what goes on by itself. Owned by the
 * entry of the worker; tests make one on a thread of their own.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ServicesSettings } from '../../../config/services-schema.ts';
import { encodeMessage } from '../../../core/delayed/stored-message.ts';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import type { HalfCheck } from '../../../core/transactions/half-messages.ts';
import type { Logger } from '../../../observability/log.ts';
import { AssertionError } from '../../../std/assert.ts';
import type { ClientToServices, ServiceCall } from '../messages.ts';
import { toSentServiceError } from '../service-error.ts';
import { HostedServices } from './hosted-services.ts';
import { ServiceCalls, toServiceError } from './service-calls.ts';
import { ServiceLink } from './service-link.ts';
import type { ServiceMetrics } from './service-metrics.ts';

export interface ServicesHostOptions {
  /** For the services alone; what they remove there is told to whoever has it open. */
  readonly store: StreamStore;
  readonly settings: ServicesSettings;
  readonly metrics: ServiceMetrics;
  readonly log: Logger;
}

export class ServicesHost {
  readonly #options: ServicesHostOptions;
  readonly #services: HostedServices;
  readonly #calls: ServiceCalls;
  readonly #links = new Set<ServiceLink>();
  /** Who of several threads is asked about a half message. */
  #turn = 0;

  constructor(options: ServicesHostOptions) {
    const { metrics } = options;
    this.#options = options;
    this.#services = new HostedServices({ ...options, onCheck: (check) => this.#check(check) });
    this.#calls = new ServiceCalls(this.#services, metrics);
  }

  /** A thread wants to use the services. `received`: what it has said already, since it was greeted. */
  connect(port: MessagePort, received: readonly ClientToServices[] | null = null): void {
    const link: ServiceLink = new ServiceLink(port, {
      deliveryBytesMax: this.#options.settings.deliveryBytesMax,
      receive: (from, message) => this.#receive(from, message),
      closed: (gone) => this.#links.delete(gone),
    });
    this.#links.add(link);
    if (received === null) link.post({ type: 'hello' });
    else for (const message of received) this.#receive(link, message);
  }

  /** Opens what goes on by itself; called once the store is open. */
  begin(): void {
    void this.#services.begin();
  }

  /** A client removed a stream. */
  streamRemoved(name: string): void {
    this.#services.streamRemoved(name).catch((error: unknown) => {
      const { message } = toServiceError(error);
      this.#options.log.warn('Cursors of a removed stream are not deleted', { stream: name, reason: message });
    });
  }

  /** Brings counters and gauges up to date; call it every second or so. */
  tick(): void {
    this.#services.sample();
  }

  /** Stores what is under way, answers it, and lets everything go. The store is closed by its owner. */
  async stop(): Promise<void> {
    await this.#services.close();
    this.#services.sample();
    // What was answered in this turn goes out before the ports close.
    await new Promise((resolve) => setImmediate(resolve));
    for (const link of this.#links) link.close();
    this.#links.clear();
  }

  #receive(link: ServiceLink, message: ClientToServices): void {
    switch (message.type) {
      case 'call':
        this.#options.metrics.add('calls', 1);
        void this.#answer(link, message.id, message.call);
        break;
      case 'cancel':
        link.waits.get(message.id)?.();
        break;
      case 'credit':
        link.credit(message.consumer, message.credit, message.isTotal);
        break;
      case 'taken':
        link.taken(message.bytes);
    }
  }

  async #answer(link: ServiceLink, id: number, call: ServiceCall): Promise<void> {
    try {
      const result = (await this.#calls.run(link, id, call)) ?? null;
      link.post({ type: 'result', id, result }, result instanceof ArrayBuffer ? result : undefined);
    } catch (thrown) {
      const error = toServiceError(thrown);
      const sent = toSentServiceError(error);
      link.post({ type: 'error', id, error: sent ?? { code: 'STORAGE_UNCERTAIN', message: error.message } });
      if (error === thrown) return;
      this.#options.log.error('Call to a service failed', { call: call.call, error: thrown });
      // What is half changed in memory is read again from what is stored: the thread ends, and its successor goes on.
      if (thrown instanceof AssertionError) {
        link.flush();
        throw thrown;
      }
    }
  }

  #check({ number, group, count, target, record }: HalfCheck): void {
    const links = [...this.#links].filter(({ checkGroups }) => checkGroups.has(group));
    if (links.length === 0) return;
    this.#turn = (this.#turn + 1) % 0x4000_0000;
    const bytes = encodeMessage(number, 0, target, record);
    const message = new ArrayBuffer(bytes.length);
    bytes.copy(new Uint8Array(message));
    links[this.#turn % links.length].post({ type: 'check', number, group, count, message }, message);
  }
}
