/**
 * The records of the placement centre that say which node has a session: read, and changed only where they are as they were read. Main
 * thread; used by `node-sessions.ts`.
 */
import { createHash } from 'node:crypto';
import type { CommandResult, KeyValue, PlacementNode, QueryResult } from '../../core/ports/placement.ts';
import { prefixEnd } from '../../raft/placement/keys.ts';
import type { RecordKind } from '../../raft/placement/record-kind.ts';
import {
  deleteRecords,
  listRecordsQuery,
  recordQuery,
  recordsCommand,
  recordUnchanged,
  setRecord,
} from '../../raft/placement/record-operations.ts';

const timeoutMs = 3_000;
/** Longer names are told by a hash. */
const nameBytesMax = 1_024;

/** A record as it was at one moment. */
export interface Known<T> {
  readonly record: T;
  readonly revision: number;
}

/** What stands for a name in a key: itself, with a mark in front, or a hash. */
export function keyName(name: string): string {
  if (Buffer.byteLength(name) <= nameBytesMax && name.isWellFormed()) return `=${name}`;
  return `#${createHash('sha256').update(name).digest('hex')}`;
}

/** Records of one kind. All calls may reject with `PlacementError`. */
export class OwnerRecords<T> {
  readonly #placement: PlacementNode;
  readonly #kind: RecordKind<T>;

  constructor(placement: PlacementNode, kind: RecordKind<T>) {
    this.#placement = placement;
    this.#kind = kind;
  }

  /** Linearizable; null: there is none. */
  async read(...key: readonly string[]): Promise<Known<T> | null> {
    const result = await this.#placement.query(recordQuery(this.#kind, 'linearizable', ...key), { timeoutMs });
    return this.#first(itemsOf(result));
  }

  /**
   * Puts `record` in the place of what was at `revision`, 0 for nothing. Answers the new revision; or, when it was not as it was, what is
   * there.
   */
  async put(record: T, revision: number, ...key: readonly string[]): Promise<Put<T>> {
    const compare = recordUnchanged(this.#kind, revision, ...key);
    const command = {
      ...recordsCommand([setRecord(this.#kind, record)], [compare]),
      failure: [rangeOf(this.#kind.key(...key))],
    };
    const result = await this.#placement.execute(command, { requestId: null, timeoutMs });
    const done = transactionOf(result);
    if (done.succeeded) return { isDone: true, revision: done.revision };
    const [found] = done.results;
    return { isDone: false, known: found?.type === 'range' ? this.#first(found.items) : null };
  }

  /** Puts several at once where there is nothing; false: there was something of one of them, and nothing was done. */
  async create(records: readonly { readonly record: T; readonly key: readonly string[] }[]): Promise<number | null> {
    const compares = records.map(({ key }) => recordUnchanged(this.#kind, 0, ...key));
    const operations = records.map(({ record }) => setRecord(this.#kind, record));
    const command = recordsCommand(operations, compares);
    const done = transactionOf(await this.#placement.execute(command, { requestId: null, timeoutMs }));
    return done.succeeded ? done.revision : null;
  }

  /** Removes the record if it is as it was at `revision`. */
  async remove(revision: number, ...key: readonly string[]): Promise<void> {
    const command = recordsCommand(
      [deleteRecords(this.#kind, ...key)],
      [recordUnchanged(this.#kind, revision, ...key)],
    );
    transactionOf(await this.#placement.execute(command, { requestId: null, timeoutMs }));
  }

  /** All of the kind, in pages, as they are at the end; answers the revision of the first page. */
  async forEach(visit: (known: Known<T>) => void): Promise<number> {
    let after: KeyValue | undefined;
    let revision = 0;
    for (;;) {
      const query = listRecordsQuery(this.#kind, { consistency: 'linearizable', ...(after && { after }) });
      const result = await this.#placement.query(query, { timeoutMs });
      if (result.type !== 'range') throw new Error(refusalText(result));
      if (after === undefined) revision = result.revision;
      for (const item of result.items) visit({ record: this.#kind.decode(item.value), revision: item.modRevision });
      after = result.items.at(-1);
      if (!result.hasMore || after === undefined) return revision;
    }
  }

  /** Tells of every record that is set from `fromRevision` on. `ended`: for a reason that passes. */
  watch(fromRevision: number, set: (known: Known<T>) => void, ended: () => void): { cancel(): void } {
    const key = this.#kind.key();
    return this.#placement.watch(
      { key, end: prefixEnd(key), fromRevision, withPrevious: false, scope: 'records' },
      {
        onBatch: ({ events }) => {
          for (const { type, item } of events) {
            if (type === 'set') set({ record: this.#kind.decode(item.value), revision: item.modRevision });
          }
        },
        onEnd: ended,
      },
    );
  }

  #first(items: readonly KeyValue[]): Known<T> | null {
    const [item] = items;
    return item === undefined ? null : { record: this.#kind.decode(item.value), revision: item.modRevision };
  }
}

export type Put<T> =
  | { readonly isDone: true; readonly revision: number }
  | { readonly isDone: false; readonly known: Known<T> | null };

function rangeOf(key: Uint8Array) {
  const shape = { isReverse: false, keysOnly: false, countOnly: false, limit: 1 } as const;
  return { type: 'range', key, end: null, ...shape } as const;
}

function itemsOf(result: QueryResult): readonly KeyValue[] {
  if (result.type !== 'range') throw new Error(refusalText(result));
  return result.items;
}

function transactionOf(result: CommandResult): Extract<CommandResult, { readonly type: 'transaction' }> {
  if (result.type !== 'transaction') throw new Error(refusalText(result));
  return result;
}

/** What the placement centre refuses here nobody's input has caused. */
function refusalText(result: QueryResult | CommandResult): string {
  const reason = result.type === 'refused' ? result.message : `it answered "${result.type}"`;
  return `The placement centre refuses a record of a session: ${reason}`;
}
