/** The services over a store of the test's own thread: host and client as in the broker, with a port between them. */
import { MessageChannel } from 'node:worker_threads';
import type { StreamStore } from '../../../src/core/ports/stream-store.ts';
import { createLogger } from '../../../src/observability/log.ts';
import { createCounters } from '../../../src/shm/counters.ts';
import { ServicesClient } from '../../../src/workers/services/client/services-client.ts';
import { ServicesHost } from '../../../src/workers/services/host/services-host.ts';
import { StorageMetrics, storageMetricsLayout } from '../../../src/workers/storage/host/storage-metrics.ts';
import { servicesDefaults } from './services-settings.ts';

export interface LocalServices {
  readonly client: ServicesClient;
  readonly host: ServicesHost;
  /** Lines of the log of the host. */
  readonly lines: readonly string[];
  /** The store stays open. */
  stop(): Promise<void>;
}

export function startLocalServices(store: StreamStore, settings = servicesDefaults): LocalServices {
  const lines: string[] = [];
  const log = createLogger({ level: 'warn', format: 'json', write: (line) => lines.push(line) });
  const metrics = new StorageMetrics(createCounters(storageMetricsLayout().slotCount)).services;
  const host = new ServicesHost({ store, settings, metrics, log });
  const client = new ServicesClient({ store, callsMax: settings.callsMax, callTimeoutMs: settings.callTimeoutMs });
  const { port1, port2 } = new MessageChannel();
  host.connect(port1);
  client.adopt(port2);
  host.begin();
  return {
    client,
    host,
    lines,
    stop: async () => {
      await client.close();
      await host.stop();
    },
  };
}
