/** What the suites share: one broker per suite, clients that are ended after each test, names that are used once. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { BrokerProcess } from '../../support/broker-process.ts';
import type { ClientLibrary, ConnectOptions, InteropClient, Version } from './client.ts';

/** Installing what is missing can take a while. */
export const setupLimitMs = 300_000;

/**
 * Connections go to the two workers in turn, so that each test meets clients on different threads.
 */
export const commonSettings = {
  sharding: 'round-robin',
  'mqtt.subscribeDenied': ['denied/topic'],
  'mqtt.keepAliveMaxS': 600,
} as const;

let nameCount = 0;

/** A topic, client id or the like that no other test uses. */
export function unique(prefix: string): string {
  nameCount++;
  return `${prefix}-${nameCount}`;
}

export interface Fixture {
  readonly library: ClientLibrary;
  readonly version: Version;
  broker: BrokerProcess;
  /** Connects a client of the suite's version. */
  connect(options?: Partial<ConnectOptions>): Promise<InteropClient>;
}

/** Starts a broker for the tests of the surrounding `describe`. */
export function useBroker(library: ClientLibrary, version: Version, settings: object = commonSettings): Fixture {
  const fixture = { library, version } as Fixture;
  fixture.connect = (options = {}) => {
    // MQTT 3.1 knows no empty client id.
    const named = version === 3 ? { clientId: unique('client') } : {};
    return library.connect({ port: fixture.broker.port(), version, ...named, ...options });
  };
  beforeAll(async () => {
    fixture.broker = await BrokerProcess.start({ settings: { ...settings } });
  });
  afterEach(() => library.closeAll());
  afterAll(async () => {
    await library.end?.();
    await fixture.broker.stop();
  });
  return fixture;
}
