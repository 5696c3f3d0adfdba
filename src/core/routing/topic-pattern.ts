/**
 * Regular expressions over names that clients choose, matched in linear time: a set of states moves over the text
 * (Pike's machine), so that no pattern and no text can make the broker search for ever, which JavaScript's own
 * backtracking expressions allow. Pure; any thread; patterns come from the configuration.
 *
 * Understood: literals, `.`, classes `[a-z]` `[^/]`, `\d \D \w \W \s \S`, escapes of punctuation, groups `( )` and
 * `(?: )`, `|`, `* + ?` and `{m,n}` with their lazy forms, `^` and `$`. Not understood, and refused: back-references,
 * look-around, flags, named groups, `\b`. Text is compared in UTF-16 code units. As in JavaScript the leftmost match counts,
 * and of those the one that a backtracking search finds first; a group in a repetition keeps what it matched last.
 */

/** Steps of a compiled pattern: the work for one character of text is at most this many. */
export const PATTERN_STEPS_MAX = 1_000;
/** Largest number in `{m,n}`. */
const repeatMax = 100;
/** Groups that a pattern may capture, the whole match included. */
const groupsMax = 10;
/** Groups within groups. */
const depthMax = 50;

export class PatternError extends Error {}

type CharTest = (unit: number) => boolean;

type Node =
  | { readonly kind: 'empty' }
  | { readonly kind: 'char'; readonly test: CharTest }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'all'; readonly parts: readonly Node[] }
  | { readonly kind: 'any'; readonly parts: readonly Node[] }
  | { readonly kind: 'group'; readonly index: number; readonly part: Node }
  | {
      readonly kind: 'repeat';
      readonly part: Node;
      readonly min: number;
      readonly max: number;
      readonly isLazy: boolean;
    };

type Step =
  | { readonly op: 'char'; readonly test: CharTest }
  | { readonly op: 'save'; readonly slot: number }
  | { readonly op: 'start' }
  | { readonly op: 'end' }
  | { readonly op: 'split'; first: number; second: number }
  | { readonly op: 'jump'; to: number }
  | { readonly op: 'match' };

const isDigit: CharTest = (unit) => unit >= 0x30 && unit <= 0x39;
const isWord: CharTest = (unit) =>
  isDigit(unit) || (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x61 && unit <= 0x7a) || unit === 0x5f;
const isSpace: CharTest = (unit) => /\s/.test(String.fromCharCode(unit));
const not =
  (test: CharTest): CharTest =>
  (unit) =>
    !test(unit);
const classes = new Map<string, CharTest>([
  ['d', isDigit],
  ['D', not(isDigit)],
  ['w', isWord],
  ['W', not(isWord)],
  ['s', isSpace],
  ['S', not(isSpace)],
]);
const isLineEnd: CharTest = (unit) => unit === 0x0a || unit === 0x0d || unit === 0x2028 || unit === 0x2029;

class Parser {
  groupCount = 1;
  private readonly source: string;
  private at = 0;
  private depth = 0;

  constructor(source: string) {
    this.source = source;
  }

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.source.length) throw this.error('")" without "("');
    return node;
  }

  private error(what: string): PatternError {
    return new PatternError(`${what} at character ${this.at + 1} of the pattern "${this.source}"`);
  }

  private peek(): string {
    return this.source.charAt(this.at);
  }

  private take(text: string): boolean {
    if (!this.source.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  private alternatives(): Node {
    const parts: Node[] = [this.sequence()];
    while (this.take('|')) parts.push(this.sequence());
    return parts.length === 1 ? (parts[0] as Node) : { kind: 'any', parts };
  }

  private sequence(): Node {
    const parts: Node[] = [];
    while (this.at < this.source.length && this.peek() !== '|' && this.peek() !== ')') parts.push(this.repeated());
    if (parts.length === 0) return { kind: 'empty' };
    return parts.length === 1 ? (parts[0] as Node) : { kind: 'all', parts };
  }

  private repeated(): Node {
    const part = this.atom();
    const range = this.range();
    if (range === null) return part;
    if (part.kind === 'start' || part.kind === 'end') throw this.error('A repetition of nothing');
    const isLazy = this.take('?');
    if (this.range() !== null) throw this.error('Two repetitions of one part');
    return { kind: 'repeat', part, ...range, isLazy };
  }

  private range(): { min: number; max: number } | null {
    if (this.take('*')) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.take('+')) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.take('?')) return { min: 0, max: 1 };
    const counted = /^\{(\d{1,4})(,(\d{1,4})?)?\}/.exec(this.source.slice(this.at, this.at + 12));
    if (counted === null) return null;
    this.at += counted[0].length;
    const min = Number(counted[1]);
    const max =
      counted[2] === undefined ? min : counted[3] === undefined ? Number.POSITIVE_INFINITY : Number(counted[3]);
    const largest = max === Number.POSITIVE_INFINITY ? min : max;
    if (largest > repeatMax || max < min)
      throw this.error(`A repetition has 0 to ${repeatMax} as its numbers, in order,`);
    return { min, max };
  }

  private atom(): Node {
    const char = this.peek();
    this.at++;
    switch (char) {
      case '(':
        return this.group();
      case '[':
        return { kind: 'char', test: this.charClass() };
      case '.':
        return { kind: 'char', test: not(isLineEnd) };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '\\':
        return { kind: 'char', test: this.escape() };
      case '*':
      case '+':
      case '?':
        this.at--;
        throw this.error('Nothing to repeat');
      case '{':
      case '}':
      case ']':
        this.at--;
        throw this.error(`"${char}" has to be written as "\\${char}" when it stands for itself`);
      default: {
        const unit = char.charCodeAt(0);
        return { kind: 'char', test: (other) => other === unit };
      }
    }
  }

  private group(): Node {
    const isCapture = !this.take('?:');
    if (isCapture && this.peek() === '?') throw this.error('Look-around and named groups are not understood');
    const index = isCapture ? this.groupCount++ : 0;
    if (this.groupCount > groupsMax) throw this.error(`More than ${groupsMax - 1} groups`);
    if (++this.depth > depthMax) throw this.error(`More than ${depthMax} groups within groups`);
    const part = this.alternatives();
    this.depth--;
    if (!this.take(')')) throw this.error('"(" without ")"');
    return isCapture ? { kind: 'group', index, part } : part;
  }

  /** Behind the backslash. */
  private escape(): CharTest {
    const char = this.peek();
    this.at++;
    const known = classes.get(char);
    if (known !== undefined) return known;
    if (char === '' || /[A-Za-z0-9]/.test(char)) {
      this.at--;
      throw this.error(`"\\${char}" is not understood`);
    }
    const unit = char.charCodeAt(0);
    return (other) => other === unit;
  }

  /** Behind the opening bracket. */
  private charClass(): CharTest {
    const isNegated = this.take('^');
    const tests: CharTest[] = [];
    while (!this.take(']')) {
      if (this.at >= this.source.length) throw this.error('"[" without "]"');
      tests.push(this.classItem());
    }
    const test: CharTest = (unit) => tests.some((one) => one(unit));
    return isNegated ? not(test) : test;
  }

  private classItem(): CharTest {
    const first = this.classUnit();
    if (typeof first !== 'number') return first;
    const isRange = this.peek() === '-' && this.source.charAt(this.at + 1) !== ']' && this.at + 1 < this.source.length;
    if (!isRange) return (unit) => unit === first;
    this.at++;
    const last = this.classUnit();
    if (typeof last !== 'number' || last < first) throw this.error('A range of a class ends before it begins');
    return (unit) => unit >= first && unit <= last;
  }

  private classUnit(): number | CharTest {
    const char = this.peek();
    this.at++;
    if (char !== '\\') return char.charCodeAt(0);
    const escaped = this.peek();
    const test = this.escape();
    return classes.has(escaped) ? test : escaped.charCodeAt(0);
  }
}

class Compiler {
  readonly steps: Step[] = [];

  emit(step: Step): number {
    if (this.steps.length >= PATTERN_STEPS_MAX) {
      throw new PatternError(`The pattern is too large: it takes more than ${PATTERN_STEPS_MAX} steps`);
    }
    return this.steps.push(step) - 1;
  }

  compile(node: Node): void {
    switch (node.kind) {
      case 'empty':
        return;
      case 'char':
        this.emit({ op: 'char', test: node.test });
        return;
      case 'start':
      case 'end':
        this.emit({ op: node.kind });
        return;
      case 'all':
        for (const part of node.parts) this.compile(part);
        return;
      case 'any':
        this.alternatives(node.parts);
        return;
      case 'group':
        this.emit({ op: 'save', slot: node.index * 2 });
        this.compile(node.part);
        this.emit({ op: 'save', slot: node.index * 2 + 1 });
        return;
      case 'repeat':
        this.repeat(node.part, node.min, node.max, node.isLazy);
    }
  }

  private alternatives(parts: readonly Node[]): void {
    const jumps: { to: number }[] = [];
    for (const [index, part] of parts.entries()) {
      if (index === parts.length - 1) {
        this.compile(part);
        break;
      }
      const split = { op: 'split' as const, first: this.steps.length + 1, second: 0 };
      this.emit(split);
      this.compile(part);
      const jump = { op: 'jump' as const, to: 0 };
      this.emit(jump);
      jumps.push(jump);
      split.second = this.steps.length;
    }
    for (const jump of jumps) jump.to = this.steps.length;
  }

  private repeat(part: Node, min: number, max: number, isLazy: boolean): void {
    for (let count = 0; count < min; count++) this.compile(part);
    if (max === Number.POSITIVE_INFINITY) {
      const split = this.optional(isLazy);
      this.compile(part);
      this.emit({ op: 'jump', to: split.at });
      split.leave(this.steps.length);
      return;
    }
    const splits: { leave(to: number): void }[] = [];
    for (let count = min; count < max; count++) {
      splits.push(this.optional(isLazy));
      this.compile(part);
    }
    for (const split of splits) split.leave(this.steps.length);
  }

  private optional(isLazy: boolean): { at: number; leave(to: number): void } {
    const step = { op: 'split' as const, first: 0, second: 0 };
    const at = this.emit(step);
    if (isLazy) step.second = at + 1;
    else step.first = at + 1;
    return {
      at,
      leave: (to) => {
        if (isLazy) step.first = to;
        else step.second = to;
      },
    };
  }
}

/** One way through the pattern: where it is and what its groups hold. */
interface Thread {
  readonly at: number;
  readonly slots: readonly number[];
}

export class TopicPattern {
  /** Groups that `match` answers, the whole match included. */
  readonly groupCount: number;
  private readonly steps: readonly Step[];
  /** Number of the character at which a step was reached last: each is followed once per character. */
  private readonly seen: Int32Array<ArrayBuffer>;
  private mark = 0;

  /** Throws `PatternError`, which says what is not understood and where. */
  constructor(source: string) {
    const parser = new Parser(source);
    const node = parser.parse();
    const compiler = new Compiler();
    compiler.emit({ op: 'save', slot: 0 });
    compiler.compile(node);
    compiler.emit({ op: 'save', slot: 1 });
    compiler.emit({ op: 'match' });
    this.steps = compiler.steps;
    this.groupCount = parser.groupCount;
    this.seen = new Int32Array(this.steps.length);
  }

  /** The first match: its text and that of its groups, undefined for a group that took no part. Null: none. */
  match(text: string): (string | undefined)[] | null {
    this.seen.fill(0);
    this.mark = 0;
    const noSlots = new Array<number>(this.groupCount * 2).fill(-1);
    let found: readonly number[] | null = null;
    let threads: Thread[] = [];
    for (let position = 0; position <= text.length; position++) {
      this.mark++;
      const next: Thread[] = [];
      // Those that began earlier come first; none begins once a match is there.
      for (const thread of threads) this.follow(thread.at, thread.slots, position, text.length, next);
      if (found === null) this.follow(0, noSlots, position, text.length, next);
      threads = [];
      const unit = text.charCodeAt(position);
      for (const { at, slots } of next) {
        const step = this.steps[at] as Step;
        if (step.op === 'match') {
          found = slots;
          break; // What comes behind is wanted less.
        }
        if (step.op === 'char' && position < text.length && step.test(unit)) threads.push({ at: at + 1, slots });
      }
      if (threads.length === 0 && found !== null) break;
    }
    if (found === null) return null;
    const slots = found;
    return Array.from({ length: this.groupCount }, (_, group) => {
      const start = slots[group * 2] as number;
      const end = slots[group * 2 + 1] as number;
      return start < 0 || end < 0 ? undefined : text.slice(start, end);
    });
  }

  /** Adds the steps that wait for a character, or end the match, and are reached from `from` without one, best first. */
  private follow(from: number, slots: readonly number[], position: number, length: number, next: Thread[]): void {
    const stack: Thread[] = [{ at: from, slots }];
    for (let thread = stack.pop(); thread !== undefined; thread = stack.pop()) {
      const { at } = thread;
      if (this.seen[at] === this.mark) continue;
      this.seen[at] = this.mark;
      const step = this.steps[at] as Step;
      switch (step.op) {
        case 'char':
        case 'match':
          next.push(thread);
          break;
        case 'jump':
          stack.push({ at: step.to, slots: thread.slots });
          break;
        case 'split':
          stack.push({ at: step.second, slots: thread.slots }, { at: step.first, slots: thread.slots });
          break;
        case 'save':
          stack.push({ at: at + 1, slots: thread.slots.with(step.slot, position) });
          break;
        case 'start':
          if (position === 0) stack.push({ at: at + 1, slots: thread.slots });
          break;
        case 'end':
          if (position === length) stack.push({ at: at + 1, slots: thread.slots });
      }
    }
  }
}
