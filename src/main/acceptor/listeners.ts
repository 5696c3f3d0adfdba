/**
 * All listeners of a node: their settings in the forms that acceptor, workers and TLS want, and their life. Main thread,
 * owned by the broker.
 */
import { BlockList, type Socket } from 'node:net';
import { resolve } from 'node:path';
import { parseNetwork } from '../../config/network.ts';
import type { ListenerInfo, ListenerTenancy } from '../../core/ports/connection.ts';
import type { Protocol } from '../../core/ports/protocol.ts';
import type { WebSocketTransport } from '../../net/http/port.ts';
import type { IdentityFiles } from '../../net/tls/load-material.ts';
import type { ShownCertificate, TlsKeeper, TlsListenerSettings, TlsReload } from '../../net/tls/tls-keeper.ts';
import type { TlsMaterial } from '../../net/tls/tls-material.ts';
import type { UnixSocketFile } from '../../net/unix/unix-socket.ts';
import type { Logger } from '../../observability/log.ts';
import type { RefusalReason } from '../../observability/main-metrics.ts';
import { createLateness, LatenessReader } from '../../shm/lateness.ts';
import { createSharedBuckets, SharedBucket } from '../../shm/shared-bucket.ts';
import type { Ledger } from '../../workers/runtime/connection-ledger.ts';
import {
  acceptBucketOf,
  type IntakeListener,
  type IntakeStart,
  LATENESS_TICK_MS,
} from '../../workers/runtime/intake-start.ts';
import type { BrokerListenerSettings, BrokerSettings } from '../broker-settings.ts';
import { MemoryPressure } from '../limits/memory-pressure.ts';
import type { ShardingStrategy } from '../sharding/strategies.ts';
import { Acceptor, type AcceptorListener, type ListenerAddress } from './acceptor.ts';
import { UnixListeners, type UnixOutcome } from './unix-listeners.ts';
import { WebSocketAcceptors } from './web-socket-acceptors.ts';

export interface ListenersOptions {
  readonly settings: Pick<BrokerSettings, 'listeners' | 'limits' | 'tls' | 'workerCount'>;
  readonly protocols: readonly Protocol[];
  readonly strategy: ShardingStrategy;
  readonly ledger: Ledger;
  liveWorkers(): readonly number[];
  handOver(worker: number, listener: number, socket: Socket, isSurplus: boolean): boolean;
  handWebSockets(worker: number, listener: number, transport: WebSocketTransport): void;
  askUnix(worker: number, listener: number, file: UnixSocketFile, backlog: number): void;
  handTls(worker: number, listener: number, material: TlsMaterial): void;
  /** By the rate of new connections of one address. */
  mayAccept(address: string): boolean;
  accepted(listener: ListenerInfo): void;
  refused(listener: ListenerInfo, reason: RefusalReason): void;
  readonly log: Logger;
}

export class Listeners {
  readonly infos: readonly ListenerInfo[];
  private readonly options: ListenersOptions;
  private readonly acceptor: Acceptor;
  private readonly webSockets: WebSocketAcceptors;
  private readonly unix: UnixListeners;
  private readonly buckets: SharedArrayBuffer;
  private readonly lateness: SharedArrayBuffer;
  private readonly late: LatenessReader;
  private tls: TlsKeeper | null = null;

  constructor(options: ListenersOptions) {
    this.options = options;
    const { settings, protocols, ledger, liveWorkers, log } = options;
    const { limits } = settings;
    this.buckets = createSharedBuckets(2 * settings.listeners.length);
    this.lateness = createLateness(settings.workerCount);
    this.late = new LatenessReader(this.lateness, LATENESS_TICK_MS);
    this.infos = settings.listeners.map((listener, index) => infoOf(listener, index));
    const polite = new Set(protocols.filter(({ refusesPolitely }) => refusesPolitely === true).map(({ name }) => name));
    const all = settings.listeners.map((listener, index): AcceptorListener & { isForeign: boolean } => ({
      ...this.infos[index],
      host: listener.host,
      port: listener.port,
      unix:
        listener.path === null ? null : { path: resolve(listener.path), mode: Number.parseInt(listener.socketMode, 8) },
      backlog: listener.backlog,
      connectionsMax: listener.connectionsMax,
      acceptBucket:
        listener.acceptRatePerS === 0
          ? null
          : new SharedBucket(this.buckets, acceptBucketOf(index), listener.acceptRatePerS, listener.acceptBurst),
      trusted:
        listener.proxyProtocol.enabled && listener.path === null ? blockListOf(listener.proxyProtocol.trusted) : null,
      refusesPolitely: polite.has(listener.protocol),
      isForeign: listener.transport === 'ws' && listener.webSocket.adapter === 'uws',
    }));
    const { eventLoopDelayMaxMs } = limits;
    const memory = new MemoryPressure(limits.memoryBytesMax);
    this.acceptor = new Acceptor({
      listeners: all.filter(({ isForeign, unix }) => !isForeign && unix === null),
      connectionsMax: limits.connectionsMax,
      acceptRatePerS: limits.acceptRatePerS,
      acceptBurst: limits.acceptBurst,
      strategy: options.strategy,
      ledger,
      liveWorkers,
      ...(eventLoopDelayMaxMs === 0 ? {} : { isLate: (worker) => this.late.of(worker) > eventLoopDelayMaxMs }),
      isMemoryShort: () => memory.isTooHigh,
      mayAccept: limits.addressAcceptRatePerS === 0 ? undefined : options.mayAccept,
      handOver: options.handOver,
      accepted: options.accepted,
      refused: options.refused,
      log,
    });
    this.unix = new UnixListeners({
      listeners: all.filter(({ unix }) => unix !== null),
      liveWorkers,
      ask: options.askUnix,
      log,
    });
    this.webSockets = new WebSocketAcceptors({
      listeners: all.filter(({ isForeign }) => isForeign),
      liveWorkers,
      hand: options.handWebSockets,
    });
  }

  /** Reads the files of TLS listeners; before any worker starts. Rejects with `TLS_MATERIAL_UNUSABLE`. */
  async load(): Promise<void> {
    const { settings, liveWorkers, handTls, log } = this.options;
    const listeners = settings.listeners.flatMap((listener, index) =>
      listener.transport === 'tls' || listener.transport === 'wss'
        ? [tlsSettingsOf(listener, index, settings.tls)]
        : [],
    );
    if (listeners.length === 0) return;
    const { TlsKeeper } = await import('../../net/tls/tls-keeper.ts');
    this.tls = new TlsKeeper({
      listeners,
      changed: (listener, material) => {
        for (const worker of liveWorkers()) handTls(worker, listener, material);
      },
      log,
    });
    await this.tls.load();
  }

  /** What a worker is started with. */
  intakeStart(): IntakeStart {
    const { settings } = this.options;
    return {
      listeners: settings.listeners.map((listener) => intakeOf(listener, settings.limits.handshakeTimeoutMs)),
      tls: this.tls?.materials() ?? new Map(),
      buckets: this.buckets,
      lateness: this.lateness,
      connectionsMax: settings.limits.connectionsMax,
    };
  }

  /** Binds everything, in the order of the configuration. Rejects as `Acceptor.listen`; call `close` then too. */
  async listen(): Promise<ListenerAddress[]> {
    const addresses = [
      ...(await this.acceptor.listen()),
      ...(await this.webSockets.listen()),
      ...(await this.unix.listen()),
    ];
    this.tls?.watch();
    const order = new Map(this.infos.map(({ name, index }) => [name, index]));
    return addresses.sort((left, right) => (order.get(left.name) ?? 0) - (order.get(right.name) ?? 0));
  }

  /** A worker serves; what changed since it was started is handed after. */
  workerReady(worker: number): void {
    for (const [listener, material] of this.tls?.materials() ?? []) this.options.handTls(worker, listener, material);
    this.webSockets.workerReady(worker);
  }

  workerGone(worker: number): void {
    this.late.reset(worker);
    this.unix.workerGone(worker);
  }

  /** A worker was asked to listen on a Unix socket. */
  unixAnswered(listener: number, outcome: UnixOutcome): void {
    this.unix.answered(listener, outcome);
  }

  /** Reads all TLS files again; connections stay. Never rejects. */
  async reloadTls(): Promise<readonly TlsReload[]> {
    return (await this.tls?.reload()) ?? [];
  }

  /** Of all TLS listeners. */
  certificates(): readonly ShownCertificate[] {
    return this.tls?.certificates() ?? [];
  }

  /** How late the event loop of the worker is that is latest, ms. */
  latenessMs(): number {
    return Math.max(0, ...this.options.liveWorkers().map((worker) => this.late.of(worker)));
  }

  /** Stops accepting; connections stay with their workers. */
  async close(): Promise<void> {
    this.tls?.stop();
    this.unix.close();
    await this.acceptor.close();
    await this.webSockets.close();
  }
}

function infoOf(listener: BrokerListenerSettings, index: number): ListenerInfo {
  const { name, protocol, transport, handshakeTimeoutMs } = listener;
  const tenancy = tenancyOf(listener.tenant);
  return {
    ...{ name, index, protocol, transport },
    ...(handshakeTimeoutMs === 0 ? {} : { handshakeTimeoutMs }),
    ...(tenancy === null ? {} : { tenancy }),
  };
}

/** Null when the listener does not say which tenant its clients are in. */
function tenancyOf({ name, from, names }: BrokerListenerSettings['tenant']): ListenerTenancy | null {
  if (from === 'listener') return name === '' ? null : { from, name, table: [] };
  const isHost = from === 'server-name';
  const table = names.map(({ value, tenant }) => ({ value: isHost ? value.toLowerCase() : value, tenant }));
  return { from, name, table };
}

function intakeOf(listener: BrokerListenerSettings, handshakeTimeoutMs: number): IntakeListener {
  const { transport, proxyProtocol, webSocket } = listener;
  return {
    transport,
    handshakeTimeoutMs: listener.handshakeTimeoutMs === 0 ? handshakeTimeoutMs : listener.handshakeTimeoutMs,
    proxyHeaderTimeoutMs: proxyProtocol.enabled ? proxyProtocol.headerTimeoutMs : null,
    webSocket: transport === 'ws' || transport === 'wss' ? webSocket : null,
    connectionReceiveBytesPerS: listener.connectionReceiveBytesPerS,
    receiveBytesPerS: listener.receiveBytesPerS,
    connectionsMax: listener.connectionsMax,
    acceptRatePerS: listener.acceptRatePerS,
    acceptBurst: listener.acceptBurst,
  };
}

function tlsSettingsOf(
  listener: BrokerListenerSettings,
  index: number,
  shared: BrokerSettings['tls'],
): TlsListenerSettings {
  const { names, ...tls } = listener.tls;
  const first: IdentityFiles = tls.certificate === '' ? shared : tls;
  return {
    ...tls,
    index,
    listener: listener.name,
    identities: [first, ...names].map(({ certificate, key, keyPasswordFile }) => ({
      certificate,
      key,
      keyPasswordFile,
    })),
    ca: tls.ca === '' ? shared.ca : tls.ca,
    // A name of the protocol itself, or what WebSockets begin with.
    alpn: [listener.transport === 'wss' ? 'http/1.1' : listener.protocol],
  };
}

function blockListOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of networks) {
    const network = parseNetwork(text);
    if (network !== undefined) list.addSubnet(network.address, network.prefixBits, network.family);
  }
  return list;
}
