/** Servers that the checks of the HTTP contract run against; the threads are real. */
import { Worker } from 'node:worker_threads';
import { loadHttpAdapter } from '../../src/net/http/choose.ts';
import type {
  HttpAdapterName,
  HttpLimits,
  HttpListener,
  HttpRequest,
  HttpRoute,
  WebSocketAcceptor,
} from '../../src/net/http/port.ts';
import type { EchoWorkerData, EchoWorkerMessage } from './http-echo.worker.ts';

export interface ContractContext {
  readonly adapter: HttpAdapterName;
  /** Starts Node such that the adapter loads; append a file. */
  readonly nodeCommand: readonly string[];
}

export interface ContractCheck {
  readonly name: string;
  /** Rejects when the adapter does not keep the contract. */
  run(context: ContractContext): Promise<void>;
}

const limitsOfTests: HttpLimits = {
  bodyBytesMax: 1_000,
  connectionsMax: 100,
  requestTimeoutMs: 5_000,
  keepAliveTimeoutMs: 5_000,
};

export interface HttpFixture {
  readonly port: number;
  readonly listener: HttpListener;
  readonly errors: unknown[];
  readonly requests: HttpRequest[];
}

/** A listener with the routes that the checks use; stopped when `use` returns. */
export async function withHttp(
  context: ContractContext,
  limits: Partial<HttpLimits>,
  use: (fixture: HttpFixture) => Promise<void>,
): Promise<void> {
  const adapter = await loadHttpAdapter(context.adapter);
  const errors: unknown[] = [];
  const requests: HttpRequest[] = [];
  const routes: readonly HttpRoute[] = [
    { method: 'GET', path: '/text', handler: () => ({ status: 200, headers: { 'x-a': 'b' }, body: 'text' }) },
    {
      method: 'POST',
      path: '/echo',
      handler: (request) => {
        requests.push(request);
        return { status: 201, headers: { 'content-type': 'application/octet-stream' }, body: request.body };
      },
    },
    {
      method: 'GET',
      path: '/seen',
      handler: (request) => {
        requests.push(request);
        return { status: 204 };
      },
    },
    {
      method: 'GET',
      path: '/later',
      handler: () => new Promise((resolve) => setTimeout(() => resolve({ status: 200, body: 'later' }), 200)),
    },
    {
      method: 'GET',
      path: '/throws',
      handler: () => {
        throw new Error('as told');
      },
    },
    { method: 'GET', path: '/rejects', handler: () => Promise.reject(new Error('as told')) },
    { method: 'GET', path: '/splits', handler: () => ({ status: 200, headers: { 'x-a': 'b\r\nx-c: d' } }) },
    { method: 'GET', path: '/large', handler: () => ({ status: 200, body: Buffer.alloc(8 * 1024 * 1024, 'x') }) },
  ];
  const listener = await adapter.listen({
    host: '127.0.0.1',
    port: 0,
    routes,
    limits: { ...limitsOfTests, ...limits },
    onHandlerError: (error) => errors.push(error),
  });
  try {
    await use({ port: listener.port, listener, errors, requests });
  } finally {
    await listener.stop(0);
  }
}

class EchoWorker {
  readonly worker: Worker;
  readonly exited: Promise<number>;
  readonly #messages: EchoWorkerMessage[] = [];
  #wake: () => void = () => undefined;

  constructor(acceptor: WebSocketAcceptor, data: Omit<EchoWorkerData, 'transport'>) {
    const transport = acceptor.addWorker();
    this.worker = new Worker(new URL('./http-echo.worker.ts', import.meta.url), {
      workerData: { ...data, transport } satisfies EchoWorkerData,
      transferList: [transport.port],
      stderr: false,
    });
    // The check that makes a worker throw looks at the exit code.
    this.worker.on('error', () => undefined);
    this.worker.on('message', (message: EchoWorkerMessage) => {
      this.#messages.push(message);
      this.#wake();
    });
    this.exited = new Promise((resolve) => this.worker.once('exit', resolve));
  }

  /** The next message of this kind, those before it included. */
  async next<E extends EchoWorkerMessage['event']>(event: E): Promise<Extract<EchoWorkerMessage, { event: E }>> {
    for (;;) {
      const position = this.#messages.findIndex((message) => message.event === event);
      if (position >= 0) return this.#messages.splice(position, 1)[0] as Extract<EchoWorkerMessage, { event: E }>;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async stop(): Promise<void> {
    this.worker.postMessage('stop');
    await this.exited;
  }
}

export interface WebSocketFixture {
  readonly port: number;
  readonly acceptor: WebSocketAcceptor;
  readonly workers: readonly EchoWorker[];
}

/** An acceptor with `workerCount` echo workers; all stopped when `use` returns. */
export async function withWebSockets(
  context: ContractContext,
  options: Partial<Omit<EchoWorkerData, 'transport' | 'adapter'>> & { readonly workerCount?: number },
  use: (fixture: WebSocketFixture) => Promise<void>,
): Promise<void> {
  const adapter = await loadHttpAdapter(context.adapter);
  const acceptor = await adapter.acceptWebSockets({ host: '127.0.0.1', port: 0 });
  const { workerCount = 1, ...settings } = options;
  const data = {
    adapter: context.adapter,
    connectionsMax: 100,
    handshakeTimeoutMs: 5_000,
    idleTimeoutMs: 0,
    messageBytesMax: 10_000,
    ...settings,
  };
  const workers = Array.from({ length: workerCount }, () => new EchoWorker(acceptor, data));
  try {
    await Promise.all(workers.map((worker) => worker.next('serving')));
    // The worker said so on its own channel; the acceptor hears of it on the transport's.
    while (acceptor.workerCount < workerCount) await new Promise((resolve) => setTimeout(resolve, 1));
    await use({ port: acceptor.port, acceptor, workers });
  } finally {
    await acceptor.stop();
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}
