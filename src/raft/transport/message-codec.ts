/**
 * Consensus messages as bytes: what one turn of a replica has for one peer is one batch. Used by the peer links and the
 * peer service on the Raft worker; pure.
 *
 * Sender and receiver are those of the stream's hello, so no message repeats them. Snapshot messages have a call of their
 * own. All numbers are little-endian, u64 is at most 2^53 - 1.
 *
 * ```
 * batch              := crc:u32 message*            -- CRC-32 of everything behind it
 * message            := type:u8 term:u64 body
 * vote               := flags:u8 lastIndex:u64 lastTerm:u64                   -- 1: pre-vote, 2: transfer
 * vote-response      := flags:u8                                              -- 1: pre-vote, 2: granted
 * append             := previousIndex:u64 previousTerm:u64 commit:u64 count:u32 (term:u64 kind:u8 size:u32 data)*
 * append-response    := flags:u8 index:u64 hintIndex:u64 hintTerm:u64         -- 1: rejected
 * heartbeat          := commit:u64 readSequence:u64
 * heartbeat-response := readSequence:u64
 * timeout-now        :=
 * transfer           := target:u64
 * propose            := count:u32 (kind:u8 size:u32 data)*
 * read-index         := context:u64
 * read-index-response:= context:u64 index:u64
 * ```
 */
import { crc32 } from 'node:zlib';
import { assert } from '../../std/assert.ts';
import type { AppendRequest, Entry, EntryKind, Message, ProposeRequest, ReplicaId } from '../consensus/types.ts';
import { entryKinds } from '../consensus/types.ts';

/** Grows with every change of the layout; both ends of a stream must have the same. */
export const protocolVersion = 2;

/** The sender does not speak the language of the hello it gave, or the bytes were damaged on the way. */
export class MessageCodecError extends Error {
  override readonly name = 'MessageCodecError';
}

/** Messages that travel in batches. */
export type BatchMessage = Exclude<Message, { readonly type: 'snapshot' }>;

const types = {
  vote: 1,
  'vote-response': 2,
  append: 3,
  'append-response': 4,
  heartbeat: 5,
  'heartbeat-response': 6,
  'timeout-now': 7,
  transfer: 8,
  propose: 9,
  'read-index': 10,
  'read-index-response': 11,
} as const satisfies Record<BatchMessage['type'], number>;

/** Bytes without entries, type and term included. */
const fixedSizes: Record<BatchMessage['type'], number> = {
  vote: 26,
  'vote-response': 10,
  append: 37,
  'append-response': 34,
  heartbeat: 25,
  'heartbeat-response': 17,
  'timeout-now': 9,
  transfer: 17,
  propose: 13,
  'read-index': 17,
  'read-index-response': 25,
};

const crcSize = 4;
const entryHeaderSize = 13;
const proposalHeaderSize = 5;
const wordFactor = 2 ** 32;

/** Bytes that the message takes in a batch. */
export function messageSize(message: BatchMessage): number {
  let size = fixedSizes[message.type];
  if (message.type === 'append') {
    for (const entry of message.entries) size += entryHeaderSize + entry.data.length;
  } else if (message.type === 'propose') {
    for (const entry of message.entries) size += proposalHeaderSize + entry.data.length;
  }
  return size;
}

/** Bytes of the batch, when its messages take `messagesSize` together. */
export function batchSize(messagesSize: number): number {
  return crcSize + messagesSize;
}

/** Writes a batch to `target` from `offset` on, where `batchSize` bytes must be free. Copies the data of entries once. */
export function encodeBatch(messages: readonly BatchMessage[], target: Uint8Array, offset: number, size: number): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let at = offset + crcSize;
  for (const message of messages) at = writeMessage(message, target, view, at);
  assert(at === offset + size, 'A batch takes as many bytes as were reckoned');
  view.setUint32(offset, crc32(target.subarray(offset + crcSize, at)), true);
}

function writeMessage(message: BatchMessage, target: Uint8Array, view: DataView, at: number): number {
  view.setUint8(at, types[message.type]);
  writeNumber(view, at + 1, message.term);
  at += 9;
  switch (message.type) {
    case 'vote':
      view.setUint8(at, flags(message.preVote, message.isTransfer));
      writeNumber(view, at + 1, message.lastIndex);
      writeNumber(view, at + 9, message.lastTerm);
      return at + 17;
    case 'vote-response':
      view.setUint8(at, flags(message.preVote, message.isGranted));
      return at + 1;
    case 'append':
      return writeAppend(message, target, view, at);
    case 'append-response':
      view.setUint8(at, flags(message.isRejected, false));
      writeNumber(view, at + 1, message.index);
      writeNumber(view, at + 9, message.hintIndex);
      writeNumber(view, at + 17, message.hintTerm);
      return at + 25;
    case 'heartbeat':
      writeNumber(view, at, message.commit);
      writeNumber(view, at + 8, message.readSequence);
      return at + 16;
    case 'heartbeat-response':
      writeNumber(view, at, message.readSequence);
      return at + 8;
    case 'timeout-now':
      return at;
    case 'transfer':
      writeNumber(view, at, message.target);
      return at + 8;
    case 'propose':
      return writeProposals(message, target, view, at);
    case 'read-index':
      writeNumber(view, at, message.context);
      return at + 8;
    case 'read-index-response':
      writeNumber(view, at, message.context);
      writeNumber(view, at + 8, message.index);
      return at + 16;
  }
}

function writeAppend(message: AppendRequest, target: Uint8Array, view: DataView, at: number): number {
  const { entries } = message;
  writeNumber(view, at, message.previousIndex);
  writeNumber(view, at + 8, message.previousTerm);
  writeNumber(view, at + 16, message.commit);
  view.setUint32(at + 24, entries.length, true);
  at += 28;
  let index = message.previousIndex;
  for (const { term, index: entryIndex, kind, data } of entries) {
    index += 1;
    assert(entryIndex === index, 'The entries of an append follow each other without a gap');
    writeNumber(view, at, term);
    view.setUint8(at + 8, kind);
    view.setUint32(at + 9, data.length, true);
    target.set(data, at + entryHeaderSize);
    at += entryHeaderSize + data.length;
  }
  return at;
}

function writeProposals(message: ProposeRequest, target: Uint8Array, view: DataView, at: number): number {
  view.setUint32(at, message.entries.length, true);
  at += 4;
  for (const { kind, data } of message.entries) {
    view.setUint8(at, kind);
    view.setUint32(at + 1, data.length, true);
    target.set(data, at + proposalHeaderSize);
    at += proposalHeaderSize + data.length;
  }
  return at;
}

function flags(first: boolean, second: boolean): number {
  return (first ? 1 : 0) + (second ? 2 : 0);
}

function writeNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, (value / wordFactor) >>> 0, true);
}

/**
 * Reads a batch. The data of entries are views of `bytes`, which must therefore not be written again.
 * Throws `MessageCodecError`.
 */
export function decodeBatch(bytes: Uint8Array, from: ReplicaId, to: ReplicaId): BatchMessage[] {
  const reader = new BatchReader(bytes);
  if (reader.u32() !== crc32(bytes.subarray(crcSize)))
    throw new MessageCodecError('Cannot read a batch: its checksum differs');
  const messages: BatchMessage[] = [];
  while (reader.left() > 0) messages.push(readMessage(reader, from, to));
  return messages;
}

class BatchReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  left(): number {
    return this.bytes.length - this.at;
  }

  u8(): number {
    return this.view.getUint8(this.take(1));
  }

  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  number(): number {
    const at = this.take(8);
    const high = this.view.getUint32(at + 4, true);
    if (high >= 2 ** 21) throw new MessageCodecError('Cannot read a batch: a number exceeds 2^53 - 1');
    return high * wordFactor + this.view.getUint32(at, true);
  }

  kind(): EntryKind {
    const kind = this.u8();
    if (kind !== entryKinds.command && kind !== entryKinds.membership) {
      throw new MessageCodecError(`Cannot read a batch: no entry has kind ${kind}`);
    }
    return kind;
  }

  data(): Uint8Array {
    const size = this.u32();
    const at = this.take(size);
    return this.bytes.subarray(at, at + size);
  }

  /** A number of things that take `sizeMin` bytes each, or more. */
  count(sizeMin: number): number {
    const count = this.u32();
    if (count * sizeMin > this.left()) throw new MessageCodecError('Cannot read a batch: it ends too early');
    return count;
  }

  private take(size: number): number {
    const at = this.at;
    if (size > this.bytes.length - at) throw new MessageCodecError('Cannot read a batch: it ends too early');
    this.at = at + size;
    return at;
  }
}

function readMessage(reader: BatchReader, from: ReplicaId, to: ReplicaId): BatchMessage {
  const type = reader.u8();
  const term = reader.number();
  switch (type) {
    case types.vote: {
      const bits = reader.u8();
      const [preVote, isTransfer] = [(bits & 1) !== 0, (bits & 2) !== 0];
      return {
        type: 'vote',
        from,
        to,
        term,
        preVote,
        isTransfer,
        lastIndex: reader.number(),
        lastTerm: reader.number(),
      };
    }
    case types['vote-response']: {
      const bits = reader.u8();
      return { type: 'vote-response', from, to, term, preVote: (bits & 1) !== 0, isGranted: (bits & 2) !== 0 };
    }
    case types.append:
      return readAppend(reader, from, to, term);
    case types['append-response']: {
      const isRejected = (reader.u8() & 1) !== 0;
      const [index, hintIndex, hintTerm] = [reader.number(), reader.number(), reader.number()];
      return { type: 'append-response', from, to, term, isRejected, index, hintIndex, hintTerm };
    }
    case types.heartbeat:
      return { type: 'heartbeat', from, to, term, commit: reader.number(), readSequence: reader.number() };
    case types['heartbeat-response']:
      return { type: 'heartbeat-response', from, to, term, readSequence: reader.number() };
    case types['timeout-now']:
      return { type: 'timeout-now', from, to, term };
    case types.transfer:
      return { type: 'transfer', from, to, term, target: reader.number() };
    case types.propose:
      return { type: 'propose', from, to, term, entries: readProposals(reader) };
    case types['read-index']:
      return { type: 'read-index', from, to, term, context: reader.number() };
    case types['read-index-response']:
      return { type: 'read-index-response', from, to, term, context: reader.number(), index: reader.number() };
    default:
      throw new MessageCodecError(`Cannot read a batch: no message has type ${type}`);
  }
}

function readAppend(reader: BatchReader, from: ReplicaId, to: ReplicaId, term: number): AppendRequest {
  const [previousIndex, previousTerm, commit] = [reader.number(), reader.number(), reader.number()];
  const count = reader.count(entryHeaderSize);
  const entries: Entry[] = [];
  for (let index = previousIndex + 1; index <= previousIndex + count; index += 1) {
    entries.push({ term: reader.number(), index, kind: reader.kind(), data: reader.data() });
  }
  return { type: 'append', from, to, term, previousIndex, previousTerm, entries, commit };
}

function readProposals(reader: BatchReader): ProposeRequest['entries'] {
  const count = reader.count(proposalHeaderSize);
  const entries: { kind: EntryKind; data: Uint8Array }[] = [];
  for (let i = 0; i < count; i += 1) entries.push({ kind: reader.kind(), data: reader.data() });
  return entries;
}
