/**
 * What a node needs to know, with addresses taken apart and the number of workers settled. Main thread: made of the
 * effective configuration by the program and by the library.
 */
import { parseAddress, parseUnixAddress } from '../config/address.ts';
import { type EffectiveConfiguration, resolveWorkers } from '../config/load.ts';
import type { NodeSettings } from '../config/schema.ts';
import type { ClusterSettings } from '../raft/messages.ts';
import { assert } from '../std/assert.ts';

type ConfiguredListener = NodeSettings['listeners'][number];

export interface BrokerListenerSettings extends Omit<ConfiguredListener, 'address'> {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** The file of a Unix socket, in place of host and port; null otherwise. */
  readonly path: string | null;
}

export interface BrokerSettings {
  readonly workerCount: number;
  readonly listeners: readonly BrokerListenerSettings[];
  /** Files of the TLS listeners that name none. */
  readonly tls: NodeSettings['tls'];
  /** null: no HTTP port. */
  readonly http:
    | (Pick<NodeSettings['http'], 'adapter' | 'authentication'> & {
        readonly host: string;
        readonly port: number;
        /** Null: none. */
        readonly token: string | null;
      })
    | null;
  readonly access: NodeSettings['access'];
  readonly alarms: NodeSettings['alarms'];
  readonly cluster: ClusterSettings;
  readonly storage: StorageSettings;
  readonly services: NodeSettings['services'];
  readonly sessions: NodeSettings['sessions'];
  readonly sharding: NodeSettings['sharding'];
  readonly limits: NodeSettings['limits'];
  readonly supervision: NodeSettings['supervision'];
  readonly log: NodeSettings['log'];
  /** Validated sections by protocol name. */
  readonly protocolSettings: ReadonlyMap<string, unknown>;
}

export interface StorageSettings extends Omit<NodeSettings['storage'], 'adapter'> {
  readonly adapter: string;
  /** The adapter's own section, validated. */
  readonly settings: unknown;
}

/** `withHttp` false leaves the HTTP port away, whatever the configuration says of it. */
export function toBrokerSettings({ node, protocols }: EffectiveConfiguration, withHttp = true): BrokerSettings {
  return {
    workerCount: resolveWorkers(node.workers),
    listeners: node.listeners.map(({ address, ...listener }) => ({ ...listener, ...placeOf(address) })),
    tls: node.tls,
    http: withHttp ? httpOf(node.http) : null,
    access: node.access,
    alarms: node.alarms,
    cluster: clusterOf(node.cluster),
    storage: storageOf(node.storage),
    services: node.services,
    sessions: node.sessions,
    sharding: node.sharding,
    limits: node.limits,
    supervision: node.supervision,
    log: node.log,
    protocolSettings: protocols,
  };
}

function storageOf(settings: NodeSettings['storage']): StorageSettings {
  const { adapter, requestRingBytes, unansweredBytesMax, waitMsMax, retained } = settings;
  const section = new Map<string, unknown>(Object.entries(settings)).get(adapter);
  return { adapter, settings: section, requestRingBytes, unansweredBytesMax, waitMsMax, retained };
}

function httpOf({ address, adapter, authentication, token }: NodeSettings['http']): BrokerSettings['http'] {
  return { ...endpointOf(address), adapter, authentication, token: token ?? null };
}

function clusterOf(settings: NodeSettings['cluster']): ClusterSettings {
  const { address, advertise, join, joinAs, name, peers, tickMs, diskReserveBytes, insecure, tls, joinToken } =
    settings;
  return {
    address: address === undefined ? null : endpointOf(address),
    advertise: advertise ?? null,
    join,
    joinAs,
    name,
    peers: new Map(peers.map((peer) => [peer.name, peer.address])),
    tickMs,
    diskReserveBytes,
    insecure,
    tls: tls.ca === '' ? null : tls,
    joinToken: joinToken ?? null,
  };
}

function placeOf(address: string): { host: string; port: number; path: string | null } {
  const path = parseUnixAddress(address);
  return path === undefined ? { ...endpointOf(address), path: null } : { host: '', port: 0, path };
}

function endpointOf(address: string): { host: string; port: number } {
  const endpoint = parseAddress(address);
  assert(endpoint !== undefined, 'the configuration holds addresses that it has checked');
  return endpoint;
}
