/**
 * The wheels of the persisted timing wheel: minutes, hours and days. A bucket is one internal stream that holds what is due
 * in its span of time. A minute is read into memory shortly before it begins; an hour is rewritten into minutes before its first
 * minute is, and a day into hours. Pure. Any thread; used by the delayed messages.
 */

import { assert } from '../../std/assert.ts';

export interface BucketLevel {
  readonly widthMs: number;
  /** So long before its beginning a bucket is opened: loaded (level 0), or moved to the level below. */
  readonly leadMs: number;
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** A message that is due far ahead is rewritten at most twice. */
export const defaultLevels: readonly BucketLevel[] = [
  { widthMs: minuteMs, leadMs: 10_000 },
  { widthMs: hourMs, leadMs: 5 * minuteMs },
  { widthMs: 24 * hourMs, leadMs: hourMs },
];

export interface BucketPlace {
  readonly level: number;
  /** Of the bucket in its level: its span is [index * width, (index + 1) * width). */
  readonly index: number;
}

export class BucketLevels {
  readonly levels: readonly BucketLevel[];
  /** Of each level: buckets up to this index have been opened. Never goes back, even when the clock does. */
  readonly opened: number[];

  constructor(levels: readonly BucketLevel[]) {
    assert(levels.length > 0, 'there is a level');
    for (let level = 1; level < levels.length; level += 1) {
      const { widthMs, leadMs } = levels[level];
      const below = levels[level - 1];
      assert(
        widthMs % below.widthMs === 0 && widthMs > below.widthMs,
        'a bucket holds whole buckets of the level below',
      );
      assert(leadMs > below.leadMs, 'a bucket is moved before the first one of the level below is opened');
    }
    this.levels = levels;
    this.opened = levels.map(() => -1);
  }

  /** Opens what is near at `nowMs`. */
  advance(nowMs: number): void {
    for (let level = 0; level < this.levels.length; level += 1) {
      const { widthMs, leadMs } = this.levels[level];
      this.opened[level] = Math.max(this.opened[level], Math.floor((nowMs + leadMs) / widthMs));
    }
  }

  indexOf(level: number, timeMs: number): number {
    return Math.floor(timeMs / this.levels[level].widthMs);
  }

  beginMs(place: BucketPlace): number {
    return place.index * this.levels[place.level].widthMs;
  }

  /** The coarsest level whose bucket for this time was not opened yet; else level 0. */
  levelFor(timeMs: number): number {
    for (let level = this.levels.length - 1; level > 0; level -= 1) {
      if (this.indexOf(level, timeMs) > this.opened[level]) return level;
    }
    return 0;
  }
}

export function bucketName(prefix: string, { level, index }: BucketPlace): string {
  return `${prefix}.${level}.${index}`;
}

/** Null when it is not the name of a bucket of this prefix. */
export function parseBucketName(prefix: string, name: string): BucketPlace | null {
  if (!name.startsWith(`${prefix}.`)) return null;
  const match = /^(\d)\.(\d{1,15})$/.exec(name.slice(prefix.length + 1));
  return match === null ? null : { level: Number(match[1]), index: Number(match[2]) };
}
