/**
 * The OCSP response to staple for one certificate: from a file, or from the responder, asked again when half of the time
 * that an answer holds has passed. Main thread, owned by the keeper of the TLS material.
 *
 * Only an answer that was checked is stapled; an old one goes on until it expires, then none is stapled.
 */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Logger } from '../../observability/log.ts';
import { toError } from '../../std/errors.ts';

const fetchTimeoutMs = 10_000;
const responseBytesMax = 65_536;
const retryMs = 60_000;
/** Bounds of the wait until the next question, ms. */
const waitMsMin = 30_000;
const waitMsMax = 12 * 3_600_000;

export interface OcspSourceOptions {
  readonly certificate: X509Certificate;
  /** The certificate and what follows it in its file. */
  readonly chain: readonly X509Certificate[];
  /** Where the issuer is looked for when the chain lacks it, PEM. */
  readonly authorities: string;
  /** Null: the responder is asked. */
  readonly file: string | null;
  /** Null: the one that the certificate names. */
  readonly responder: string | null;
  /** There is another `response`. */
  readonly changed: () => void;
  readonly log: Logger;
}

export class OcspSource {
  /** DER; null while there is none. */
  response: Uint8Array | null = null;
  private readonly options: OcspSourceOptions;
  private readonly abort = new AbortController();
  private timer: NodeJS.Timeout | null = null;
  private expiry: NodeJS.Timeout | null = null;
  private isBusy = false;

  constructor(options: OcspSourceOptions) {
    this.options = options;
    this.refresh();
  }

  /** Asks now. Never throws. */
  refresh(): void {
    if (this.isBusy || this.abort.signal.aborted) return;
    this.isBusy = true;
    void this.ask().then((waitMs) => {
      this.isBusy = false;
      if (this.abort.signal.aborted) return;
      if (this.timer !== null) clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), waitMs);
      this.timer.unref();
    });
  }

  stop(): void {
    this.abort.abort();
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.expiry !== null) clearTimeout(this.expiry);
  }

  /** Answers when to ask again, ms. */
  private async ask(): Promise<number> {
    const { certificate, log } = this.options;
    try {
      const ocsp = await import('./ocsp.ts');
      const issuer = this.issuer();
      const bytes = await this.read(ocsp, issuer);
      const { status, expiresMs } = ocsp.readOcspResponse(bytes, certificate, issuer, Date.now());
      if (this.abort.signal.aborted) return retryMs;
      if (status !== 'good')
        log.error('OCSP says that the certificate is not good', { status, subject: certificate.subject });
      this.take(bytes, expiresMs);
      return Math.min(waitMsMax, Math.max(waitMsMin, (expiresMs - Date.now()) / 2));
    } catch (error) {
      if (!this.abort.signal.aborted) {
        const reason = toError(error).message;
        log.warn('OCSP response cannot be had', {
          subject: certificate.subject,
          reason,
          isStapling: this.response !== null,
        });
      }
      return retryMs;
    }
  }

  private take(bytes: Uint8Array, expiresMs: number): void {
    if (this.expiry !== null) clearTimeout(this.expiry);
    const leftMs = expiresMs - Date.now();
    this.expiry = setTimeout(() => this.drop(), Math.min(leftMs, 2 ** 31 - 1));
    this.expiry.unref();
    const isNew = this.response === null || !Buffer.from(bytes).equals(this.response);
    this.response = bytes;
    if (isNew) this.options.changed();
  }

  /** Clients refuse an expired answer where they would put up with none. */
  private drop(): void {
    this.response = null;
    this.options.changed();
  }

  private issuer(): X509Certificate {
    const { certificate, chain, authorities } = this.options;
    const blocks = authorities.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
    const candidates = [...chain.slice(1), ...blocks.map((block) => new X509Certificate(block))];
    const found = candidates.find((each) => certificate.checkIssued(each) && certificate.verify(each.publicKey));
    if (found === undefined) throw new Error('the issuer of the certificate is not in its file');
    return found;
  }

  private async read(ocsp: typeof import('./ocsp.ts'), issuer: X509Certificate): Promise<Uint8Array> {
    const { certificate, file, responder } = this.options;
    if (file !== null) return readFile(file);
    const url = responder ?? ocsp.responderOf(certificate);
    if (url === null) throw new Error('the certificate names no responder');
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/ocsp-request', accept: 'application/ocsp-response' },
      body: new Uint8Array(ocsp.ocspRequestOf(certificate, issuer)),
      redirect: 'error',
      signal: AbortSignal.any([this.abort.signal, AbortSignal.timeout(fetchTimeoutMs)]),
    });
    if (!response.ok) throw new Error(`the responder answers with status ${response.status}`);
    return readBounded(response);
  }
}

async function readBounded(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > responseBytesMax) throw new Error(`the response has more than ${responseBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
