/**
 * The context of a membership change: names and addresses of members, for the state machine. The core never reads it.
 * Any thread; written by whoever proposes a change, read by `placement-state.ts`.
 *
 * ```
 * context = "" | version(1) count { replica name address }
 * ```
 */
import type { ReplicaId } from '../ports.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { MalformedError } from './errors.ts';

const VERSION = 1;

export interface MemberContext {
  readonly replica: ReplicaId;
  readonly name: string;
  /** `host:port` of node-to-node traffic. */
  readonly address: string;
}

/** Bytes for `MembershipChange.context`: names and addresses of new or moved members. Empty without members. */
export function encodeMemberContext(members: readonly MemberContext[]): Uint8Array {
  if (members.length === 0) return new Uint8Array(0);
  const writer = new ByteWriter(256);
  writer.byte(VERSION);
  writeMembers(writer, members);
  return writer.finish();
}

/** Throws `MalformedError`. */
export function decodeMemberContext(bytes: Uint8Array): readonly MemberContext[] {
  if (bytes.length === 0) return [];
  const reader = new ByteReader(bytes);
  const version = reader.byte();
  if (version !== VERSION) throw new MalformedError(`A member context has the unknown version ${version}`);
  const members = readMembers(reader);
  reader.end();
  return members;
}

export function writeMembers(writer: ByteWriter, members: readonly MemberContext[]): void {
  writer.varint(members.length);
  for (const { replica, name, address } of members) {
    writer.varint(replica);
    writer.text(name);
    writer.text(address);
  }
}

export function readMembers(reader: ByteReader): MemberContext[] {
  const members: MemberContext[] = [];
  for (let left = reader.count(); left > 0; left--) {
    members.push({ replica: reader.varint(), name: reader.text(), address: reader.text() });
  }
  return members;
}
