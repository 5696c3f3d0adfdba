/**
 * Reads of the placement state on threads other than the Raft worker: straight from the store, without a call. They see
 * what is committed there, which is a little behind what is applied (one flush), so they are serializable reads; who needs
 * more waits until `appliedIndex` is far enough, or asks the Raft worker.
 */
import type { Query, QueryResult } from '../../core/ports/placement.ts';
import type { LogIndex } from '../consensus/types.ts';
import { type LmdbStoreOptions, openLmdbReader, type StateReader } from './lmdb-store.ts';
import { answer } from './queries.ts';
import { decodeRootFront, emptyRoot, rootKey } from './root-record.ts';
import { StateTables } from './state-core.ts';

export class PlacementReader {
  private readonly reader: StateReader;
  private readonly tables: StateTables;
  private half = emptyRoot.half;

  /** Opens what the Raft worker of this process has open. */
  static open(options: LmdbStoreOptions): PlacementReader {
    return new PlacementReader(openLmdbReader(options));
  }

  constructor(reader: StateReader) {
    this.reader = reader;
    this.tables = new StateTables(reader, this.half);
  }

  /** Of what a query answers from now on. */
  appliedIndex(): LogIndex {
    this.reader.refresh();
    return this.front().index;
  }

  /** As of the newest commit. Throws `CorruptionError`. `remainingMs` of leases is -1. */
  query(query: Query): QueryResult {
    this.reader.refresh();
    const { half, revision } = this.front();
    if (half !== this.half) {
      this.half = half;
      this.tables.reset(half);
    }
    return answer(query, this.tables, revision);
  }

  close(): void {
    this.reader.close();
  }

  private front() {
    const root = this.reader.get(rootKey);
    return root === null ? emptyRoot : decodeRootFront(root);
  }
}
