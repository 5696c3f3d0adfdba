/**
 * The data of a membership entry. Stored in logs, so the format is versioned. Raft worker; used by the core and by the driver.
 *
 *   u8 version (1) · u16 number of changes · per change: u8 action, u64 replica · the rest: context.   Big-endian.
 */
import { assert } from '../../std/assert.ts';
import type { MemberChange, MembershipChange } from './types.ts';

const version = 1;
const headBytes = 3;
const changeBytes = 9;
/** The numbers are stored. */
const actions = ['add-voter', 'add-learner', 'remove'] as const;

export function encodeMembershipChange(change: MembershipChange): Uint8Array {
  const count = change.changes.length;
  assert(count <= 0xffff, 'A change names a few replicas');
  const bytes = new Uint8Array(headBytes + count * changeBytes + change.context.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, version);
  view.setUint16(1, count);
  let at = headBytes;
  for (const { action, replica } of change.changes) {
    assert(Number.isSafeInteger(replica) && replica > 0, 'A replica id is 1 to 2^53 - 1');
    view.setUint8(at, actions.indexOf(action));
    view.setBigUint64(at + 1, BigInt(replica));
    at += changeBytes;
  }
  bytes.set(change.context, at);
  return bytes;
}

/** Of bytes that `encodeMembershipChange` wrote; the log's checksum has vouched for them. The context is a view. */
export function decodeMembershipChange(bytes: Uint8Array): MembershipChange {
  const change = parseMembershipChange(bytes);
  assert(change !== null, 'A membership entry can be read');
  return change;
}

/** Of bytes from outside; null when they are no membership change. */
export function parseMembershipChange(bytes: Uint8Array): MembershipChange | null {
  if (bytes.length < headBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = headBytes + view.getUint16(1) * changeBytes;
  if (view.getUint8(0) !== version || bytes.length < end) return null;
  const changes: MemberChange[] = [];
  for (let at = headBytes; at < end; at += changeBytes) {
    const action = actions[view.getUint8(at)];
    const replica = Number(view.getBigUint64(at + 1));
    if (action === undefined || !Number.isSafeInteger(replica) || replica === 0) return null;
    changes.push({ action, replica });
  }
  return { changes, context: bytes.subarray(end) };
}
