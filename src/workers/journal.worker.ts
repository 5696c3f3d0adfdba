/**
 * Entry of the journal worker's thread: it hosts the storage of the node. The main thread starts it and sends `start` first; links of
 * the threads that use it may come before the store is open and wait until then.
 */
import { parentPort } from 'node:worker_threads';
import { createLogger, type RootLogger } from '../observability/log.ts';
import { Doorbell } from '../shm/doorbell.ts';
import { Heartbeat } from '../shm/heartbeat.ts';
import { assert } from '../std/assert.ts';
import { toError } from '../std/errors.ts';
import { LazyServicesHost } from './services/host/lazy-services-host.ts';
import { ColdGate } from './storage/client/cold-gate.ts';
import { ColdPace } from './storage/cold-pace.ts';
import { openStore } from './storage/host/open-store.ts';
import { StorageHost } from './storage/host/storage-host.ts';
import { StorageMetrics } from './storage/host/storage-metrics.ts';
import { hostLine } from './storage/link.ts';
import type { MainToStorage, StorageStart, StorageToMain } from './storage/messages.ts';

/** Between two heartbeats, and two looks at the gauges. */
const TICK_MS = 1_000;
/** How long what is left at the end may keep the thread. */
const END_MS = 1_000;

const port = parentPort;
assert(port !== null, 'this module is the entry of a worker thread');
let opening: Promise<Hosts | null> | null = null;
let log: RootLogger | null = null;

const post = (message: StorageToMain): void => port.postMessage(message);

/** What lives on the thread once the store is open. */
interface Hosts {
  readonly storage: StorageHost;
  readonly services: LazyServicesHost;
}

async function start(options: StorageStart): Promise<Hosts | null> {
  log = createLogger({ ...options.log, bindings: { worker: 'journal' } });
  const heartbeat = new Heartbeat(options.heartbeats, 0);
  heartbeat.beat();
  const metrics = new StorageMetrics(options.counters);
  try {
    const { store, takesSharedMemory } = await openStore(options, log, metrics);
    const doorbell = new Doorbell(options.doorbells, hostLine);
    const storage = new StorageHost({
      store,
      takesSharedMemory,
      doorbell,
      metrics,
      onRemoved: (name) => services.streamRemoved(name),
      coldGate: new ColdGate(options.coldPace, hostLine),
    });
    const services = new LazyServicesHost({
      store: storage.local,
      settings: options.services,
      metrics: metrics.services,
      log,
    });
    const pace = new ColdPace(options.coldPace);
    storage.tick();
    setInterval(() => {
      heartbeat.beat();
      storage.tick();
      services.tick();
      metrics.sampleColdReads(pace);
    }, TICK_MS).unref();
    store.onHealth((health) => post({ type: 'health', health }));
    post({ type: 'health', health: store.health() });
    post({ type: 'ready' });
    // Behind the announcement: nobody waits for it.
    services.begin();
    return { storage, services };
  } catch (thrown) {
    post({ type: 'failed', message: toError(thrown).message });
    log.flush();
    end();
    return null;
  }
}

async function stop(): Promise<void> {
  const hosts = await opening;
  try {
    // The services end first: they store what is under way.
    await hosts?.services.stop();
    await hosts?.storage.stop();
  } catch (thrown) {
    log?.error('Storage was not closed in order', { reason: toError(thrown).message });
  }
  log?.flush();
  post({ type: 'stopped' });
  end();
}

/** The thread ends when the files are closed, which others of Node's threads do; or soon, when an engine's connections keep it. */
function end(): void {
  port?.close();
  setTimeout(() => process.exit(), END_MS).unref();
}

port.on('messageerror', (error) => {
  throw error;
});

port.on('message', (message: MainToStorage) => {
  switch (message.type) {
    case 'start':
      assert(opening === null, 'the journal worker is started once');
      opening = start(message.start);
      break;
    case 'connect':
      assert(opening !== null, 'the journal worker is started before anything else');
      void opening.then((hosts) => {
        hosts?.storage.connect(message.link);
        hosts?.services.connect(message.link.services);
      });
      break;
    case 'stop':
      void stop();
  }
});
