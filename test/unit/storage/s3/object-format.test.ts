import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../../src/core/batch/crc32c.ts';
import {
  decodeHeader,
  encodeObject,
  headerBytesOf,
  parseKey,
  producersKey,
  runKey,
  segmentKey,
  startKey,
  writerKey,
} from '../../../../src/storage/s3/object-format.ts';

const parts = [3, 5, 9].map((endOffset, index) => ({ endOffset, bytes: Buffer.alloc(40_000, index + 1) }));
const content = {
  baseOffset: 2 ** 40,
  maxTimestamp: -1,
  parts: parts.map((part) => ({ ...part, endOffset: 2 ** 40 + part.endOffset })),
};

describe('encodeObject()', () => {
  it('says where each block lies, and gathers small parts into one', () => {
    const { header, body } = encodeObject(content);
    expect(header.blocks.map(({ endOffset }) => endOffset - 2 ** 40)).toEqual([5, 9]);
    expect(header).toMatchObject({ baseOffset: 2 ** 40, endOffset: 2 ** 40 + 9, maxTimestamp: -1, bytes: 120_000 });
    for (const { at, size, crc } of header.blocks) expect(crc32c(body.subarray(at, at + size))).toBe(crc);
    expect(Buffer.concat(header.blocks.map(({ at, size }) => body.subarray(at, at + size)))).toEqual(
      Buffer.concat(parts.map(({ bytes }) => bytes)),
    );
  });

  it('is read back by decodeHeader() from its beginning alone', () => {
    const { header, body } = encodeObject(content);
    const needed = headerBytesOf(body.subarray(0, 40));
    expect(decodeHeader(body.subarray(0, needed))).toEqual(header);
    expect(decodeHeader(body.subarray(0, needed - 1))).toBeNull();
  });

  it('makes a header in which every changed bit is noticed', () => {
    const { body } = encodeObject(content);
    const needed = headerBytesOf(body);
    for (let bit = 0; bit < needed * 8; bit += 1) {
      const damaged = Buffer.from(body.subarray(0, needed));
      damaged[bit >> 3] ^= 1 << (bit & 7);
      expect(decodeHeader(damaged), `bit ${bit}`).toBeNull();
    }
  });
});

describe('parseKey()', () => {
  it('reads what the makers of keys wrote', () => {
    expect(parseKey(runKey('id', 7))).toEqual({ kind: 'run', baseOffset: 7 });
    expect(parseKey(writerKey('id', 3))).toEqual({ kind: 'writer', writer: 3 });
    expect(parseKey(startKey('id', 5, 9))).toEqual({ kind: 'start', offset: 5, endOffset: 9 });
    expect(parseKey(producersKey('id', 5, 2))).toEqual({ kind: 'producers', offset: 5, writer: 2 });
    for (const maxTimestamp of [-1, 0, 1_700_000_000_000]) {
      const piece = { baseOffset: 0, endOffset: 12, maxTimestamp, bytes: 99 };
      expect(parseKey(segmentKey('id', piece))).toEqual({ kind: 'seg', ...piece });
    }
  });

  it('leaves alone what is none of ours', () => {
    for (const key of ['', 'data/id/run/', 'data/id/run/x', 'data/id/other/1', 'data/id/run/1/2', 'names/p/1']) {
      expect(parseKey(key)).toBeNull();
    }
  });

  it('keys sort as their numbers do', () => {
    const offsets = [0, 9, 10, 999_999, 2 ** 53 - 1];
    expect(offsets.map((offset) => runKey('id', offset)).sort()).toEqual(offsets.map((offset) => runKey('id', offset)));
  });
});
