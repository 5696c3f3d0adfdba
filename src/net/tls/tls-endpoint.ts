/**
 * Ends TLS on the worker that owns the connections: takes sockets of which nothing was read, or nothing but the header of
 * a proxy, and gives back secured ones. One per TLS listener and worker.
 */
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, TLSSocket } from 'node:tls';
import type { PeerCertificate } from '../../core/ports/connection.ts';
import { describePeer } from './peer-certificate.ts';
import { contextOptions, SecureContexts } from './secure-contexts.ts';
import type { TlsMaterial } from './tls-material.ts';

export type TlsOutcome =
  | {
      readonly kind: 'secured';
      /** Nothing behind the hand-shake was read yet: go on before this call returns. */
      readonly socket: TLSSocket;
      readonly peer: PeerCertificate | undefined;
      readonly serverName: string | undefined;
    }
  /** The socket is closed. */
  | { readonly kind: 'timeout' | 'gone' }
  | { readonly kind: 'failed' | 'certificate-refused'; readonly reason: string };

export class TlsEndpoint {
  private material: TlsMaterial;
  private contexts: SecureContexts;
  private readonly handshakeTimeoutMs: number;
  /** Never listens: Node asks it for stapled answers. */
  private readonly server: Server;

  /** Throws what OpenSSL says of unusable material; the main thread has tried it out before. */
  constructor(material: TlsMaterial, handshakeTimeoutMs: number) {
    this.material = material;
    this.contexts = new SecureContexts(material);
    this.handshakeTimeoutMs = handshakeTimeoutMs;
    this.server = createServer(contextOptions(material, material.identities[0]));
    this.server.on('OCSPRequest', (certificate, _issuer, answer) => {
      const digest = createHash('sha256').update(certificate).digest('hex').toUpperCase();
      const response = this.contexts.ocspResponse(digest.replace(/..(?=.)/g, '$&:'));
      answer(null, (response === null ? null : Buffer.from(response)) as Buffer);
    });
  }

  /** From now on hand-shakes use this; connections stay as they are. */
  update(material: TlsMaterial): void {
    const contexts = new SecureContexts(material);
    this.server.setSecureContext(contextOptions(material, material.identities[0]));
    this.contexts = contexts;
    this.material = material;
  }

  /** Shakes hands; calls `done` once. Returns what gives up at once, after which `done` is not called. */
  secure(socket: Socket, done: (outcome: TlsOutcome) => void): () => void {
    const { material, contexts } = this;
    const secured = new TLSSocket(socket, {
      isServer: true,
      server: this.server,
      secureContext: contexts.first.context,
      SNICallback: (name, chosen) => chosen(null, contexts.of(name)),
      ALPNProtocols: [...material.alpn],
      requestCert: material.clientCertificate !== 'none',
      // Judged below, where it is counted.
      rejectUnauthorized: false,
    });
    const timer = setTimeout(() => fail({ kind: 'timeout' }), this.handshakeTimeoutMs);
    timer.unref();
    let isOver = false;

    const settle = (): boolean => {
      if (isOver) return false;
      isOver = true;
      clearTimeout(timer);
      return true;
    };
    const fail = (outcome: TlsOutcome): void => {
      if (!settle()) return;
      secured.destroy();
      socket.destroy();
      done(outcome);
    };
    // They stay: a socket that is given up may report more.
    secured.on('error', (error: NodeJS.ErrnoException) => {
      const isReset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
      fail(isReset ? { kind: 'gone' } : { kind: 'failed', reason: reasonOf(error) });
    });
    secured.on('close', () => fail({ kind: 'gone' }));
    secured.once('secure', () => {
      if (isOver) return;
      const judged = judge(secured, material);
      if ('refusal' in judged) {
        fail({ kind: 'certificate-refused', reason: judged.refusal });
        return;
      }
      if (!settle()) return;
      const { servername } = secured;
      const serverName = typeof servername === 'string' && servername !== '' ? servername : undefined;
      done({ kind: 'secured', socket: secured, peer: judged.peer, serverName });
    });
    return () => {
      if (!settle()) return;
      secured.destroy();
      socket.destroy();
    };
  }
}

/** Without a certificate a client comes in unless one is required; with one only when it is in order. */
function judge(
  socket: TLSSocket,
  { clientCertificate }: TlsMaterial,
): { readonly peer: PeerCertificate | undefined } | { readonly refusal: string } {
  if (clientCertificate === 'none') return { peer: undefined };
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    return clientCertificate === 'required' ? { refusal: 'the client showed no certificate' } : { peer: undefined };
  }
  const problem = verifyProblem(socket);
  return problem === null ? { peer: describePeer(certificate, true) } : { refusal: problem };
}

/**
 * What OpenSSL found wrong with the client's chain; null when nothing. Node does this for sockets of a server that
 * listens; the call is the same.
 */
function verifyProblem(socket: TLSSocket): string | null {
  const { ssl } = socket as unknown as { ssl: { verifyError(): NodeJS.ErrnoException | null | undefined } | null };
  if (ssl === null || typeof ssl.verifyError !== 'function') return 'the chain cannot be checked on this Node';
  const problem = ssl.verifyError();
  return problem === null || problem === undefined ? null : (problem.code ?? problem.message);
}

/** OpenSSL's short reason, for example "no shared cipher". */
function reasonOf(error: NodeJS.ErrnoException): string {
  const { reason, code } = error as { reason?: string; code?: string };
  return reason ?? code ?? error.message;
}
