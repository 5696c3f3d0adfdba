/**
 * Rows of the two tables that hold the keys: the present value of each key, and what every revision changed. Pure; the
 * Raft worker encodes, readers on any thread decode.
 *
 * ```
 * key → create modified version lease value…                      (numbers of variable length, the value to the end)
 * revision(8) → flags(1) tag(1) index identity epoch count event*
 * event  = 1 key create version lease previous length value | 2 key previous
 * flags and identity: see `request-rows.ts`; index: the place of the command in the log
 * ```
 * `previous` is the revision that wrote the key before, 0 for none: the value is there, until it is compacted.
 */
import type { Bytes, KeyValue, LeaseId, Revision } from '../../core/ports/placement.ts';
import { ByteReader, ByteWriter, readUint53 } from './bytes.ts';
import { type Request, readIdentity, requestFlags, writeIdentity } from './request-rows.ts';
import type { RowCodec } from './state-table.ts';

const SET = 1;
const DELETE = 2;
const noBytes: Bytes = new Uint8Array(0);

export interface ChangeEvent {
  readonly type: 'set' | 'delete';
  readonly item: KeyValue;
  /** Known to live watchers; null in what was read from the store. */
  readonly previous: KeyValue | null;
  readonly previousRevision: Revision;
}

/** All that one revision changed, and the command that did. */
export interface Change {
  readonly revision: Revision;
  readonly request: Request;
  readonly commandTag: number;
  /** Of a transaction: the compares held. */
  readonly succeeded: boolean;
  /** That the command gave out; 0 for none. */
  readonly epoch: number;
  readonly events: readonly ChangeEvent[];
}

const scratch = new ByteWriter(4096);

export const recordCodec: RowCodec<KeyValue> = {
  encode({ createRevision, modRevision, version, lease, value }) {
    scratch.varint(createRevision);
    scratch.varint(modRevision);
    scratch.varint(version);
    scratch.varint(lease);
    scratch.raw(value);
    return scratch.finish();
  },
  decode(key, bytes) {
    const reader = new ByteReader(bytes);
    const createRevision = reader.varint();
    const modRevision = reader.varint();
    const version = reader.varint();
    const lease = reader.varint();
    return { key, value: reader.rest(), createRevision, modRevision, version, lease };
  },
};

export const changeCodec: RowCodec<Change> = {
  encode({ request, commandTag, succeeded, epoch, events }) {
    scratch.byte((request.requestId === null ? 0 : requestFlags.requestId) | (succeeded ? requestFlags.succeeded : 0));
    scratch.byte(commandTag);
    scratch.varint(request.index);
    writeIdentity(scratch, request);
    scratch.varint(epoch);
    scratch.varint(events.length);
    for (const { type, item, previousRevision } of events) {
      scratch.byte(type === 'set' ? SET : DELETE);
      scratch.bytes(item.key);
      if (type === 'set') {
        scratch.varint(item.createRevision);
        scratch.varint(item.version);
        scratch.varint(item.lease);
      }
      scratch.varint(previousRevision);
      if (type === 'set') scratch.bytes(item.value);
    }
    return scratch.finish();
  },
  decode(key, bytes) {
    const revision = readUint53(key, 0);
    const reader = new ByteReader(bytes);
    const flags = reader.byte();
    const commandTag = reader.byte();
    const index = reader.varint();
    const request = { ...readIdentity(reader, (flags & requestFlags.requestId) !== 0), index };
    const epoch = reader.varint();
    const events: ChangeEvent[] = [];
    for (let left = reader.count(); left > 0; left--) events.push(readEvent(reader, revision));
    return { revision, request, commandTag, succeeded: (flags & requestFlags.succeeded) !== 0, epoch, events };
  },
};

function readEvent(reader: ByteReader, revision: Revision): ChangeEvent {
  const isSet = reader.byte() === SET;
  const key = reader.bytes();
  if (!isSet) {
    return { type: 'delete', item: deletedItem(key, revision), previous: null, previousRevision: reader.varint() };
  }
  const createRevision = reader.varint();
  const version = reader.varint();
  const lease = reader.varint();
  const previousRevision = reader.varint();
  const value = reader.bytes();
  const item: KeyValue = { key, value, createRevision, modRevision: revision, version, lease };
  return { type: 'set', item, previous: null, previousRevision };
}

/** What a watcher is told of a key that was removed. */
export function deletedItem(key: Bytes, revision: Revision): KeyValue {
  const lease: LeaseId = 0;
  return { key, value: noBytes, createRevision: 0, modRevision: revision, version: 0, lease };
}
