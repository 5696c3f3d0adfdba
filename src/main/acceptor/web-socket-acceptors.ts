/**
 * Listeners whose connections uWebSockets.js accepts itself and spreads over the workers. Main thread, owned by the
 * listeners of the broker. Limits are kept by the workers, who alone learn of a connection.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { loadHttpAdapter } from '../../net/http/choose.ts';
import type { WebSocketAcceptor, WebSocketTransport } from '../../net/http/port.ts';
import { BrokerError, toError } from '../../std/errors.ts';
import type { AcceptorListener, ListenerAddress } from './acceptor.ts';

/** Workers that have not joined by then join while others serve. */
const joinMsMax = 5_000;

export interface WebSocketAcceptorsOptions {
  readonly listeners: readonly AcceptorListener[];
  liveWorkers(): readonly number[];
  /** Gives the worker its end of a listener. */
  hand(worker: number, listener: number, transport: WebSocketTransport): void;
}

export class WebSocketAcceptors {
  private readonly options: WebSocketAcceptorsOptions;
  private readonly acceptors = new Map<number, WebSocketAcceptor>();

  constructor(options: WebSocketAcceptorsOptions) {
    this.options = options;
  }

  /** Resolves when connections are taken. Rejects with `HTTP_ADAPTER_UNAVAILABLE` or `LISTENER_FAILED`. */
  async listen(): Promise<ListenerAddress[]> {
    const { listeners } = this.options;
    if (listeners.length === 0) return [];
    const adapter = await loadAdapter(listeners[0].name);
    const addresses: ListenerAddress[] = [];
    for (const { name, protocol, host, port, index } of listeners) {
      try {
        const acceptor = await adapter.acceptWebSockets({ host, port });
        this.acceptors.set(index, acceptor);
        addresses.push({ name, protocol, transport: 'ws', host: acceptor.host, port: acceptor.port });
      } catch (error) {
        const message = `Cannot listen for listener "${name}": ${toError(error).message}`;
        throw new BrokerError('LISTENER_FAILED', message, { cause: error });
      }
    }
    const workers = this.options.liveWorkers();
    for (const worker of workers) this.workerReady(worker);
    await this.joined(workers.length);
    return addresses;
  }

  /** Workers join by messages, and a connection that comes before the first of them is refused. */
  private async joined(workerCount: number): Promise<void> {
    const limit = performance.now() + joinMsMax;
    for (const acceptor of this.acceptors.values()) {
      while (acceptor.workerCount < workerCount && performance.now() < limit) await sleep(1);
    }
  }

  /** A worker serves: it takes part from now on. One that dies leaves by itself. */
  workerReady(worker: number): void {
    for (const [index, acceptor] of this.acceptors) this.options.hand(worker, index, acceptor.addWorker());
  }

  async close(): Promise<void> {
    await Promise.all([...this.acceptors.values()].map((acceptor) => acceptor.stop()));
    this.acceptors.clear();
  }
}

async function loadAdapter(listener: string) {
  try {
    return await loadHttpAdapter('uws');
  } catch (error) {
    const message = `Cannot use adapter "uws" for listener "${listener}": uWebSockets.js does not load here`;
    throw new BrokerError('HTTP_ADAPTER_UNAVAILABLE', message, { cause: error });
  }
}
