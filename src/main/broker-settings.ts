/**
 * What a node needs to know, with addresses taken apart and the number of workers settled. Main thread: made of the
 * effective configuration by the program and by the library.
 */
import { parseAddress } from '../config/address.ts';
import { type EffectiveConfiguration, resolveWorkers } from '../config/load.ts';
import type { NodeSettings } from '../config/schema.ts';
import type { ClusterSettings } from '../raft/messages.ts';
import { assert } from '../std/assert.ts';

export interface BrokerListenerSettings {
  /** Unique; a label of the metrics and a name in the ready line. */
  readonly name: string;
  readonly protocol: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly backlog: number;
  /** 0: only the limit of the node. */
  readonly connectionsMax: number;
}

export interface BrokerSettings {
  readonly workerCount: number;
  readonly listeners: readonly BrokerListenerSettings[];
  /** null: no HTTP port. */
  readonly http: { readonly host: string; readonly port: number; readonly adapter: 'auto' | 'uws' | 'node' } | null;
  readonly cluster: ClusterSettings;
  readonly storage: StorageSettings;
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
    listeners: node.listeners.map(({ address, ...listener }) => ({ ...listener, ...endpointOf(address) })),
    http: withHttp ? { ...endpointOf(node.http.address), adapter: node.http.adapter } : null,
    cluster: clusterOf(node.cluster),
    storage: storageOf(node.storage),
    sharding: node.sharding,
    limits: node.limits,
    supervision: node.supervision,
    log: node.log,
    protocolSettings: protocols,
  };
}

function storageOf(settings: NodeSettings['storage']): StorageSettings {
  const { adapter, requestRingBytes, unansweredBytesMax, waitMsMax } = settings;
  const section = new Map<string, unknown>(Object.entries(settings)).get(adapter);
  return { adapter, settings: section, requestRingBytes, unansweredBytesMax, waitMsMax };
}

function clusterOf(settings: NodeSettings['cluster']): ClusterSettings {
  const { address, advertise, join, name, peers, tickMs, diskReserveBytes, insecure, tls, joinToken } = settings;
  return {
    address: address === undefined ? null : endpointOf(address),
    advertise: advertise ?? null,
    join,
    name,
    peers: new Map(peers.map((peer) => [peer.name, peer.address])),
    tickMs,
    diskReserveBytes,
    insecure,
    tls: tls.ca === '' ? null : tls,
    joinToken: joinToken ?? null,
  };
}

function endpointOf(address: string): { host: string; port: number } {
  const endpoint = parseAddress(address);
  assert(endpoint !== undefined, 'the configuration holds addresses that it has checked');
  return endpoint;
}
