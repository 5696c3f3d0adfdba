/** Consensus messages as bytes: nothing is lost, and what is damaged is refused. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BatchMessage,
  batchSize,
  decodeBatch,
  encodeBatch,
  MessageCodecError,
  messageSize,
} from '../../../../src/raft/transport/message-codec.ts';

const from = 2 ** 53 - 1;
const to = 5;

function encode(messages: readonly BatchMessage[]): Uint8Array {
  const size = batchSize(messages.reduce((sum, message) => sum + messageSize(message), 0));
  const target = new Uint8Array(size);
  encodeBatch(messages, target, 0, size);
  return target;
}

const number = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1));
const data = fc.uint8Array({ maxLength: 40 });
const kind = fc.constantFrom(0 as const, 1 as const);
const boolean = fc.boolean();
const head = { from: fc.constant(from), to: fc.constant(to), term: number };

function kindOf<T extends BatchMessage['type']>(type: T): fc.Arbitrary<T> {
  return fc.constant(type);
}

const append = fc
  .record({
    previousIndex: fc.maxSafeNat().map((n) => Math.floor(n / 2)),
    entries: fc.array(fc.tuple(number, kind, data)),
  })
  .chain(({ previousIndex, entries }) =>
    fc.record({
      ...head,
      type: kindOf('append'),
      previousIndex: fc.constant(previousIndex),
      previousTerm: number,
      commit: number,
      entries: fc.constant(
        entries.map(([term, entryKind, bytes], i) => ({
          term,
          index: previousIndex + 1 + i,
          kind: entryKind,
          data: bytes,
        })),
      ),
    }),
  );

const message: fc.Arbitrary<BatchMessage> = fc.oneof(
  fc.record({
    ...head,
    type: kindOf('vote'),
    preVote: boolean,
    isTransfer: boolean,
    lastIndex: number,
    lastTerm: number,
  }),
  fc.record({ ...head, type: kindOf('vote-response'), preVote: boolean, isGranted: boolean }),
  append,
  fc.record({
    ...head,
    type: kindOf('append-response'),
    index: number,
    isRejected: boolean,
    hintIndex: number,
    hintTerm: number,
  }),
  fc.record({ ...head, type: kindOf('heartbeat'), commit: number, readSequence: number }),
  fc.record({ ...head, type: kindOf('heartbeat-response'), readSequence: number }),
  fc.record({ ...head, type: kindOf('timeout-now') }),
  fc.record({ ...head, type: kindOf('transfer'), target: number }),
  fc.record({ ...head, type: kindOf('propose'), entries: fc.array(fc.record({ kind, data })) }),
  fc.record({ ...head, type: kindOf('read-index'), context: number }),
  fc.record({ ...head, type: kindOf('read-index-response'), context: number, index: number }),
);

describe('decodeBatch()', () => {
  it('gives what encodeBatch() was given, for messages of every type', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), (messages) => {
        for (const { type } of messages) seen.add(type);
        expect(decodeBatch(encode(messages), from, to)).toEqual(messages);
      }),
      { numRuns: 500 },
    );
    expect(seen.size).toBe(11);
  });

  it('gives views of the batch instead of copies', () => {
    const entries = [{ term: 1, index: 8, kind: 0 as const, data: new Uint8Array([1, 2, 3]) }];
    const one = { type: 'append' as const, from, to, term: 1, previousIndex: 7, previousTerm: 1, commit: 7, entries };
    const bytes = encode([one]);
    const [decoded] = decodeBatch(bytes, from, to);
    expect(decoded.type === 'append' && decoded.entries[0].data.buffer).toBe(bytes.buffer);
  });

  it('refuses a batch with any bit changed, and one that is cut off anywhere', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), fc.nat(), (messages, position) => {
        const bytes = encode(messages);
        const flipped = bytes.slice();
        const bit = position % (bytes.length * 8);
        flipped[bit >> 3] ^= 1 << (bit & 7);
        expect(() => decodeBatch(flipped, from, to)).toThrow(MessageCodecError);
        expect(() => decodeBatch(bytes.subarray(0, position % bytes.length), from, to)).toThrow(MessageCodecError);
      }),
    );
  });

  it.each([
    ['an unknown type', [99, ...u64(1)]],
    ['a number beyond 2^53 - 1', [7, ...u64(1).slice(0, 6), 0x20, 0]],
    ['more entries than there are bytes', [9, ...u64(0), 0xff, 0xff, 0xff, 0xff]],
    ['data that goes beyond the end', [9, ...u64(0), 1, 0, 0, 0, 0, 9, 0, 0, 0]],
    ['an entry of an unknown kind', [9, ...u64(0), 1, 0, 0, 0, 7, 0, 0, 0, 0]],
    ['a message without its end', [5, ...u64(1), 1]],
  ])('refuses %s, though the checksum is right', (_name, body) => {
    expect(() => decodeBatch(withChecksum(body), from, to)).toThrow(MessageCodecError);
  });
});

describe('encodeBatch()', () => {
  it('throws when the entries of an append have a gap', () => {
    const entries = [{ term: 1, index: 9, kind: 0 as const, data: new Uint8Array(0) }];
    const one = { type: 'append' as const, from, to, term: 1, previousIndex: 7, previousTerm: 1, commit: 7, entries };
    expect(() => encode([one])).toThrow('without a gap');
  });
});

function u64(value: number): number[] {
  return [value, 0, 0, 0, 0, 0, 0, 0];
}

function withChecksum(body: readonly number[]): Uint8Array {
  const bytes = Buffer.from([0, 0, 0, 0, ...body]);
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}
