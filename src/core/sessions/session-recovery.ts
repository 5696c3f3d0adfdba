/**
 * Finds receipts that a crash has kept from the stream of the sessions: a message of grade 2 that is in a message log was received,
 * whatever the session says. Thread: the owner of the sessions, while it opens. Reads each message log from its receipt floor on,
 * which is a fraction of a second of messages.
 */
import type { StreamPartition } from '../ports/stream-store.ts';
import { codeOf } from '../transactions/internal-stream.ts';
import { BatchCache, type StoredBatch } from './batch-cache.ts';
import { MessageView } from './message-record.ts';
import type { SessionEntry } from './session-entry.ts';
import type { SessionReplay } from './session-replay.ts';
import type { SessionTable } from './session-table.ts';

const readBytesMax = 256 * 1024;

export class ReceiptSearch {
  readonly #slot: number;
  readonly #table: SessionTable;
  readonly #replay: SessionReplay;
  readonly #view = new MessageView();
  /** Next serials as they were stored: receipts lie in several logs, in no order. */
  readonly #known = new Map<SessionEntry, number>();
  /** Above all serials that were seen. */
  serialEnd = 0;
  found = 0;

  constructor(slot: number, table: SessionTable, replay: SessionReplay) {
    this.#slot = slot;
    this.#table = table;
    this.#replay = replay;
    for (const { nextSerial } of table.entries()) this.serialEnd = Math.max(this.serialEnd, nextSerial);
  }

  /** Looks at [from, to). Rejects with StorageError. */
  async search(partition: StreamPartition, from: number, to: number): Promise<void> {
    const cache = new BatchCache(partition, 2 * readBytesMax);
    let step = 1;
    for (let offset = from; offset < to; ) {
      try {
        const batch = cache.find(offset) ?? (await cache.load(offset, readBytesMax));
        if (batch === null) return;
        this.#look(batch, offset, to);
        offset = batch.nextOffset;
      } catch (error) {
        if (codeOf(error) !== 'STORAGE_CORRUPTED') throw error;
        // What is damaged cannot prove anything; where the damage ends is not told.
        offset += Math.ceil(step);
        step *= 1.1;
      }
    }
  }

  #look(batch: StoredBatch, from: number, to: number): void {
    const view = this.#view;
    for (let offset = Math.max(from, batch.baseOffset); offset < Math.min(to, batch.nextOffset); offset += 1) {
      const start = batch.startOf(offset);
      if (start < 0 || !view.read(batch.bytes, start, batch.limit, batch.baseTimestamp)) continue;
      if (view.receiptSlot === this.#slot) this.#receipt(view.publisher, view.receiptPacketId, view.receiptSerial);
    }
  }

  #receipt(id: string, packetId: number, serial: number): void {
    this.serialEnd = Math.max(this.serialEnd, serial + 1);
    const entry = this.#table.get(id);
    if (entry === undefined) return;
    const isUnproven = this.#replay.unproven.get(entry)?.get(packetId) === serial;
    // Below what was its next serial the session knows all: those that it does not have are released.
    const known = this.#known.get(entry) ?? entry.nextSerial;
    this.#known.set(entry, known);
    if (serial < known && !isUnproven) return;
    entry.nextSerial = Math.max(entry.nextSerial, serial + 1);
    entry.receipts ??= new Map();
    entry.receipts.set(packetId, { packetId, serial, isInLog: false, state: 'open', waiters: [] });
    this.found += 1;
  }
}
