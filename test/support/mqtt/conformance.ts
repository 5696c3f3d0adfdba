/** What the conformance tests share: one broker for each file, names that are used once, clients that are ended. */
import { afterAll, beforeAll } from 'vitest';
import { type Broker, startBroker } from '../../../src/main/index.ts';
import { RawClient, type RawConnect } from './raw-client.ts';

export interface Conformance {
  readonly port: number;
  open(level?: 3 | 4 | 5): Promise<RawClient>;
  /** Connects; the client id is one that nobody else has, unless one is given. */
  connect(options?: RawConnect): Promise<RawClient>;
  tryConnect(options?: RawConnect): Promise<RawClient>;
}

let names = 0;

/** A topic, client id or the like that no other test of the file uses. */
export function unique(prefix = 'n'): string {
  names++;
  return `${prefix}${names}`;
}

/** Starts a broker with one worker for the tests of the file, so that what a barrier follows has happened. */
export function useConformance(settings: Record<string, unknown> = {}): Conformance {
  let broker: Broker;
  const clients: RawClient[] = [];
  const keep = (client: RawClient): RawClient => {
    clients.push(client);
    return client;
  };
  beforeAll(async () => {
    broker = await startBroker({ workers: 1, http: false, settings: { mqtt: settings } });
  });
  afterAll(async () => {
    for (const { socket } of clients) socket.destroy();
    await broker.stop();
  });
  return {
    get port() {
      return broker.port();
    },
    async open(level = 4) {
      return keep(await RawClient.open(this.port, level));
    },
    async connect(options = {}) {
      return keep(await RawClient.connect(this.port, { clientId: unique('client'), ...options }));
    },
    async tryConnect(options = {}) {
      return keep(await RawClient.tryConnect(this.port, { clientId: unique('client'), ...options }));
    },
  };
}
