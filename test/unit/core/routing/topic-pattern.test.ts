/** Patterns against JavaScript's own expressions, as the oracle of what both understand. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PatternError, TopicPattern } from '../../../../src/core/routing/topic-pattern.ts';

function match(pattern: string, text: string): (string | undefined)[] | null {
  return new TopicPattern(pattern).match(text);
}

function oracle(pattern: string, text: string): (string | undefined)[] | null {
  const found = new RegExp(pattern).exec(text);
  return found === null ? null : [...found];
}

describe('TopicPattern', () => {
  it.each([
    ['^a/(.+)/b$', 'a/x/y/b'],
    ['^a/(.+?)/(.+)$', 'a/x/y/b'],
    ['(\\d+)-(\\w*)', 'room 12-b7'],
    ['[^/]+$', 'one/two/three'],
    ['^(?:a|ab)(c|bcd)(d*)$', 'abcd'],
    ['x{2,3}', 'axxxxb'],
    ['x{2}y{1,}', 'xxxyy'],
    ['^\\$SYS/(.*)$', '$SYS/x'],
    ['[a\\]\\-z]+', 'q]-az'],
    ['[\\d/]+', 'ab12/3'],
    ['a|', 'b'],
    ['(a)|(b)', 'b'],
    ['^$', ''],
    ['\\S+\\s\\D', '12 x'],
    ['ü[à-ö]', 'xüä'],
  ])('match() of %s finds in "%s" what a backtracking search finds', (pattern, text) => {
    expect(match(pattern, text)).toEqual(oracle(pattern, text));
  });

  it('match() agrees with a backtracking search on random patterns and texts', () => {
    const atom = fc.constantFrom('a', 'b', '/', '.', '[ab]', '[^a]', '^', '$', '\\w');
    const part = fc.oneof(
      { depthSize: 'small' },
      atom,
      fc
        .tuple(atom, fc.constantFrom('*', '+', '?', '*?', '+?', '{1,2}'))
        .map(([one, times]) => (one === '^' || one === '$' ? one : one + times)),
    );
    const sequence = fc.array(part, { maxLength: 4 }).map((parts) => parts.join(''));
    // Groups stand outside of repetitions: there JavaScript forgets them in each round, which is a known difference.
    const pattern = fc
      .array(
        fc.oneof(
          sequence,
          sequence.map((text) => `(${text})`),
          fc.tuple(sequence, sequence).map(([one, other]) => `(${one}|${other})`),
        ),
        { maxLength: 3 },
      )
      .map((parts) => parts.join(''));
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 7 });
    fc.assert(
      fc.property(pattern, text, (source, subject) => {
        expect(match(source, subject)).toEqual(oracle(source, subject));
      }),
      { numRuns: 3_000 },
    );
  });

  it('match() ends for patterns on which a backtracking search does not', () => {
    const long = 'a'.repeat(4_096);
    for (const pattern of ['^(a*)*b$', '^(a|a)*b$', '^(.*a){10}b$', '(a?){50}a{50}b']) {
      expect(match(pattern, long)).toBeNull();
    }
    expect(match('^(a*)*$', long)?.[0]).toBe(long);
  });

  it.each([
    ['(', '"(" without ")"'],
    ['a)', '")" without "("'],
    ['[a', '"[" without "]"'],
    ['*a', 'Nothing to repeat'],
    ['a**', 'Two repetitions'],
    ['a{3,2}', 'in order'],
    ['a{101}', '0 to 100'],
    ['(?=a)', 'Look-around'],
    ['(?<n>a)', 'Look-around'],
    ['\\1', '"\\1" is not understood'],
    ['\\b', '"\\b" is not understood'],
    ['\\', 'is not understood'],
    ['[b-a]', 'ends before it begins'],
    ['{', 'has to be written as'],
    ['^*', 'repetition of nothing'],
    ['(a)'.repeat(10), 'More than 9 groups'],
    ['('.repeat(60), 'groups'],
    ['(?:'.repeat(60), 'groups within groups'],
    ['((a{100}){100}){100}', 'too large'],
  ])('refuses %s and says why', (pattern, reason) => {
    expect(() => new TopicPattern(pattern)).toThrow(PatternError);
    expect(() => new TopicPattern(pattern)).toThrow(reason);
  });
});
