/**
 * The bridges of the settings on one connection worker: taps for all of them, and those bridges whole that are this worker's. Loaded
 * only where bridges are configured. Thread: each connection worker has one.
 */
import { hostname } from 'node:os';
import type { Router } from '../../../core/broker/router.ts';
import type { BrokerServices } from '../../../core/ports/services.ts';
import type { PacedStore } from '../../../core/ports/stream-store.ts';
import type { Logger } from '../../../observability/log.ts';
import type { ThreadMetrics } from '../../../observability/metrics.ts';
import { hashBytes } from '../../../std/hash.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import { Bridge, type BridgeSessions, type BridgeStatus } from './bridge.ts';
import { BridgeCounters } from './bridge-metrics.ts';
import { OutgoingTap, storesSomething } from './outgoing-tap.ts';
import type { BridgeSettings } from './settings.ts';
import { openStoredStream, storedStreamName, storedStreamSettings } from './stored-stream.ts';
import { StoredWriter } from './stored-writer.ts';

export interface BridgesOptions {
  readonly bridges: readonly BridgeSettings[];
  readonly workerIndex: number;
  readonly router: Router;
  readonly store: PacedStore;
  readonly services: BrokerServices;
  readonly ownPublisher: OwnPublisher;
  readonly sessions: BridgeSessions;
  /** Largest PUBLISH that can be published here, bytes. */
  readonly packetBytesMax: number;
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
}

/** What one worker knows of a bridge. Plain data. */
export interface WorkerBridge {
  readonly name: string;
  readonly droppedOut: number;
  readonly droppedIn: number;
  /** Null: another worker has it. */
  readonly status: BridgeStatus | null;
}

/** Which worker has the bridge; the same after a restart, so that it is easily found in metrics and logs. */
export function workerOf(bridge: string, workerCount: number): number {
  const bytes = Buffer.from(bridge);
  return (hashBytes(bytes, 0, bytes.length) >>> 0) % workerCount;
}

/** The client id at the remote broker, and the name of the bridge for all others. */
export function clientIdOf({ clientId, name }: BridgeSettings): string {
  return clientId === '' ? `ringmq-${hostname()}-${name}` : clientId;
}

export class Bridges {
  /** By name of the bridge; those that store nothing have none. */
  readonly taps = new Map<string, OutgoingTap>();
  /** Those that are this worker's. */
  readonly #bridges = new Map<string, Bridge>();
  readonly #counters = new Map<string, BridgeCounters>();
  readonly #writers: StoredWriter[] = [];

  constructor(options: BridgesOptions) {
    for (const settings of options.bridges) this.#add(settings, options);
  }

  start(): void {
    for (const bridge of this.#bridges.values()) bridge.start();
  }

  async stop(): Promise<void> {
    for (const writer of this.#writers) writer.stop();
    await Promise.all(Array.from(this.#bridges.values(), (bridge) => bridge.stop()));
  }

  /** Of all of them, as far as this worker knows; see `admin/api/bridges.ts`. */
  status(): readonly WorkerBridge[] {
    return Array.from(this.#counters, ([name, counters]) => ({
      name,
      droppedOut: counters.droppedCount('out'),
      droppedIn: counters.droppedCount('in'),
      status: this.#bridges.get(name)?.status ?? null,
    }));
  }

  #add(settings: BridgeSettings, options: BridgesOptions): void {
    const { workerIndex, router, store, services, ownPublisher, sessions, packetBytesMax, metrics } = options;
    const { name, hopsMax, out, store: limits } = settings;
    const counters = new BridgeCounters(metrics, name);
    const clientId = clientIdOf(settings);
    this.#counters.set(name, counters);
    const stores = storesSomething(out, limits.qos0);
    const openStream = () => openStoredStream(store, storedStreamName(name), storedStreamSettings(limits));
    if (stores) {
      const answered = (error: Error | null, records: number): void => {
        if (error !== null) counters.dropped('out', 'not-stored', records);
      };
      const writer = new StoredWriter({ store, open: openStream, answered });
      this.#writers.push(writer);
      this.taps.set(name, new OutgoingTap({ clientId, rules: out, hopsMax, keepsQos0: limits.qos0, writer, counters }));
    }
    if (workerOf(name, router.workerCount) !== workerIndex) return;
    const log = options.log.child({ bridge: name });
    this.#bridges.set(
      name,
      new Bridge({
        ...{ settings, clientId, router, ownPublisher, sessions, packetBytesMax, counters, log },
        cursors: services.cursors,
        openStream: stores ? openStream : null,
      }),
    );
  }
}
