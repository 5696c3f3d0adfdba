/** What goes over a stream of messages, however it is cut into pieces, and who may open one. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BatchMessage,
  decodeBatch,
  messageSize,
  protocolVersion,
} from '../../../../src/raft/transport/message-codec.ts';
import {
  decodeHello,
  decodeRefusal,
  encodeBatchFrame,
  encodeOpening,
  encodeRefusal,
  frameKinds,
  helloOf,
  helloProblem,
  smallFrameBytesMax,
  streamPreface,
} from '../../../../src/raft/transport/stream-frames.ts';
import { encodeFrame, FrameError, FrameReader, frameHeaderBytes } from '../../../../src/rpc/frames.ts';

function readAll(chunks: readonly Buffer[], bytesMax = 1 << 20): [kind: number, body: Buffer][] {
  const frames: [number, Buffer][] = [];
  const reader = new FrameReader(bytesMax, (kind, body) => frames.push([kind, Buffer.from(body)]) > 0);
  for (const chunk of chunks) reader.push(chunk);
  return frames;
}

describe('FrameReader', () => {
  it('finds the frames however the bytes are cut', () => {
    const frame = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 40 }));
    fc.assert(
      fc.property(fc.array(frame), fc.array(fc.nat({ max: 60 })), (frames, cuts) => {
        const bytes = Buffer.concat(frames.map(([kind, body]) => encodeFrame(kind, body)));
        const chunks: Buffer[] = [];
        let at = 0;
        for (const length of [...cuts, bytes.length]) {
          chunks.push(bytes.subarray(at, at + length));
          at = Math.min(bytes.length, at + length);
        }
        expect(readAll(chunks)).toEqual(frames.map(([kind, body]) => [kind, Buffer.from(body)]));
      }),
      { numRuns: 300 },
    );
  });

  it('reads nothing behind a frame after which it was told to stop', () => {
    const two = Buffer.concat([encodeFrame(1, Buffer.of(1)), encodeFrame(2, Buffer.of(2))]);
    for (const chunks of [[two], [...two].map((byte) => Buffer.of(byte))]) {
      const kinds: number[] = [];
      const reader = new FrameReader(10, (kind) => kinds.push(kind) < 1);
      reader.push(chunks[0]);
      for (const chunk of chunks.slice(1, frameHeaderBytes + 1)) reader.push(chunk);
      expect(kinds).toEqual([1]);
    }
  });

  it('refuses a frame that is too long as soon as it knows, and takes one that is just not', () => {
    expect(readAll([encodeFrame(1, Buffer.alloc(10))], 10)).toHaveLength(1);
    const header = encodeFrame(1, Buffer.alloc(11)).subarray(0, frameHeaderBytes);
    expect(() => readAll([header], 10)).toThrow(FrameError);
    expect(() =>
      readAll(
        [...header].map((byte) => Buffer.of(byte)),
        10,
      ),
    ).toThrow(FrameError);
  });
});

describe('encodeBatchFrame()', () => {
  it.each([0, 50, 16_000, 3_000_000])('makes a frame that holds the messages, with %d bytes of data', (size) => {
    const entries = [{ kind: 0 as const, data: Buffer.alloc(size, 7) }];
    const messages: BatchMessage[] = [{ type: 'propose', from: 1, to: 2, term: 0, entries }];
    const [[kind, body]] = readAll([encodeBatchFrame(messages, messageSize(messages[0]))], 4_000_000);
    expect(kind).toBe(frameKinds.batch);
    const [read] = decodeBatch(body, 1, 2);
    expect(read.type === 'propose' && Buffer.from(read.entries[0].data).equals(entries[0].data)).toBe(true);
  });
});

describe('encodeRefusal()', () => {
  it('keeps code and text, and fits in a small frame whatever the text', () => {
    const [[kind, body]] = readAll([encodeRefusal({ code: 9, details: 'für dich nicht' })]);
    expect([kind, decodeRefusal(body)]).toEqual([frameKinds.refused, { code: 9, details: 'für dich nicht' }]);
    const [[, long]] = readAll([encodeRefusal({ code: 9, details: 'x'.repeat(10_000) })], smallFrameBytesMax);
    expect(decodeRefusal(long).details).toHaveLength(smallFrameBytesMax - 1);
  });
});

describe('decodeHello()', () => {
  it('answers null for bytes that are no hello', () => {
    for (const bytes of [Buffer.from([0xff]), Buffer.alloc(40, 0xff), Buffer.from([10, 200])]) {
      expect(decodeHello(bytes)).toBe(null);
    }
  });
});

describe('helloProblem()', () => {
  const sender = { clusterId: 'c', replica: 1, name: 'a' };
  const receiver = { clusterId: 'c', replica: 2, name: 'b' };

  it('accepts the hello of a member of the same cluster', () => {
    const opening = encodeOpening(helloOf(sender, 2));
    expect(opening.subarray(0, streamPreface.length)).toEqual(streamPreface);
    const [[kind, body]] = readAll([opening.subarray(streamPreface.length)]);
    const hello = decodeHello(body);
    expect([kind, hello]).toEqual([
      frameKinds.hello,
      { clusterId: 'c', fromReplica: 1, toReplica: 2, protocolVersion },
    ]);
    expect(hello !== null && helloProblem(hello, receiver)).toBe(null);
  });

  it.each([
    ['another cluster', { ...sender, clusterId: 'd' }, 2, receiver, 'in cluster "c", not "d"', false],
    ['another replica', sender, 3, receiver, 'replica 2 lives at this address, not 3', false],
    ['no sender', { ...sender, replica: 0 }, 2, receiver, 'calls itself replica 0', false],
    ['itself', { ...sender, replica: 2 }, 2, receiver, 'calls itself replica 2', false],
    ['a node that joins', sender, 2, { ...receiver, clusterId: '' }, 'not part of a cluster yet', true],
  ])('refuses %s', (_name, identity, to, at, text, canRetry) => {
    expect(helloProblem(helloOf(identity, to), at)).toEqual({ text: expect.stringContaining(text), canRetry });
  });

  it('refuses another version before anything else', () => {
    const hello = { ...helloOf(sender, 2), protocolVersion: protocolVersion + 1 };
    expect(helloProblem(hello, receiver)?.text).toContain(
      `speaks version ${protocolVersion}, not ${protocolVersion + 1}`,
    );
  });
});
