/**
 * The cluster port: gRPC, and beside it connections of other protocols, told apart by how they begin. Thread: the Raft
 * worker; opened by the placement server.
 *
 * Without TLS the first bytes tell, since HTTP/2 begins with a preface of its own (RFC 9113, section 3.4). With TLS the
 * client says what it speaks (ALPN), and all get the decrypted connection.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';

export interface ServerTls {
  /** PEM; whose certificates of clients are believed. Null: those of the system. */
  readonly ca: Buffer | null;
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** Connections without a certificate that `ca` vouches for are refused. */
  readonly requireClientCertificate: boolean;
}

/** A protocol beside gRPC. */
export interface StreamOffer {
  /** What a connection begins with; its first byte is its own; that of HTTP/2 is "P". */
  readonly preface: Buffer;
  /** Its name in TLS. */
  readonly protocol: string;
  /** Takes the connection over, from its first byte on; `first` was read of it already. */
  accept(socket: Socket, first: Buffer): void;
}

export interface SharedPortOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly tls: ServerTls | null;
  /** Takes connections that speak HTTP/2, decrypted. Their first bytes may be in the socket's buffer. */
  readonly toHttp2: (socket: Socket) => void;
  readonly streams: readonly StreamOffer[];
}

/** Whoever connects has to say something, or to finish the handshake, within this time. */
const firstBytesMs = 10_000;

const noBytes = Buffer.alloc(0);

/** How long a peer that was refused has to read why. */
const farewellMs = 1_000;

/**
 * Ends a connection with last words. What is still on its way is read and thrown away: one that is closed over unread bytes takes
 * the last words with it.
 */
export function endWith(socket: Socket, lastWords: Buffer): void {
  socket.removeAllListeners('data');
  socket.resume();
  if (socket.writable) socket.end(lastWords);
  const timer = setTimeout(() => socket.destroy(), farewellMs);
  socket.on('close', () => clearTimeout(timer));
}

export class SharedPort {
  private readonly options: SharedPortOptions;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  /** Have said nothing yet, nor begun TLS. */
  private readonly undecided = new Set<Socket>();

  private constructor(options: SharedPortOptions) {
    this.options = options;
    const { tls } = options;
    if (tls === null) {
      this.server = createServer({ noDelay: true }, (socket) => {
        this.remember(socket);
        this.look(socket);
      });
      return;
    }
    const server = createTlsServer({
      noDelay: true,
      ca: tls.ca ?? undefined,
      cert: tls.certificate,
      key: tls.key,
      requestCert: tls.requireClientCertificate,
      rejectUnauthorized: tls.requireClientCertificate,
      ALPNProtocols: ['h2', ...options.streams.map(({ protocol }) => protocol)],
      handshakeTimeout: firstBytesMs,
    });
    server.on('secureConnection', (socket) => this.choose(socket));
    server.on('connection', (socket: Socket) => this.remember(socket));
    // Scanners and clients without a certificate; the connection is closed already.
    server.on('tlsClientError', () => undefined);
    this.server = server;
  }

  /** Resolves when the port is open. Rejects with the system's error. */
  static async open(options: SharedPortOptions): Promise<SharedPort> {
    const shared = new SharedPort(options);
    const { server } = shared;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port, options.host, () => {
        server.off('error', reject);
        resolve();
      });
    });
    return shared;
  }

  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /**
   * Takes no more connections, and resolves when the present ones have ended: those who took them see to that. After
   * `graceMs` they are cut, and `onCut` is called before.
   */
  async close(graceMs: number, onCut: () => void): Promise<void> {
    const timer = setTimeout(() => {
      onCut();
      for (const socket of this.sockets) socket.destroy();
    }, graceMs);
    for (const socket of this.undecided) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
    clearTimeout(timer);
  }

  private remember(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    // Whoever takes the connection over listens as well; until then nobody is interested.
    socket.on('error', () => undefined);
  }

  private choose(socket: TLSSocket): void {
    const { streams, toHttp2 } = this.options;
    socket.on('error', () => undefined);
    const chosen = streams.find(({ protocol }) => protocol === socket.alpnProtocol);
    if (chosen === undefined) toHttp2(socket);
    else chosen.accept(socket, noBytes);
  }

  private look(socket: Socket): void {
    const { streams, toHttp2 } = this.options;
    const timer = setTimeout(() => socket.destroy(), firstBytesMs);
    this.undecided.add(socket);
    const decide = (): void => {
      clearTimeout(timer);
      this.undecided.delete(socket);
    };
    socket.once('close', decide);
    // The first byte is enough: whoever it is given to checks the rest.
    socket.once('data', (first: Buffer) => {
      decide();
      socket.pause();
      const chosen = streams.find(({ preface }) => preface[0] === first[0]);
      if (chosen !== undefined) {
        chosen.accept(socket, first);
        return;
      }
      socket.unshift(first);
      toHttp2(socket);
    });
  }
}
