/** The administration API over a real listener and a store in memory, for the resources about what is kept. */
import { adminRoutes } from '../../../../src/admin/api/routes.ts';
import type { AccessAdministration } from '../../../../src/core/ports/access-administration.ts';
import type { StreamStore } from '../../../../src/core/ports/stream-store.ts';
import { loadHttpAdapter } from '../../../../src/net/http/choose.ts';
import type { HttpListener } from '../../../../src/net/http/port.ts';
import { openMemoryStore } from '../../../../src/storage/memory/memory-store.ts';
import { type LocalServices, startLocalServices } from '../../../support/storage/local-services.ts';

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const nobody = (): never => {
  throw new Error('nobody is asked for this here');
};

export class AdminFixture {
  readonly store: StreamStore;
  readonly services: LocalServices;
  readonly errors: unknown[] = [];
  #listener: HttpListener | null = null;

  private constructor(store: StreamStore) {
    this.store = store;
    this.services = startLocalServices(store);
  }

  static async start(): Promise<AdminFixture> {
    const fixture = new AdminFixture(await openMemoryStore({ bytesMax: 256 * 1024 * 1024 }));
    const adapter = await loadHttpAdapter('node');
    fixture.#listener = await adapter.listen({
      host: '127.0.0.1',
      port: 0,
      routes: adminRoutes({
        identity: { name: 'ringmq', version: '1.2.3' },
        health: { ready: () => ({ ready: true }), alive: () => ({ alive: true }) },
        metrics: { exposition: () => '' },
        placement: {
          freshStatus: nobody,
          addLearner: nobody,
          promote: nobody,
          remove: nobody,
          transferLeadership: nobody,
        },
        storage: fixture.store,
        services: fixture.services.client,
        access: new Proxy({} as AccessAdministration, { get: nobody }),
      }),
      limits: { bodyBytesMax: 4_194_304, connectionsMax: 10, requestTimeoutMs: 5_000, keepAliveTimeoutMs: 5_000 },
      onHandlerError: (error) => fixture.errors.push(error),
    });
    return fixture;
  }

  get address(): string {
    return `127.0.0.1:${this.#listener?.port}`;
  }

  async get(path: string, query: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.#ask(`${path}?${new URLSearchParams(query)}`);
  }

  async post(path: string, body: unknown, type = 'application/json'): Promise<Answer> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return this.#ask(path, { method: 'POST', headers: { 'content-type': type }, body: text });
  }

  /** Stops; answers what handlers failed with. */
  async stop(): Promise<readonly unknown[]> {
    await this.#listener?.stop(0);
    await this.services.stop();
    await this.store.close();
    return this.errors;
  }

  async #ask(path: string, init: RequestInit = {}): Promise<Answer> {
    const response = await fetch(`http://${this.address}/api/v1${path}`, init);
    return { status: response.status, body: await response.json() };
  }
}
