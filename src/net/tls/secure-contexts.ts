/**
 * OpenSSL contexts of a listener, and which of them a client gets. On the main thread to try new files out, on the workers
 * to serve.
 */
import { constants } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { TlsIdentity, TlsMaterial } from './tls-material.ts';

/**
 * TLS 1.3 and forward-secret AEAD suites of TLS 1.2, nothing else. The client's order counts, since it knows whether it
 * has AES in hardware.
 */
const defaultCiphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** Options of one identity. Renegotiation lets a client make the server work again and again; compression leaks (CRIME). */
export function contextOptions(material: TlsMaterial, identity: TlsIdentity): SecureContextOptions {
  const { ca, crl, ciphers, curves, minVersion, ticketKeys } = material;
  const noTickets = ticketKeys === null ? constants.SSL_OP_NO_TICKET : 0;
  return {
    cert: identity.certificate,
    key: identity.key,
    minVersion,
    ciphers: ciphers === '' ? defaultCiphers : ciphers,
    ecdhCurve: curves === '' ? 'auto' : curves,
    // Without it Node would trust every public authority for client certificates.
    ca: ca === '' ? [] : ca,
    ...(crl === '' ? {} : { crl }),
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION | noTickets,
    sessionTimeout: material.sessionTimeoutS,
    ...(ticketKeys === null ? {} : { ticketKeys: Buffer.from(ticketKeys) }),
    // Sessions that were made under other rules for clients do not fit.
    sessionIdContext: `ringmq-${material.clientCertificate}-${material.generation}`.slice(0, 32),
  };
}

interface Entry {
  readonly identity: TlsIdentity;
  readonly context: SecureContext;
}

/** All identities of a listener. Throws what OpenSSL says of material that does not fit together. */
export class SecureContexts {
  readonly first: Entry;
  private readonly exact = new Map<string, Entry>();
  /** By the name behind `*.` */
  private readonly wildcards = new Map<string, Entry>();
  private readonly byFingerprint = new Map<string, TlsIdentity>();

  constructor(material: TlsMaterial) {
    const entries = material.identities.map((identity) => ({
      identity,
      context: createSecureContext(contextOptions(material, identity)),
    }));
    this.first = entries[0];
    for (const entry of entries) {
      this.byFingerprint.set(entry.identity.fingerprint256, entry.identity);
      for (const name of entry.identity.names) {
        const table = name.startsWith('*.') ? this.wildcards : this.exact;
        const key = name.startsWith('*.') ? name.slice(2) : name;
        // The first one in the configuration that claims a name has it.
        if (!table.has(key)) table.set(key, entry);
      }
    }
  }

  /** The context for a name that a client asked for; the first one when nobody has that name. */
  of(serverName: string): SecureContext {
    const name = serverName.toLowerCase().replace(/\.$/, '');
    const dot = name.indexOf('.');
    const entry = this.exact.get(name) ?? (dot > 0 ? this.wildcards.get(name.slice(dot + 1)) : undefined);
    return (entry ?? this.first).context;
  }

  /** The answer to staple for the certificate with this fingerprint. */
  ocspResponse(fingerprint256: string): Uint8Array | null {
    return this.byFingerprint.get(fingerprint256)?.ocspResponse ?? null;
  }
}
