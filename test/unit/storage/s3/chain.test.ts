import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildChain,
  findPiece,
  joinPieces,
  mergeCount,
  neededRuns,
  type Piece,
  planMerge,
  type RunHeader,
  readListing,
} from '../../../../src/storage/s3/chain.ts';
import { producersKey, runKey, segmentKey, startKey, writerKey } from '../../../../src/storage/s3/object-format.ts';

const object = (key: string) => ({ key, size: 1, modified: 0 });
const segment = (baseOffset: number, endOffset: number): string => {
  return segmentKey('id', { baseOffset, endOffset, maxTimestamp: endOffset, bytes: endOffset - baseOffset });
};
const runHeader = (baseOffset: number, endOffset: number): RunHeader => {
  return { endOffset, maxTimestamp: endOffset, bytes: endOffset - baseOffset };
};

/** The chain of objects; runs are given as [base, end). */
function chainOf(keys: readonly string[], runs: readonly (readonly [number, number])[]) {
  const all = [...keys, ...runs.map(([base]) => runKey('id', base))].sort();
  const listing = readListing(all.map(object));
  const ends = new Map(runs.map(([base, end]) => [runKey('id', base), runHeader(base, end)]));
  const headers = new Map<string, RunHeader>();
  for (const key of neededRuns(listing)) {
    const header = ends.get(key);
    if (header !== undefined) headers.set(key, header);
  }
  return { listing, headers, chain: buildChain(listing, headers) };
}

const ranges = (pieces: readonly Piece[]): string[] => {
  return pieces.map(({ baseOffset, endOffset, key }) => `${baseOffset}-${endOffset}${key === null ? ' missing' : ''}`);
};

describe('readListing()', () => {
  it('takes the newest of each kind, and names the others', () => {
    const old = [startKey('id', 5, 20), producersKey('id', 7, 9), writerKey('id', 9)];
    const keys = [...old, startKey('id', 6, 10), producersKey('id', 8, 1), writerKey('id', 10), 'data/id/stray'];
    const listing = readListing(keys.sort().map(object));
    expect(listing).toMatchObject({
      startOffset: 6,
      endOffsetMin: 20,
      writer: 10,
      producers: producersKey('id', 8, 1),
    });
    expect([...listing.outdated].sort()).toEqual(old.sort());
  });
});

describe('buildChain()', () => {
  it('takes segments where there are some, and runs where there are not', () => {
    const { chain, headers } = chainOf(
      [segment(0, 10), segment(10, 20)],
      [
        [5, 10],
        [20, 22],
        [22, 30],
      ],
    );
    expect(ranges(chain.pieces)).toEqual(['0-10', '10-20', '20-22', '22-30']);
    expect(headers.size).toBe(2);
    expect(chain.endOffset).toBe(30);
    expect(chain.unused).toEqual([runKey('id', 5)]);
  });

  it('begins with the piece that the start of the log is in', () => {
    const { chain } = chainOf([startKey('id', 12, 20), segment(0, 10), segment(10, 20)], [[10, 20]]);
    expect(ranges(chain.pieces)).toEqual(['10-20']);
    expect([...chain.unused].sort()).toEqual([runKey('id', 10), segment(0, 10)].sort());
  });

  it('tells what is missing', () => {
    expect(ranges(chainOf([segment(10, 20)], [[25, 30]]).chain.pieces)).toEqual([
      '0-10 missing',
      '10-20',
      '20-25 missing',
      '25-30',
    ]);
  });

  it('knows the end of a log of which all was deleted', () => {
    const { chain } = chainOf([startKey('id', 40, 40)], []);
    expect(chain).toMatchObject({ pieces: [], endOffset: 40 });
    expect(ranges(chainOf([startKey('id', 30, 40)], []).chain.pieces)).toEqual(['30-40 missing']);
  });

  it('covers the log however writers merged it, without a gap or an overlap', () => {
    const scenario = fc.record({
      lengths: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 30 }),
      merges: fc.array(fc.tuple(fc.nat(29), fc.nat(29), fc.boolean()), { maxLength: 8 }),
      start: fc.nat(160),
    });
    fc.assert(
      fc.property(scenario, ({ lengths, merges, start }) => {
        const bounds = [0];
        for (const length of lengths) bounds.push(bounds[bounds.length - 1] + length);
        const end = bounds[bounds.length - 1];
        const startOffset = Math.min(start, end);
        const runs = new Map(lengths.map((_, index) => [bounds[index], bounds[index + 1]]));
        const keys = startOffset === 0 ? [] : [startKey('id', startOffset, end)];
        for (const [one, other, isDeleted] of merges) {
          const [from, to] = [one, other].map((index) => index % lengths.length).sort((a, b) => a - b);
          keys.push(segment(bounds[from], bounds[to + 1]));
          if (isDeleted) for (const base of bounds.slice(from, to + 1)) runs.delete(base);
        }
        const { chain } = chainOf([...new Set(keys)], [...runs]);
        let cursor = startOffset;
        for (const piece of chain.pieces) {
          expect(piece.key).not.toBeNull();
          expect(piece.baseOffset).toBeLessThanOrEqual(cursor);
          expect(piece === chain.pieces[0] || piece.baseOffset === cursor).toBe(true);
          expect(piece.endOffset).toBeGreaterThan(cursor);
          cursor = piece.endOffset;
        }
        expect(cursor).toBe(end);
        expect(chain.endOffset).toBe(end);
      }),
      { numRuns: 300 },
    );
  });
});

function piece(baseOffset: number, endOffset: number, bytes = 1000): Piece {
  return { baseOffset, endOffset, maxTimestamp: 0, bytes, key: `${baseOffset}`, isRun: true };
}

describe('joinPieces()', () => {
  it('keeps what only the older view has behind the end', () => {
    const known = [piece(0, 5), piece(5, 10), piece(10, 15)];
    expect(ranges(joinPieces([piece(0, 10)], known))).toEqual(['0-10', '10-15']);
    expect(ranges(joinPieces([piece(0, 12)], known))).toEqual(['0-12', '12-15']);
    expect(ranges(joinPieces([piece(0, 20)], known))).toEqual(['0-20']);
    expect(ranges(joinPieces([], known))).toEqual(ranges(known));
  });
});

describe('findPiece()', () => {
  it('answers the first piece that ends above the offset', () => {
    const pieces = [piece(0, 5), piece(5, 10)];
    expect([0, 4, 5, 9, 10].map((offset) => findPiece(pieces, offset))).toEqual([0, 0, 1, 1, 2]);
  });
});

describe('planMerge()', () => {
  const small = (count: number, bytes = 1000): Piece[] =>
    Array.from({ length: count }, (_, at) => piece(at, at + 1, bytes));

  it('merges neighbours when there are enough of them', () => {
    expect(planMerge(small(mergeCount - 1), 1_000_000)).toBeNull();
    expect(planMerge(small(mergeCount), 1_000_000)).toEqual({ from: 0, to: mergeCount });
    expect(planMerge([piece(0, 1, 900_000), ...small(mergeCount)], 1_000_000)).toEqual({ from: 1, to: mergeCount + 1 });
  });

  it('leaves holes and what is large enough', () => {
    expect(planMerge(small(100, 1_000_000), 1_000_000)).toBeNull();
    const holes = small(mergeCount + 3).map((each, at) => (at === 8 ? { ...each, key: null } : each));
    expect(planMerge(holes, 1_000_000)).toBeNull();
    expect(planMerge(small(mergeCount + 3), 1_000_000, ({ baseOffset }) => baseOffset === 8)).toBeNull();
  });

  it('comes to an end, and leaves few objects, each of at most the size of a segment', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300_000 }), { maxLength: 400 }), (sizes) => {
        const segmentBytes = 4_000_000;
        let pieces: Piece[] = sizes.map((bytes, at) => piece(at, at + 1, bytes));
        for (let count = 0; ; count += 1) {
          expect(count).toBeLessThan(sizes.length + 1);
          const plan = planMerge(pieces, segmentBytes);
          if (plan === null) break;
          const merged = pieces.slice(plan.from, plan.to);
          expect(merged.length).toBeGreaterThanOrEqual(mergeCount);
          const bytes = merged.reduce((sum, each) => sum + each.bytes, 0);
          expect(bytes).toBeLessThanOrEqual(segmentBytes);
          const one = piece(merged[0].baseOffset, merged[merged.length - 1].endOffset, bytes);
          pieces = [...pieces.slice(0, plan.from), one, ...pieces.slice(plan.to)];
        }
        const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
        expect(pieces.length).toBeLessThan(mergeCount * 4 + (2 * total) / 200_000);
      }),
      { numRuns: 100 },
    );
  });
});
