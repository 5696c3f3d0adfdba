/**
 * Shapes of filters and the hashes that filters and topics have under them. Pure; used by the interest table, on the
 * thread that owns the view.
 *
 * A shape is one positive int32: `1 << 22 | levels << 17 | endsBelow << 16 | plusMask`. `levels` counts the levels without
 * a last `#`; bit i of `plusMask` says that level i is `+`. Shapes have at most 16 levels: a deeper filter is widened to
 * its first 16 levels and `#`, which matches all that the filter matches and more.
 */
import { hashString } from '../../std/hash.ts';

export const SHAPE_LEVELS_MAX = 16;

const slash = 0x2f;
const plus = 0x2b;
const hash = 0x23;
const belowBit = 1 << 16;
/** Stands for a `+` in place of a level's hash; a level that happens to have it makes a false positive. */
const plusHash = 0x2545f491;

export function shapeLevels(shape: number): number {
  return (shape >>> 17) & 31;
}

/** Whether filters of this shape end with `#`. */
export function shapeEndsBelow(shape: number): boolean {
  return (shape & belowBit) !== 0;
}

/** Whether filters of this shape can match a topic whose first level begins with `$`: the first level is no wildcard. */
export function shapeFitsHidden(shape: number): boolean {
  return shapeLevels(shape) > 0 && (shape & 1) === 0;
}

/** Shape and hash of the filter that was parsed last. */
export class FilterShape {
  key = 0;
  hash = 0;

  parse(filter: string, seed: number): void {
    let levels = 0;
    let plusMask = 0;
    let below = 0;
    let folded = seed;
    for (let start = 0; start <= filter.length; ) {
      const first = filter.charCodeAt(start);
      if (levels === SHAPE_LEVELS_MAX || first === hash) {
        below = belowBit;
        break;
      }
      const end = levelEnd(filter, start);
      if (first === plus) {
        plusMask |= 1 << levels;
        folded = fold(folded, plusHash);
      } else folded = fold(folded, hashString(filter, seed, start, end));
      levels++;
      start = end + 1;
    }
    this.key = (1 << 22) | (levels << 17) | below | plusMask;
    this.hash = finish(folded, this.key);
  }
}

/** The levels of the topic that was parsed last. */
export class TopicLevels {
  /** The largest `count`. */
  static readonly countMax = SHAPE_LEVELS_MAX + 1;
  /** Number of levels; 17 stands for any number above 16. */
  count = 0;
  private readonly hashes = new Int32Array(SHAPE_LEVELS_MAX);
  private seed = 0;

  parse(topic: string, seed: number): void {
    let count = 0;
    for (let start = 0; start <= topic.length; ) {
      if (count === SHAPE_LEVELS_MAX) {
        count++;
        break;
      }
      const end = levelEnd(topic, start);
      this.hashes[count++] = hashString(topic, seed, start, end);
      start = end + 1;
    }
    this.count = count;
    this.seed = seed;
  }

  /** The hash that every filter of `shape` has that matches this topic. The shape fits the number of levels. */
  hash(shape: number): number {
    const { hashes } = this;
    const levels = shapeLevels(shape);
    let folded = this.seed;
    for (let level = 0, rest = shape; level < levels; level++, rest >>= 1) {
      folded = fold(folded, (rest & 1) !== 0 ? plusHash : hashes[level]);
    }
    return finish(folded, shape);
  }
}

function levelEnd(text: string, start: number): number {
  let end = start;
  while (end < text.length && text.charCodeAt(end) !== slash) end++;
  return end;
}

/** Adds a level. The parts are keyed hashes already, so this only has to depend on their order. */
function fold(folded: number, part: number): number {
  const mixed = Math.imul(folded ^ part, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

function finish(folded: number, shape: number): number {
  let mixed = Math.imul(folded ^ shape, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
