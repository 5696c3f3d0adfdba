/**
 * Who may be a peer: mutual TLS, the join token, and the rule that traffic without TLS stays on the machine. Thread: the
 * Raft worker, and the main thread for the checks at start.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { ChannelCredentials, Client } from '@grpc/grpc-js';
import { hostOf, serverCheck } from '../../rpc/client/server-security.ts';
import { type PeerLimits, peerChannelOptions } from './peer-limits.ts';
import type { PeerTls } from './peer-ports.ts';

export interface PeerTlsFiles {
  /** Certificate of the authority that signs the nodes' certificates, PEM. */
  readonly ca: string;
  /** Certificate of this node, followed by intermediate ones if there are any, PEM. */
  readonly certificate: string;
  readonly key: string;
  readonly serverName?: string | null;
}

/** Reads the files. Throws Node's error for one that cannot be read. */
export function loadPeerTls(files: PeerTlsFiles): PeerTls {
  return {
    ca: readFileSync(files.ca),
    certificate: readFileSync(files.certificate),
    key: readFileSync(files.key),
    serverName: files.serverName ?? null,
  };
}

/** A connection of its own to `address`, made with the first call. Throws for files that are no certificates or keys. */
export function peerClient(address: string, tls: PeerTls | null, limits: PeerLimits): Client {
  const keepAlive = {
    'grpc.keepalive_time_ms': limits.keepAliveMs,
    'grpc.keepalive_timeout_ms': limits.keepAliveTimeoutMs,
  };
  const options = { ...peerChannelOptions, ...keepAlive };
  if (tls === null) return new Client(address, ChannelCredentials.createInsecure(), options);
  const { askedName, checkServerIdentity } = serverCheck(address, tls);
  const credentials = ChannelCredentials.createSsl(tls.ca, tls.key, tls.certificate, { checkServerIdentity });
  // grpc-js always asks for a name.
  return new Client(address, credentials, { ...options, 'grpc.ssl_target_name_override': askedName });
}

/** Whether an applicant may join. `expected` null: no token is asked for. Takes equally long for every wrong token. */
export function joinTokenMatches(expected: string | null, given: string): boolean {
  if (expected === null) return true;
  return timingSafeEqual(digest(expected), digest(given));
}

/** Of equal length whatever the text, as the comparison wants it. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether the host of `host:port` can be reached from this machine alone. Names other than `localhost` cannot be known. */
export function isLoopbackAddress(address: string): boolean {
  const host = hostOf(address);
  if (host.toLowerCase() === 'localhost') return true;
  const version = isIP(host);
  return version !== 0 && loopback.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

/** Why nodes must not talk to each other over `address`; null when they may. */
export function clusterAddressProblem(
  address: string,
  options: { readonly hasTls: boolean; readonly isInsecureAllowed: boolean },
): string | null {
  if (options.hasTls || options.isInsecureAllowed || isLoopbackAddress(address)) return null;
  return (
    `Cannot use cluster address "${address}": other machines reach it and cluster.tls is not set; ` +
    'set it, or cluster.insecure: true on a network that nobody else is on'
  );
}
