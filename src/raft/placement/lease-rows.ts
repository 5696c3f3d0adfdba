/**
 * Rows of the two tables of leases. Pure; any thread.
 *
 * ```
 * lease(8)       → epoch ttlMs keyCount
 * lease(8) key   → nothing: the key goes when the lease ends
 * ```
 */
import type { Bytes, LeaseId } from '../../core/ports/placement.ts';
import { allocate, ByteReader, ByteWriter, uint53Key, writeUint53 } from './bytes.ts';
import type { RowCodec } from './state-table.ts';

const ID_BYTES = 8;

export interface LeaseRow {
  /** The fencing token: grows from grant to grant. */
  readonly epoch: number;
  readonly ttlMs: number;
  readonly keyCount: number;
}

const scratch = new ByteWriter(64);

export const leaseCodec: RowCodec<LeaseRow> = {
  encode({ epoch, ttlMs, keyCount }) {
    scratch.varint(epoch);
    scratch.varint(ttlMs);
    scratch.varint(keyCount);
    return scratch.finish();
  },
  decode(_key, bytes) {
    const reader = new ByteReader(bytes);
    const epoch = reader.varint();
    const ttlMs = reader.varint();
    const keyCount = reader.varint();
    reader.end();
    return { epoch, ttlMs, keyCount };
  },
};

const nothing: Bytes = new Uint8Array(0);

export const leaseKeyCodec: RowCodec<true> = {
  encode: () => nothing,
  decode: () => true,
};

export function leaseKey(lease: LeaseId, key: Bytes): Bytes {
  const row = allocate(ID_BYTES + key.length);
  writeUint53(row, lease, 0);
  row.set(key, ID_BYTES);
  return row;
}

/** Start and end of the rows of one lease. */
export function leaseKeySpan(lease: LeaseId): readonly [Bytes, Bytes] {
  return [uint53Key(lease), uint53Key(lease + 1)];
}

/** The user's key in a row of a lease. */
export function keyOfLeaseRow(row: Bytes): Bytes {
  return row.subarray(ID_BYTES);
}
