/**
 * The port between a transport and a protocol: one accepted byte stream.
 *
 * Thread: a connection lives on one connection worker for its whole life; every method is called there and nowhere else.
 * Implementations: `src/net`. Callers: `src/protocols/*`.
 */

/** Why a connection ended; the values are label values of the metric `ringmq_connections_closed_total`. */
export type CloseReason =
  | 'client' // the peer closed, or said goodbye first
  | 'protocol-error'
  | 'keep-alive'
  | 'handshake-timeout'
  | 'taken-over'
  | 'slow-consumer'
  | 'refused'
  | 'limit'
  | 'network-error'
  | 'administrator'
  | 'internal-error'
  | 'shutdown';

/** A listener as the protocol sees it. */
export interface ListenerInfo {
  /** Unique name from the configuration, a metric label. */
  readonly name: string;
  /** Position in the configuration; the same on every thread. */
  readonly index: number;
  /** Name of the protocol that is spoken on it (`Protocol.name`). */
  readonly protocol: string;
  /** What carries the protocol's bytes; absent means 'tcp'. */
  readonly transport?: TransportName;
  /** Time between accept and the end of the protocol's handshake, ms; absent: that of the node. */
  readonly handshakeTimeoutMs?: number;
  /** Which tenant its clients are in; absent: it does not say, see `listenerTenant`. */
  readonly tenancy?: ListenerTenancy;
}

export const tenancySources = [
  'listener',
  'server-name',
  'certificate-common-name',
  'certificate-organization',
  'certificate-unit',
] as const;

/** How a listener says which tenant a client is in. Plain data. */
export interface ListenerTenancy {
  readonly from: (typeof tenancySources)[number];
  /** Tenant of the listener; of clients that the table does not know when something else decides, and then '' for none. */
  readonly name: string;
  /** What a host name or a part of a certificate stands for. */
  readonly table: readonly { readonly value: string; readonly tenant: string }[];
}

/** `unix` is a plain stream over a Unix socket; the others may run over one too. */
export type TransportName = 'tcp' | 'tls' | 'ws' | 'wss' | 'unix';

/** A client's certificate. Everything in it but `verified` is what the certificate says of itself. */
export interface PeerCertificate {
  /** It leads to a trusted authority, is within its time, and is not on the revocation list. */
  readonly verified: boolean;
  /** RFC 4514 text, most specific name first; '' when only the common name is known. */
  readonly subject: string;
  /** The most specific common name, or ''. */
  readonly commonName: string;
  /** As `DNS:name`, `email:address`, `URI:…`, `IP:address`. */
  readonly subjectAltNames: readonly string[];
  /** SHA-256 of the certificate, upper-case hexadecimal with colons; '' when only the proxy has seen it. */
  readonly fingerprint256: string;
}

export interface Connection {
  /** Unique within the worker for the life of the worker. */
  readonly id: number;
  readonly listener: ListenerInfo;
  /** Of the client; behind a trusted proxy what the proxy says. '' and 0 over a Unix socket. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** It came through a proxy, so where it comes from is never known better than the proxy says. Absent: no. */
  readonly isProxied?: boolean;
  /** The certificate that the client showed, here or to a trusted proxy; undefined without one. */
  readonly tls?: PeerCertificate | undefined;
  /** The host that the client asked TLS or the proxy for (SNI, authority); undefined when it named none. */
  readonly serverName?: string | undefined;
  /** The node has no room for this connection: say so in the protocol's own words and close it. */
  readonly isSurplus?: boolean;
  /** Bytes accepted by `write` and `reserve` that the kernel has not taken yet. Bound your output with it. */
  readonly outputBytes: number;
  /** True once `close` or `destroy` was called or the peer went away; writes are then ignored. */
  readonly closed: boolean;

  /** Copies `source[start, end)` to the output. It leaves in one system call at the end of the event-loop turn. */
  write(source: Uint8Array, start: number, end: number): void;

  /**
   * Reserves `length` contiguous bytes of output and returns their offset in `outputBuffer`. The caller fills them before
   * it returns to the event loop and before it calls anything else of this connection. Never call it when `closed`.
   */
  reserve(length: number): number;
  /** The buffer that the last `reserve` answered for. */
  readonly outputBuffer: Buffer;

  /**
   * Stops presenting bytes; what was not consumed is kept and presented again after `resumeReading`, even when nothing
   * new has arrived. This is how a full ring becomes back-pressure on a publisher's socket.
   */
  pauseReading(): void;
  resumeReading(): void;

  /** Sends what is queued, then ends the stream. The handler gets `onClose(reason)` once. */
  close(reason: CloseReason): void;
  /** Drops what is queued and ends the stream at once. The handler gets `onClose(reason)` once. */
  destroy(reason: CloseReason): void;
}

/** What a protocol does with one connection. No method may throw for anything that a client sent. */
export interface ConnectionHandler {
  /**
   * Parses whole frames in `buffer[start, end)` and returns the offset of the first byte that it did not consume. The
   * rest is presented again, contiguous with what arrives later. The buffer is valid during the call only. A handler
   * that refuses a frame by its declared length closes the connection here: the tail is bounded by what it asks for.
   */
  onData(buffer: Buffer, start: number, end: number): number;
  /** `outputBytes` fell to half of the limit `connectionOutputLowWaterBytes` or below after it had been above it. */
  onDrain(): void;
  /** Called exactly once. The connection must not be used after it returns. */
  onClose(reason: CloseReason): void;
}
