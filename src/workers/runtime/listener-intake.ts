/**
 * Takes connections over on a worker: from the socket that the main thread handed here, through the proxy's header, TLS and
 * the WebSocket upgrade as the listener wants them, to the protocol. Lives on a connection worker, one per worker.
 *
 * A plain TCP connection passes straight through. What fails on the way is counted by its reason, and closed.
 */
import { createServer, type Socket } from 'node:net';
import type { CloseReason, Connection, ConnectionHandler, ListenerInfo } from '../../core/ports/connection.ts';
import type { ProtocolWebSocket } from '../../core/ports/protocol.ts';
import { loadHttpAdapter } from '../../net/http/choose.ts';
import type { NodeWebSocketServer } from '../../net/http/node/web-socket-worker.ts';
import { originRule } from '../../net/http/origin.ts';
import type { HandshakeEnd, WebSocketTransport, WebSocketWorker, WebSocketWorkerOptions } from '../../net/http/port.ts';
import { type ProxyOutcome, readProxyHeader } from '../../net/proxy/read-proxy-header.ts';
import type { ConnectionFacts } from '../../net/tcp/buffered-connection.ts';
import type { TcpConnector } from '../../net/tcp/tcp-connector.ts';
import type { TlsEndpoint, TlsOutcome } from '../../net/tls/tls-endpoint.ts';
import type { TlsMaterial } from '../../net/tls/tls-material.ts';
import type { Logger } from '../../observability/log.ts';
import type { TransportFailure } from '../../observability/worker-metrics.ts';
import { SharedBucket } from '../../shm/shared-bucket.ts';
import { assert } from '../../std/assert.ts';
import type { BrokerError } from '../../std/errors.ts';
import type { UnixListeningMessage, UnixListenMessage } from '../messages.ts';
import type { Ledger } from './connection-ledger.ts';
import { acceptBucketOf, type IntakeListener, type IntakeStart } from './intake-start.ts';

type Accept = (connection: Connection) => ConnectionHandler;

export interface ListenerIntakeOptions {
  readonly start: IntakeStart;
  readonly listeners: readonly ListenerInfo[];
  readonly connector: TcpConnector;
  /** For admission where the main thread cannot decide. */
  readonly ledger: Ledger;
  /** By protocol name; absent: it is not spoken over WebSockets. */
  readonly webSockets: ReadonlyMap<string, ProtocolWebSocket>;
  accept(listener: ListenerInfo, connection: Connection): ConnectionHandler;
  /** A connection was taken over; `isHere` when the main thread does not know of it. */
  opened(listener: ListenerInfo, isHere: boolean): void;
  /** A connection has ended before its protocol knew of it. */
  closed(listener: ListenerInfo, reason: CloseReason): void;
  failed(listener: ListenerInfo, failure: TransportFailure): void;
  readonly log: Logger;
}

interface Place {
  readonly info: ListenerInfo;
  readonly settings: IntakeListener;
  readonly accept: Accept;
  readonly isPlain: boolean;
  tls: TlsEndpoint | null;
  webSockets: NodeWebSocketServer | null;
  /** With uWebSockets.js, which has its own sockets. */
  foreign: WebSocketWorker | null;
  readonly acceptBucket: SharedBucket | null;
}

const noFacts: ConnectionFacts = {};
const surplusFacts: ConnectionFacts = { isSurplus: true };
/** RFC 6455, section 7.4.1: the server goes away. */
const goingAway = 1001;

const closeReasons: Readonly<Record<TransportFailure, CloseReason>> = {
  'proxy-malformed': 'protocol-error',
  'proxy-timeout': 'handshake-timeout',
  'tls-failed': 'protocol-error',
  'tls-timeout': 'handshake-timeout',
  'certificate-refused': 'refused',
  'upgrade-refused': 'refused',
  'upgrade-timeout': 'handshake-timeout',
  'web-socket-text': 'protocol-error',
  'web-socket-too-big': 'limit',
  'web-socket-unread': 'limit',
  'accept-limit': 'limit',
  gone: 'network-error',
};

export class ListenerIntake {
  private readonly options: ListenerIntakeOptions;
  private readonly places: readonly Place[];
  /** What gives up each connection that is on its way to its protocol. */
  private readonly pending = new Set<() => void>();
  /** Of the servers that listen here. */
  private readonly closers: (() => void)[] = [];
  private isClosed = false;

  constructor(options: ListenerIntakeOptions) {
    this.options = options;
    this.places = options.listeners.map((info, index) => this.placeOf(info, options.start.listeners[index]));
  }

  /** Loads what the listeners need; nothing may be taken before it has resolved. Resolves at once for plain TCP. */
  async open(): Promise<void> {
    const { start } = this.options;
    if (start.tls.size > 0) {
      const { TlsEndpoint } = await import('../../net/tls/tls-endpoint.ts');
      for (const [index, material] of start.tls) {
        const place = this.places[index];
        place.tls = new TlsEndpoint(material, place.settings.handshakeTimeoutMs);
      }
    }
    const served = this.places.filter(({ settings }) => settings.webSocket?.adapter === 'node');
    if (served.length === 0) return;
    const { NodeWebSocketServer } = await import('../../net/http/node/web-socket-worker.ts');
    for (const place of served) place.webSockets = new NodeWebSocketServer(this.webSocketOptions(place));
  }

  take(index: number, socket: Socket, isSurplus: boolean): void {
    const place = this.places[index];
    const facts = isSurplus ? surplusFacts : noFacts;
    if (place.isPlain) {
      this.options.connector.adopt(socket, place.info, place.accept, facts);
      return;
    }
    this.options.opened(place.info, false);
    this.begin(place, socket, facts);
  }

  /** Takes a socket that is counted already through what its listener wants. */
  private begin(place: Place, socket: Socket, facts: ConnectionFacts): void {
    if (this.isClosed) {
      socket.destroy();
      this.options.closed(place.info, 'shutdown');
    } else if (place.settings.proxyHeaderTimeoutMs === null) this.secure(place, socket, facts);
    else this.readProxy(place, socket, facts, place.settings.proxyHeaderTimeoutMs);
  }

  updateTls(index: number, material: TlsMaterial): void {
    this.places[index].tls?.update(material);
  }

  /** Listens on a Unix socket and serves it from here on. Never rejects: answers null, or what kept it from listening. */
  async listenOnUnix({ listener, file, backlog }: UnixListenMessage): Promise<UnixListeningMessage['problem']> {
    const place = this.places[listener];
    const { closeOnFile, listenOnFile } = await import('../../net/unix/unix-socket.ts');
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on('error', () => undefined);
      if (this.admit(place)) this.begin(place, socket, noFacts);
      else socket.destroy();
    });
    try {
      await listenOnFile(server, place.info.name, file, backlog);
    } catch (error) {
      const { code, message } = error as BrokerError;
      return { code, message };
    }
    // Errors of accept concern one connection; the next one is tried again.
    server.on('error', (error) => this.options.log.error('cannot accept', { listener: place.info.name, error }));
    const close = (): void => closeOnFile(server, file);
    if (this.isClosed) close();
    else this.closers.push(close);
    return null;
  }

  /** Serves the WebSockets that uWebSockets.js on the main thread accepts for this listener. */
  async joinWebSockets(index: number, transport: WebSocketTransport): Promise<void> {
    const place = this.places[index];
    const adapter = await loadHttpAdapter('uws');
    place.foreign = await adapter.serveWebSockets(transport, {
      ...this.webSocketOptions(place),
      admit: () => this.admit(place),
    });
    if (this.isClosed) await place.foreign.stop(goingAway, 0);
  }

  /** Gives up everything that is on its way; what comes from now on is closed. Connections with a protocol stay. */
  cut(): void {
    this.isClosed = true;
    for (const giveUp of this.pending) giveUp();
    this.pending.clear();
    for (const close of this.closers.splice(0)) close();
    for (const { webSockets } of this.places) webSockets?.cutHandshakes();
  }

  /** Lets go of everything that keeps the thread alive. */
  async stop(): Promise<void> {
    this.cut();
    await Promise.all(
      this.places.map(async ({ webSockets, foreign }) => {
        await webSockets?.stop(goingAway, 0);
        await foreign?.stop(goingAway, 0);
      }),
    );
  }

  private placeOf(info: ListenerInfo, settings: IntakeListener): Place {
    const { transport, proxyHeaderTimeoutMs, acceptRatePerS, acceptBurst } = settings;
    const { buckets } = this.options.start;
    return {
      info,
      settings,
      accept: (connection) => this.options.accept(info, connection),
      isPlain: (transport === 'tcp' || transport === 'unix') && proxyHeaderTimeoutMs === null,
      tls: null,
      webSockets: null,
      foreign: null,
      acceptBucket:
        acceptRatePerS > 0 ? new SharedBucket(buckets, acceptBucketOf(info.index), acceptRatePerS, acceptBurst) : null,
    };
  }

  // ---- the proxy's header

  private readProxy(place: Place, socket: Socket, facts: ConnectionFacts, timeoutMs: number): void {
    const giveUp = (): void => {
      socket.destroy();
    };
    this.pending.add(giveUp);
    readProxyHeader(socket, timeoutMs, (outcome) => {
      this.pending.delete(giveUp);
      if (outcome.kind === 'header' && !this.isClosed) this.secure(place, socket, { ...facts, ...told(outcome) });
      else this.proxyFailed(place, socket, outcome);
    });
  }

  private proxyFailed(place: Place, socket: Socket, outcome: ProxyOutcome): void {
    if (outcome.kind === 'malformed') {
      const { reason } = outcome;
      this.options.log.warn('PROXY header refused', { listener: place.info.name, from: socket.remoteAddress, reason });
    }
    socket.destroy();
    if (outcome.kind === 'header') this.options.closed(place.info, 'shutdown');
    else if (outcome.kind === 'malformed') this.fail(place, 'proxy-malformed');
    else this.fail(place, outcome.kind === 'timeout' ? 'proxy-timeout' : 'gone');
  }

  // ---- TLS

  private secure(place: Place, socket: Socket, facts: ConnectionFacts): void {
    if (place.settings.transport !== 'tls' && place.settings.transport !== 'wss') {
      this.deliver(place, socket, facts);
      return;
    }
    assert(place.tls !== null, 'the intake of a TLS listener is open');
    const giveUp = (): void => {
      abandon();
      this.options.closed(place.info, 'shutdown');
    };
    const abandon = place.tls.secure(socket, (outcome) => {
      this.pending.delete(giveUp);
      this.secured(place, facts, outcome);
    });
    this.pending.add(giveUp);
  }

  private secured(place: Place, facts: ConnectionFacts, outcome: TlsOutcome): void {
    if (outcome.kind !== 'secured') {
      if ('reason' in outcome) {
        const { kind, reason } = outcome;
        this.options.log.info('TLS hand-shake failed', { listener: place.info.name, kind, reason });
      }
      const { kind } = outcome;
      if (kind === 'gone') this.fail(place, 'gone');
      else if (kind === 'timeout') this.fail(place, 'tls-timeout');
      else this.fail(place, kind === 'failed' ? 'tls-failed' : 'certificate-refused');
      return;
    }
    const { socket, peer, serverName } = outcome;
    const known: ConnectionFacts = {
      ...facts,
      tls: peer ?? facts.tls,
      serverName: serverName ?? facts.serverName,
    };
    if (place.webSockets !== null) place.webSockets.take(socket, known);
    else this.options.connector.resumeSecured(socket, place.info, place.accept, known);
  }

  // ---- plain bytes and WebSockets

  private deliver(place: Place, socket: Socket, facts: ConnectionFacts): void {
    if (place.webSockets !== null) {
      place.webSockets.take(socket, facts);
      return;
    }
    const early: Buffer | null = socket.readableLength > 0 ? socket.read() : null;
    this.options.connector.resume(socket, place.info, place.accept, { ...facts, early });
  }

  private webSocketOptions(place: Place): WebSocketWorkerOptions {
    const { info, settings } = place;
    const { webSocket } = settings;
    const own = this.options.webSockets.get(info.protocol);
    assert(webSocket !== null && own !== undefined, 'a WebSocket listener has a protocol that is spoken over them');
    return {
      endpoints: [
        {
          path: webSocket.path === '' ? own.path : webSocket.path,
          protocols: own.subProtocols,
          accept: (connection) =>
            this.options.connector.resumeWebSocket(connection, info, place.accept, (why) =>
              this.options.failed(info, why),
            ),
        },
      ],
      originAllowed: originRule(webSocket.originsAllowed),
      routes: [],
      onHandlerError: () => undefined,
      connectionsMax: Number.POSITIVE_INFINITY,
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      messageBytesMax: webSocket.messageBytesMax,
      idleTimeoutMs: webSocket.idleTimeoutMs,
      abandoned: (why) => this.abandoned(place, why),
    };
  }

  private abandoned(place: Place, why: HandshakeEnd): void {
    if (this.isClosed) this.options.closed(place.info, 'shutdown');
    else if (why === 'answered') this.fail(place, 'upgrade-refused');
    else this.fail(place, why === 'timeout' ? 'upgrade-timeout' : 'gone');
  }

  /** The limits that the main thread keeps for the sockets that it accepts itself. */
  private admit(place: Place): boolean {
    const { ledger, start } = this.options;
    const { info, settings } = place;
    if (this.isClosed) return false;
    const isFull =
      ledger.total >= start.connectionsMax ||
      (settings.connectionsMax > 0 && ledger.ofListener(info.index) >= settings.connectionsMax) ||
      place.acceptBucket?.take(1) === false;
    if (isFull) {
      this.options.failed(info, 'accept-limit');
      return false;
    }
    this.options.opened(info, true);
    return true;
  }

  private fail(place: Place, failure: TransportFailure): void {
    this.options.failed(place.info, failure);
    this.options.closed(place.info, closeReasons[failure]);
  }
}

/** What a proxy's header says, in the words of the connection. A name without its certificate is all that it tells. */
function told({ header }: Extract<ProxyOutcome, { kind: 'header' }>): ConnectionFacts {
  const { source, authority, ssl } = header;
  const hasCertificate = ssl !== null && ssl.commonName !== null;
  return {
    remote: source,
    isProxied: true,
    serverName: authority === '' ? undefined : authority,
    tls: hasCertificate
      ? {
          verified: ssl.verified,
          subject: '',
          commonName: ssl.commonName ?? '',
          subjectAltNames: [],
          fingerprint256: '',
        }
      : undefined,
  };
}
