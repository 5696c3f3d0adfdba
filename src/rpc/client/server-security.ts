/**
 * Whom the client talks to: addresses, and the settings of TLS that gRPC and the client's own connections share. Any
 * thread; used by `connection.ts` and `call-stream.ts`.
 */
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';

export interface ClientTls {
  /** PEM; whose certificates of servers are believed. Null: those of the system. */
  readonly ca: Buffer | null;
  /** PEM; what the server is shown. Null: nothing. */
  readonly certificate: Buffer | null;
  readonly key: Buffer | null;
  /** Name in the server's certificate, where it is not the host of its address. */
  readonly serverName?: string;
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
