/**
 * How a change of a retained value is written: the topic is the key of the record, its value is one of
 *
 *   value      1, layout u8, stamp f64, details 3 x i32, stored at f64 (ms), expires at u32 (s, 0 never), length of the tenant u16,
 *              tenant, frame
 *   tombstone  2, stamp f64
 *   mark       3; it has no key, and only shows where a writing anew began
 *
 * Numbers are big-endian. Pure; any thread.
 */
import { keptFrame, type RetainedValue } from './retained-value.ts';

const kinds = { value: 1, tombstone: 2, mark: 3 } as const;
const headBytes = 1 + 1 + 8 + 12 + 8 + 4 + 2;
const tombstoneBytes = 9;

export const markRecord: Buffer = Buffer.from([kinds.mark]);

/** @throws RangeError for a tenant that is longer than 65,535 bytes. */
export function encodeValue(value: RetainedValue): Buffer {
  const { layout, frame, detailA, detailB, detailC, stamp, storedAtMs, expiresAtS } = value;
  const tenant = Buffer.from(value.tenant);
  const bytes = Buffer.allocUnsafe(headBytes + tenant.length + frame.length);
  bytes[0] = kinds.value;
  bytes[1] = layout;
  bytes.writeDoubleBE(stamp, 2);
  bytes.writeInt32BE(detailA, 10);
  bytes.writeInt32BE(detailB, 14);
  bytes.writeInt32BE(detailC, 18);
  bytes.writeDoubleBE(storedAtMs, 22);
  bytes.writeUInt32BE(expiresAtS, 30);
  bytes.writeUInt16BE(tenant.length, 34);
  tenant.copy(bytes, headBytes);
  if (typeof frame === 'string') bytes.write(frame, headBytes + tenant.length, 'latin1');
  else frame.copy(bytes, headBytes + tenant.length);
  return bytes;
}

export function encodeTombstone(stamp: number): Buffer {
  const bytes = Buffer.allocUnsafe(tombstoneBytes);
  bytes[0] = kinds.tombstone;
  bytes.writeDoubleBE(stamp, 1);
  return bytes;
}

export type RetainedChange =
  | { readonly kind: 'value'; readonly value: RetainedValue }
  | { readonly kind: 'tombstone'; readonly stamp: number };

/** Null when it is neither a value nor a tombstone. The frame is a copy with memory of its own. */
export function decodeChange(bytes: Buffer): RetainedChange | null {
  if (bytes[0] === kinds.tombstone && bytes.length === tombstoneBytes) {
    const stamp = bytes.readDoubleBE(1);
    return isStamp(stamp) ? { kind: 'tombstone', stamp } : null;
  }
  if (bytes[0] !== kinds.value || bytes.length < headBytes) return null;
  const tenantEnd = headBytes + bytes.readUInt16BE(34);
  const stamp = bytes.readDoubleBE(2);
  const storedAtMs = bytes.readDoubleBE(22);
  if (tenantEnd > bytes.length || !isStamp(stamp) || !Number.isFinite(storedAtMs)) return null;
  return {
    kind: 'value',
    value: {
      layout: bytes[1],
      frame: keptFrame(bytes, tenantEnd, bytes.length),
      detailA: bytes.readInt32BE(10),
      detailB: bytes.readInt32BE(14),
      detailC: bytes.readInt32BE(18),
      stamp,
      storedAtMs,
      expiresAtS: bytes.readUInt32BE(30),
      tenant: tenantEnd === headBytes ? '' : bytes.toString('utf8', headBytes, tenantEnd),
    },
  };
}

function isStamp(stamp: number): boolean {
  return Number.isSafeInteger(stamp) && stamp >= 0;
}
