/**
 * Whom a node or a client talks to: addresses, the settings of TLS that gRPC and other connections share, and how the others are
 * opened. Any thread; used by the client and by the transport between nodes.
 */
import { connect, isIP, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type PeerCertificate } from 'node:tls';

export interface ClientTls {
  /** PEM; whose certificates of servers are believed. Null: those of the system. */
  readonly ca: Buffer | null;
  /** PEM; what the server is shown. Null: nothing. */
  readonly certificate: Buffer | null;
  readonly key: Buffer | null;
  /** Name in the server's certificate, where it is not the host of its address. */
  readonly serverName?: string | null;
}

/** Of `host:port`, without the brackets of IPv6. */
export function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

export interface ServerCheck {
  /** What the server is asked for (SNI). */
  readonly askedName: string;
  checkServerIdentity(name: string, presented: PeerCertificate): Error | undefined;
}

/**
 * TLS has no way to ask for a server by its IP address (RFC 6066, section 3) and Node refuses to try. Such a server is asked
 * for by a name that nobody listens to; its certificate is checked against the address all the same.
 */
export function serverCheck(address: string, { serverName }: ClientTls): ServerCheck {
  const expected = serverName ?? hostOf(address);
  return {
    askedName: isIP(expected) === 0 ? expected : 'node.ringmq.invalid',
    checkServerIdentity: (_name, presented) => checkServerIdentity(expected, presented),
  };
}

/**
 * A connection that is no gRPC, being opened; with TLS it asks for `protocol` (ALPN). Throws for what is no address, certificate
 * or key.
 */
export function connectTo(address: string, tls: ClientTls | null, protocol: string): Socket {
  const target = { host: hostOf(address), port: Number(address.slice(address.lastIndexOf(':') + 1)), noDelay: true };
  if (tls === null) return connect(target);
  const { askedName, checkServerIdentity: check } = serverCheck(address, tls);
  return connectTls({
    ...target,
    ca: tls.ca ?? undefined,
    cert: tls.certificate ?? undefined,
    key: tls.key ?? undefined,
    servername: askedName,
    checkServerIdentity: check,
    ALPNProtocols: [protocol],
  });
}
