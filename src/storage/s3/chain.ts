/**
 * Which objects make up a log, by their keys: segments where there are some, runs where there are not. Pure. Thread: the one
 * that holds the store; used by the engine beside this file.
 *
 * Objects can overlap: a run stays for a time when its segment is there, and writers that did not know of each other may
 * have merged the same runs differently. Where they overlap they hold the same batches.
 */

import { parseKey } from './object-format.ts';
import type { ListedObject } from './object-store.ts';

/** A range of the log and where it lies. */
export interface Piece {
  /** From here on it is used; the object can begin earlier. */
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly maxTimestamp: number;
  readonly bytes: number;
  /** Null: the object is missing. */
  readonly key: string | null;
  readonly isRun: boolean;
}

interface Span {
  readonly key: string;
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly maxTimestamp: number;
  readonly bytes: number;
  readonly isRun: boolean;
}

interface FoundRun {
  readonly key: string;
  readonly baseOffset: number;
}

/** All that lies below `data/<id>/`. */
export interface Listing {
  readonly startOffset: number;
  /** Key of the object that says so; null when it is 0. */
  readonly startKey: string | null;
  /** The log did not end below it. */
  readonly endOffsetMin: number;
  readonly writer: number;
  /** Key of the newest snapshot. */
  readonly producers: string | null;
  readonly segments: readonly Span[];
  /** By base offset. */
  readonly runs: readonly FoundRun[];
  /** Keys that say what another one says better. */
  readonly outdated: readonly string[];
}

export interface Chain {
  /** In order, without a gap, up to the end of the log. */
  readonly pieces: readonly Piece[];
  readonly endOffset: number;
  /** Keys of objects that nobody needs. */
  readonly unused: readonly string[];
}

export function readListing(objects: readonly ListedObject[]): Listing {
  const segments: Span[] = [];
  const runs: FoundRun[] = [];
  const outdated: string[] = [];
  let start = { offset: 0, endOffset: 0, key: '' };
  let producers = { offset: -1, writer: 0, key: '' };
  let newest = { writer: 0, key: '' };
  let endOffsetMin = 0;
  for (const { key } of objects) {
    const parsed = parseKey(key);
    switch (parsed?.kind) {
      case 'run':
        runs.push({ key, baseOffset: parsed.baseOffset });
        break;
      case 'seg':
        segments.push({ ...parsed, key, isRun: false });
        break;
      case 'start': {
        endOffsetMin = Math.max(endOffsetMin, parsed.endOffset);
        // Keys ascend, so that the one before is the older one.
        if (start.key !== '') outdated.push(start.key);
        start = { ...parsed, key };
        break;
      }
      case 'producers':
        if (producers.key !== '') outdated.push(producers.key);
        producers = { ...parsed, key };
        break;
      case 'writer':
        if (newest.key !== '') outdated.push(newest.key);
        newest = { ...parsed, key };
        break;
      default:
        break;
    }
  }
  runs.sort((one, other) => one.baseOffset - other.baseOffset);
  return {
    startOffset: start.offset,
    startKey: start.key === '' ? null : start.key,
    endOffsetMin,
    writer: newest.writer,
    producers: producers.key === '' ? null : producers.key,
    segments,
    runs,
    outdated,
  };
}

/** Keys of the runs that are needed: those above the start of the log that no segment covers. */
export function neededRuns({ startOffset, segments, runs }: Listing): string[] {
  return runs
    .filter(({ baseOffset }, index) => {
      const next = runs[index + 1];
      if (next !== undefined && next.baseOffset <= startOffset) return false;
      return !segments.some((segment) => segment.baseOffset <= baseOffset && baseOffset < segment.endOffset);
    })
    .map(({ key }) => key);
}

export interface RunHeader {
  readonly endOffset: number;
  readonly maxTimestamp: number;
  readonly bytes: number;
}

/** `headers`: of the needed runs, by key. */
export function buildChain(listing: Listing, headers: ReadonlyMap<string, RunHeader>): Chain {
  const spans = [...listing.segments];
  for (const { key, baseOffset } of listing.runs) {
    const header = headers.get(key);
    if (header !== undefined) spans.push({ ...header, key, baseOffset, isRun: true });
  }
  spans.sort((one, other) => one.baseOffset - other.baseOffset || other.endOffset - one.endOffset);
  const pieces: Piece[] = [];
  let cursor = listing.startOffset;
  for (let at = 0; at < spans.length; ) {
    let best: Span | null = null;
    for (; at < spans.length && spans[at].baseOffset <= cursor; at += 1) {
      if (spans[at].endOffset > (best?.endOffset ?? cursor)) best = spans[at];
    }
    if (best !== null) {
      pieces.push({ ...best, baseOffset: pieces.length === 0 ? best.baseOffset : cursor });
      cursor = best.endOffset;
    } else if (at < spans.length) {
      pieces.push(hole(cursor, spans[at].baseOffset));
      cursor = spans[at].baseOffset;
    }
  }
  if (cursor < listing.endOffsetMin) {
    // When all of it was deleted, only its end is left.
    if (listing.startOffset < listing.endOffsetMin) pieces.push(hole(cursor, listing.endOffsetMin));
    cursor = listing.endOffsetMin;
  }
  const used = new Set(pieces.map(({ key }) => key));
  const all = [...listing.segments, ...listing.runs].map(({ key }) => key);
  return { pieces, endOffset: cursor, unused: all.filter((key) => !used.has(key)) };
}

function hole(baseOffset: number, endOffset: number): Piece {
  return { baseOffset, endOffset, maxTimestamp: Number.MAX_SAFE_INTEGER, bytes: 0, key: null, isRun: false };
}

/** The newer of two views of a log, with what only the older one has behind its end. */
export function joinPieces(pieces: readonly Piece[], known: readonly Piece[]): readonly Piece[] {
  const end = pieces.at(-1)?.endOffset ?? 0;
  const rest = known.slice(findPiece(known, end));
  if (rest.length === 0 || pieces.length === 0) return [...pieces, ...rest];
  const [first, ...others] = rest;
  return first.baseOffset > end ? known : [...pieces, { ...first, baseOffset: end }, ...others];
}

/** Index of the first piece that ends above `offset`. */
export function findPiece(pieces: readonly Piece[], offset: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (pieces[middle].endOffset <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** So many neighbours that are small for their kind are merged. */
export const mergeCount = 16;
const smallestTierBytes = 256 * 1024;

/**
 * The next pieces to merge, as a range of indexes: at least `mergeCount` neighbours of at most the same size class, fewer
 * than `segmentBytes` together; null when there is nothing to do. `isFixed`: those that stay as they are. Each byte is written again once per class of 16 times the size.
 */
export function planMerge(
  pieces: readonly Piece[],
  segmentBytes: number,
  isFixed: (piece: Piece) => boolean = () => false,
): { readonly from: number; readonly to: number } | null {
  for (let tierBytes = smallestTierBytes; ; tierBytes = Math.min(segmentBytes, tierBytes * mergeCount)) {
    let from = 0;
    let bytes = 0;
    for (const [index, piece] of pieces.entries()) {
      const isSmall = piece.key !== null && piece.bytes < tierBytes && !isFixed(piece);
      if (!isSmall || bytes + piece.bytes > segmentBytes) {
        if (index - from >= mergeCount) return { from, to: index };
        from = isSmall ? index : index + 1;
        bytes = 0;
      }
      if (isSmall) bytes += piece.bytes;
      // What is full is merged without waiting for further ones.
      if (isSmall && index + 1 - from >= mergeCount && bytes >= tierBytes) return { from, to: index + 1 };
    }
    if (pieces.length - from >= mergeCount) return { from, to: pieces.length };
    if (tierBytes >= segmentBytes) return null;
  }
}
