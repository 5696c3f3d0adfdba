/**
 * What a worker needs to end TLS for a listener, as plain data: made on the main thread, sent to every worker at its start
 * and again whenever a file, a revocation list, a stapled answer or the ticket keys change.
 */

export interface TlsIdentity {
  /** The certificate and its chain, PEM. */
  readonly certificate: string;
  /** PEM, not encrypted any more. */
  readonly key: string;
  /** Lower-case host names, of which the first label may be `*`; a client that asks for none of any identity gets the first one. */
  readonly names: readonly string[];
  /** SHA-256 of the certificate. */
  readonly fingerprint256: string;
  /** The OCSP response to staple, DER; null when there is none. */
  readonly ocspResponse: Uint8Array | null;
}

export type ClientCertificateMode = 'none' | 'optional' | 'required';

export interface TlsMaterial {
  /** At least one. */
  readonly identities: readonly TlsIdentity[];
  /** Authorities whose clients are let in, PEM; '' with mode 'none'. */
  readonly ca: string;
  /** Revocation lists, PEM; empty: none is checked. */
  readonly crl: string;
  readonly clientCertificate: ClientCertificateMode;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  /** OpenSSL lists; '' stands for Node's own choice. */
  readonly ciphers: string;
  readonly curves: string;
  /** Application protocols (ALPN) that are offered. */
  readonly alpn: readonly string[];
  /** 48 random bytes, the same for all workers, so that a client resumes on any of them; null: no tickets. */
  readonly ticketKeys: Uint8Array | null;
  /** How long a session may be resumed, s. */
  readonly sessionTimeoutS: number;
  /** Changes whenever what decides about clients changed; sessions of another value are not resumed. */
  readonly generation: number;
}
