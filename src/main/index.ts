/**
 * The library: the same broker inside a Node program. The only public door of the package, called on the program's own
 * thread; the broker's workers run on threads of their own.
 *
 * Unlike the program `ringmq start` it installs no signal handlers, never ends the process, keeps nothing on disk (a
 * temporary folder is removed at the end) unless the settings name a data folder, and binds to free ports of 127.0.0.1
 * unless told otherwise.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EffectiveConfiguration, loadConfiguration } from '../config/load.ts';
import type { PlacementNode } from '../core/ports/placement.ts';
import type { BrokerServices } from '../core/ports/services.ts';
import type { StreamStore } from '../core/ports/stream-store.ts';
import { createLogger, type LogLevel } from '../observability/log.ts';
import { protocols } from '../protocols/registry.ts';
import { BrokerError } from '../std/errors.ts';
import { storageParts } from '../workers/storage/adapters.ts';
import type { ListenerAddress } from './acceptor/acceptor.ts';
import { BrokerNode } from './broker.ts';
import { toBrokerSettings } from './broker-settings.ts';
import { type DataFolder, openDataFolder } from './data-folder.ts';
import { readVersion } from './version.ts';

export type { Command, CommandResult, Query, QueryResult, WatchBatch, Watcher } from '../core/ports/placement.ts';
export { PlacementError } from '../core/ports/placement.ts';
export type {
  AppendAnswer,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StoreHealth,
  StreamPartition,
  StreamSettings,
  StreamStore,
} from '../core/ports/stream-store.ts';
export { StorageError } from '../core/streams/storage-error.ts';
export { BrokerError } from '../std/errors.ts';

/** The cluster's ordered key-value store with revisions, leases and watches; see `Command` and `Query`. */
export type Placement = Pick<PlacementNode, 'execute' | 'query' | 'watch' | 'keepAlive' | 'status'>;

export interface BrokerOptions {
  /** Connection worker threads; default 1. */
  readonly workers?: number | 'auto';
  /** Serve metrics, health and administration over HTTP too; default true. */
  readonly http?: boolean;
  /** What is written to standard error; default 'error'. */
  readonly logLevel?: LogLevel;
  /** Any settings, as in the configuration file; they win over the options above. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /**
   * The broker can hold no metadata any more, after a disk error for example, and has left service: it takes no more
   * part in its cluster, and `/readyz` says so. Stop it. Code `PLACEMENT_FAILED`.
   */
  readonly onFailure?: (error: BrokerError) => void;
}

export interface Broker {
  /** Where the broker listens, by the name of the listener, which is the protocol's unless the settings name it. */
  readonly addresses: ReadonlyMap<string, { readonly host: string; readonly port: number }>;
  /**
   * The placement centre without a network between: calls cross one thread, serializable reads none. Rejects with a
   * `PlacementError`, and with a `TypeError` for what is no call; nothing is tried again, `execute` with a request id may be.
   */
  readonly placement: Placement;
  /**
   * Streams that are kept. Calls cross one thread; what is under way when the broker stops is answered. Its `close` ends the use of
   * it by this object, not the storage.
   */
  readonly storage: StreamStore;
  /** Queues, cursors of readers, delayed messages and transactions over these streams, as protocols use them. */
  readonly services: BrokerServices;
  /** Port of a listener; of the first one without a name. 'http' is the HTTP port, 'cluster' that of the cluster. */
  port(name?: string): number;
  /**
   * Where a client finds a listener, the first one without a name: `protocol://host:port`, `protocols://` with TLS, `ws://`
   * or `wss://` without a path, `unix:/path`.
   */
  url(name?: string): string;
  /**
   * Reads certificates, keys and revocation lists of all TLS listeners again; connections stay. One entry for each of
   * them; `problem` says why its former ones stay in use, or is null.
   */
  reloadTls(): Promise<readonly { readonly listener: string; readonly problem: string | null }[]>;
  /**
   * Says goodbye to the clients and ends everything that was started; resolves when no thread, timer or handle is
   * left. Clients that do not leave within `shutdown.drainLimitMs` are cut. Calling it again does nothing more.
   */
  stop(): Promise<void>;
}

/**
 * Starts a broker and resolves when it serves.
 *
 * Rejects with a `BrokerError`: `CONFIG_INVALID`, `LISTENER_ADDRESS_IN_USE`, `LISTENER_ADDRESS_FORBIDDEN`,
 * `LISTENER_FAILED`, `HTTP_LISTEN_FAILED`, `WORKER_START_FAILED`, `DATA_FOLDER_LOCKED`, `DATA_FOLDER_UNUSABLE`,
 * `CLUSTER_ADDRESS_UNUSABLE`, `PLACEMENT_CORRUPTED`, `PLACEMENT_START_FAILED`; nothing is left running then.
 */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const configuration = await loadConfiguration({
    environment: {}, // The environment of the host program is not meant for us.
    flags: [],
    settings: settingsOf(options),
    parts: protocols,
    adapters: storageParts,
  });
  const settings = toBrokerSettings(configuration, options.http ?? true);
  const folder = openFolder(configuration);
  const node = new BrokerNode({
    settings,
    protocols,
    version: readVersion(),
    log: createLogger(settings.log),
    folder: folder.path,
    failed: (reason) => {
      const message = `Cannot go on with the placement centre: ${reason}`;
      options.onFailure?.(new BrokerError('PLACEMENT_FAILED', message));
    },
  });
  try {
    await node.start();
  } catch (error) {
    folder.release();
    throw error;
  }
  return new RunningBroker(node, folder, configuration.node.shutdown.drainLimitMs);
}

/** The data folder of the settings, or one that goes with the broker. */
function openFolder({ node, origins }: EffectiveConfiguration): DataFolder {
  if (origins.get('data')?.kind !== 'default') return openDataFolder(node.data);
  const path = mkdtempSync(join(tmpdir(), 'ringmq-'));
  return { path, release: () => rmSync(path, { recursive: true, force: true }) };
}

function settingsOf({ workers = 1, logLevel = 'error', settings = {} }: BrokerOptions): Record<string, unknown> {
  return {
    workers,
    listeners: protocols.map(({ name }) => ({ name, protocol: name, address: '127.0.0.1:0' })),
    ...settings,
    http: { address: '127.0.0.1:0', ...asRecord(settings.http) },
    log: { level: logLevel, ...asRecord(settings.log) },
  };
}

function asRecord(section: unknown): Record<string, unknown> {
  return typeof section === 'object' && section !== null ? { ...section } : {};
}

class RunningBroker implements Broker {
  readonly addresses: ReadonlyMap<string, ListenerAddress>;
  readonly placement: Placement;
  readonly storage: StreamStore;
  readonly services: BrokerServices;
  private readonly node: BrokerNode;
  private readonly folder: DataFolder;
  private readonly drainLimitMs: number;

  constructor(node: BrokerNode, folder: DataFolder, drainLimitMs: number) {
    this.node = node;
    this.folder = folder;
    this.drainLimitMs = drainLimitMs;
    this.placement = node.placementClient;
    this.storage = node.storage;
    this.services = node.services;
    const addresses = new Map(node.addresses.map((address) => [address.name, address]));
    const { httpAddress, clusterAddress } = node;
    if (clusterAddress !== null) addresses.set('cluster', { ...clusterAddress, name: 'cluster', protocol: 'http' });
    if (httpAddress !== null) addresses.set('http', { ...httpAddress, name: 'http', protocol: 'http' });
    this.addresses = addresses;
  }

  port(name?: string): number {
    return this.addressOf(name).port;
  }

  url(name?: string): string {
    const { protocol, transport, host, port, path } = this.addressOf(name);
    if (path !== undefined) return `unix:${path}`;
    const scheme =
      transport === 'ws' || transport === 'wss' ? transport : transport === 'tls' ? `${protocol}s` : protocol;
    return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }

  reloadTls(): Promise<readonly { readonly listener: string; readonly problem: string | null }[]> {
    return this.node.reloadTls();
  }

  async stop(): Promise<void> {
    await this.node.stop(this.drainLimitMs);
    this.folder.release();
  }

  private addressOf(name: string | undefined): ListenerAddress {
    const address = name === undefined ? this.addresses.values().next().value : this.addresses.get(name);
    if (address === undefined) {
      const known = [...this.addresses.keys()].join(', ');
      throw new BrokerError('LISTENER_UNKNOWN', `Cannot find listener "${name}": there are ${known}`);
    }
    return address;
  }
}
