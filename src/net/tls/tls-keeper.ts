/**
 * Keeps the TLS material of all listeners fresh: reads files again when they change, replaces ticket keys, has stapled
 * responses fetched in time, and hands every change on. Main thread, owned by the broker.
 *
 * New material that cannot be used changes nothing: what is in use stays, and the log says so. Connections never notice.
 */
import { randomBytes, type X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Logger } from '../../observability/log.ts';
import { toError } from '../../std/errors.ts';
import { filesOf, type LoadedTls, loadTls, type TlsFileSettings } from './load-material.ts';
import { OcspSource } from './ocsp-source.ts';
import type { TlsMaterial } from './tls-material.ts';

/** How often the files are looked at, ms. */
const lookMs = 2_000;
const ticketKeyBytes = 48;

export interface TlsListenerSettings extends TlsFileSettings {
  /** Of the listener. */
  readonly index: number;
  readonly sessionTickets: boolean;
  readonly ticketRotationS: number;
  readonly ocsp: 'off' | 'fetch' | 'file';
  /** '': the one that the certificate names. */
  readonly ocspResponder: string;
  readonly ocspFile: string;
}

export interface TlsKeeperOptions {
  readonly listeners: readonly TlsListenerSettings[];
  /** New material for the workers. */
  changed(listener: number, material: TlsMaterial): void;
  readonly log: Logger;
  readonly lookMs?: number;
}

/** What a reload did to one listener. */
export interface TlsReload {
  readonly listener: string;
  /** Null: it was read, changed or not. */
  readonly problem: string | null;
}

/** A certificate in use. */
export interface ShownCertificate {
  readonly listener: string;
  readonly subject: string;
  /** Unix time, ms. */
  readonly validToMs: number;
}

class Kept {
  readonly settings: TlsListenerSettings;
  loaded: LoadedTls;
  ticketKeys: Uint8Array | null = null;
  generation = 0;
  /** Of the files, as they were when they were read last. */
  signature: string;
  /** One per certificate; empty without stapling. */
  sources: OcspSource[] = [];
  rotation: NodeJS.Timeout | null = null;

  constructor(settings: TlsListenerSettings, loaded: LoadedTls, signature: string) {
    this.settings = settings;
    this.loaded = loaded;
    this.signature = signature;
    this.newTicketKeys();
  }

  newTicketKeys(): void {
    if (this.settings.sessionTickets) this.ticketKeys = randomBytes(ticketKeyBytes);
  }

  get material(): TlsMaterial {
    const { material } = this.loaded;
    const identities = material.identities.map((identity, index) => ({
      ...identity,
      ocspResponse: this.sources[index]?.response ?? null,
    }));
    return { ...material, identities, ticketKeys: this.ticketKeys, generation: this.generation };
  }
}

export class TlsKeeper {
  private readonly options: TlsKeeperOptions;
  private readonly kept = new Map<number, Kept>();
  private timer: NodeJS.Timeout | null = null;
  private looking: Promise<unknown> = Promise.resolve();
  private isStopped = false;

  constructor(options: TlsKeeperOptions) {
    this.options = options;
  }

  /** Reads everything. Rejects with `BrokerError` `TLS_MATERIAL_UNUSABLE`. */
  async load(): Promise<void> {
    for (const settings of this.options.listeners) {
      const signature = await signatureOf(settings);
      const loaded = await loadTls(settings, Date.now());
      this.warn(settings, loaded);
      const kept = new Kept(settings, loaded, signature);
      this.kept.set(settings.index, kept);
      this.openSources(kept);
    }
  }

  /** What a worker that starts now is given. */
  materials(): ReadonlyMap<number, TlsMaterial> {
    return new Map([...this.kept].map(([index, kept]) => [index, kept.material]));
  }

  /** The certificates that are shown to clients; one for each name of each listener. */
  certificates(): readonly ShownCertificate[] {
    return [...this.kept.values()].flatMap(({ settings, loaded }) =>
      loaded.chains.map(([own]) => {
        const subject = own.subject?.replaceAll('\n', ', ') ?? own.serialNumber;
        return { listener: settings.listener, subject, validToMs: Date.parse(own.validTo) };
      }),
    );
  }

  /** Begins to watch; call it after `load`. */
  watch(): void {
    if (this.kept.size === 0) return;
    this.timer = setInterval(() => this.look(), this.options.lookMs ?? lookMs);
    this.timer.unref();
    for (const kept of this.kept.values()) {
      const { sessionTickets, ticketRotationS } = kept.settings;
      if (!sessionTickets) continue;
      kept.rotation = setInterval(() => {
        kept.newTicketKeys();
        this.hand(kept);
      }, ticketRotationS * 1000);
      kept.rotation.unref();
    }
  }

  /** Reads all files now, whether they look changed or not. Never rejects. */
  reload(): Promise<TlsReload[]> {
    const next = this.looking.then(async () => {
      const outcomes: TlsReload[] = [];
      for (const kept of this.kept.values()) outcomes.push(await this.read(kept, await signatureOf(kept.settings)));
      return outcomes;
    });
    this.looking = next;
    return next;
  }

  stop(): void {
    this.isStopped = true;
    if (this.timer !== null) clearInterval(this.timer);
    for (const kept of this.kept.values()) {
      if (kept.rotation !== null) clearInterval(kept.rotation);
      for (const source of kept.sources) source.stop();
    }
  }

  private look(): void {
    this.looking = this.looking.then(async () => {
      for (const kept of this.kept.values()) {
        const signature = await signatureOf(kept.settings);
        if (signature !== kept.signature && !this.isStopped) await this.read(kept, signature);
      }
    });
  }

  private async read(kept: Kept, signature: string): Promise<TlsReload> {
    const { settings } = kept;
    const { listener } = settings;
    const { log } = this.options;
    // Also when it fails: the next look is for the next change.
    kept.signature = signature;
    try {
      const loaded = await loadTls(settings, Date.now());
      if (this.isStopped) return { listener, problem: 'the broker stops' };
      const isChanged = JSON.stringify(loaded.material) !== JSON.stringify(kept.loaded.material);
      this.warn(settings, loaded);
      kept.loaded = loaded;
      if (isChanged) {
        // A client whose certificate was revoked must not come back with an old session.
        kept.generation++;
        kept.newTicketKeys();
        for (const source of kept.sources) source.stop();
        this.openSources(kept);
        this.hand(kept);
      } else {
        for (const source of kept.sources) source.refresh();
      }
      log.info('TLS files read again', { listener, isChanged });
      return { listener, problem: null };
    } catch (error) {
      const problem = toError(error).message;
      log.error('TLS files cannot be used, the former ones stay in use', { listener, reason: problem });
      return { listener, problem };
    }
  }

  private openSources(kept: Kept): void {
    const { settings, loaded } = kept;
    kept.sources = [];
    if (settings.ocsp === 'off') return;
    const { log } = this.options;
    for (const [index, chain] of loaded.chains.entries()) {
      // A file holds the answer about one certificate.
      const mode = settings.ocsp === 'file' && index > 0 ? 'fetch' : settings.ocsp;
      kept.sources.push(
        new OcspSource({
          certificate: chain[0] as X509Certificate,
          chain,
          authorities: loaded.authorities,
          file: mode === 'file' ? settings.ocspFile : null,
          responder: settings.ocspResponder === '' ? null : settings.ocspResponder,
          changed: () => this.hand(kept),
          log: log.child({ listener: settings.listener }),
        }),
      );
    }
  }

  private hand(kept: Kept): void {
    if (!this.isStopped) this.options.changed(kept.settings.index, kept.material);
  }

  private warn({ listener }: TlsListenerSettings, { warnings }: LoadedTls): void {
    for (const warning of warnings) this.options.log.warn('TLS file needs attention', { listener, warning });
  }
}

/** Changes when a file was written, replaced or removed. */
async function signatureOf(settings: TlsListenerSettings): Promise<string> {
  const files = settings.ocsp === 'file' ? [...filesOf(settings), settings.ocspFile] : filesOf(settings);
  const parts = await Promise.all(
    files.map(async (file) => {
      try {
        const { ino, size, mtimeMs } = await stat(file);
        return `${ino}:${size}:${mtimeMs}`;
      } catch (error) {
        return String((error as NodeJS.ErrnoException).code);
      }
    }),
  );
  return parts.join(' ');
}
