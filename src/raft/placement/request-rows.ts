/**
 * What is remembered of a command so that a repeat of it is known and answered, and how that is stored: in the row of the
 * revision that the command made (`change-log.ts`), or in a row of its own when it made none. Pure; any thread.
 *
 * ```
 * index(8) → flags(1) tag(1) refusal(1) identity revision epoch
 * identity = requestId(16) | origin sequence                       (which of the two: by the flags)
 * flags    = 1: a request id · 2: the first branch was taken
 * ```
 */
import type { RefusalCode, RequestId, Revision } from '../../core/ports/placement.ts';
import type { LogIndex, ReplicaId } from '../ports.ts';
import { ByteReader, ByteWriter, readUint53 } from './bytes.ts';
import { refusalCodeOf, refusalNumbers } from './refusal.ts';
import type { RowCodec } from './state-table.ts';

export const requestFlags = { requestId: 1, succeeded: 2 } as const;
const REQUEST_ID_BYTES = 16;

/** By what a repeat is known: by the request id of the client, or without one by the call that the command came from. */
export interface RequestIdentity {
  readonly requestId: RequestId;
  readonly origin: ReplicaId;
  readonly sequence: number;
}

/** A command in its place in the log. With a request id, origin and sequence are 0 in what was read from the store. */
export interface Request extends RequestIdentity {
  readonly index: LogIndex;
}

/** What became of a command. */
export interface RequestOutcome {
  /** Of the store after it. */
  readonly revision: Revision;
  readonly commandTag: number;
  /** Of a transaction: the compares held. */
  readonly succeeded: boolean;
  /** That the command gave out; 0 for none. */
  readonly epoch: number;
  /** Why it was refused; null when it was not. */
  readonly refusal: RefusalCode | null;
}

/** A command that made no revision. */
export interface RequestRow extends RequestOutcome {
  readonly request: Request;
}

const scratch = new ByteWriter(64);

export const requestCodec: RowCodec<RequestRow> = {
  encode({ request, revision, commandTag, succeeded, epoch, refusal }) {
    scratch.byte((request.requestId === null ? 0 : requestFlags.requestId) | (succeeded ? requestFlags.succeeded : 0));
    scratch.byte(commandTag);
    scratch.byte(refusal === null ? 0 : refusalNumbers[refusal]);
    writeIdentity(scratch, request);
    scratch.varint(revision);
    scratch.varint(epoch);
    return scratch.finish();
  },
  decode(key, bytes) {
    const reader = new ByteReader(bytes);
    const flags = reader.byte();
    const commandTag = reader.byte();
    const refusal = refusalCodeOf(reader.byte());
    const identity = readIdentity(reader, (flags & requestFlags.requestId) !== 0);
    const revision = reader.varint();
    const epoch = reader.varint();
    const request = { ...identity, index: readUint53(key, 0) };
    return { request, revision, commandTag, succeeded: (flags & requestFlags.succeeded) !== 0, epoch, refusal };
  },
};

export function writeIdentity(writer: ByteWriter, { requestId, origin, sequence }: RequestIdentity): void {
  if (requestId !== null) {
    writer.raw(requestId);
    return;
  }
  writer.varint(origin);
  writer.varint(sequence);
}

export function readIdentity(reader: ByteReader, hasRequestId: boolean): RequestIdentity {
  if (hasRequestId) return { requestId: reader.raw(REQUEST_ID_BYTES), origin: 0, sequence: 0 };
  return { requestId: null, origin: reader.varint(), sequence: reader.varint() };
}
