/**
 * Keeps a log of keys and values short where the storage does not compact: now and then all that is known is written again, a part with
 * each batch, and what lies before is forgotten when the last part is stored. Thread: the owner of the log; used by the offset
 * cursors and the queue service.
 */
import type { StateLog } from './state-log.ts';

const rewriteBytesMin = 1024 * 1024;
const partBytes = 256 * 1024;

export interface RewriteSource {
  /** Keys of all that is known. */
  keys(): Iterable<Buffer>;
  /** As it is now; null when it is gone. */
  valueOf(key: Buffer): Buffer | null;
}

export class LogRewriter {
  readonly #source: RewriteSource;
  readonly #bytesMin: number;
  #written = 0;
  #keys: readonly Buffer[] = [];
  #at = 0;
  /** Of the first part; 0: no rewrite is under way. */
  #firstTicket = 0;
  #firstOffset = -1;
  /** Of the last part; 0: it is not collected yet. */
  #lastTicket = 0;
  #bytes = 0;
  #bytesBefore = 0;

  constructor(source: RewriteSource, bytesMin = rewriteBytesMin) {
    this.#source = source;
    this.#bytesMin = bytesMin;
  }

  /** Called for each batch, behind its changes; `bytes` is their size. True when there is more for the next one. */
  collect(add: (key: Buffer, value: Buffer) => void, bytes: number, ticket: number): boolean {
    this.#written += bytes;
    if (this.#firstTicket === 0) {
      if (this.#written < Math.max(this.#bytesMin, 4 * this.#bytesBefore)) return false;
      this.#keys = [...this.#source.keys()];
      this.#at = 0;
      this.#bytes = 0;
      this.#written = 0;
      this.#firstTicket = ticket;
    }
    if (this.#lastTicket !== 0) return false;
    for (let size = 0; this.#at < this.#keys.length && size < partBytes; this.#at += 1) {
      const key = this.#keys[this.#at];
      const value = this.#source.valueOf(key);
      if (value === null) continue;
      add(key, value);
      size += key.length + value.length;
      this.#bytes += key.length + value.length;
    }
    if (this.#at < this.#keys.length) return true;
    this.#lastTicket = ticket;
    return false;
  }

  /** The batch of `ticket` is stored at `offset`. */
  async stored(ticket: number, offset: number, log: StateLog): Promise<void> {
    if (this.#firstTicket !== 0 && this.#firstOffset === -1) this.#firstOffset = offset;
    if (this.#lastTicket === 0 || ticket < this.#lastTicket) return;
    const start = this.#firstOffset;
    this.#bytesBefore = this.#bytes;
    this.#keys = [];
    this.#firstTicket = 0;
    this.#firstOffset = -1;
    this.#lastTicket = 0;
    if (start >= 0) await log.trim(start);
  }
}
