import { describe, expect, test } from 'vitest';
import { nearestName, type OptionSpec, parseArguments } from '../../../src/cli/arguments.ts';
import { UsageError } from '../../../src/cli/exit-codes.ts';

const specs: readonly OptionSpec[] = [
  { long: 'topic', short: 't', value: 'TOPIC', help: '' },
  { long: 'qos', short: 'q', value: 'QOS', help: '' },
  { long: 'retain', short: 'r', help: '' },
  { long: 'pair', value: 'A B', countValues: (following) => (following[0] === 'three' ? 3 : 2), help: '' },
];

describe('parseArguments()', () => {
  test('parseArguments() reads short, long and glued values', () => {
    const parsed = parseArguments(['-t', 'a/b', '--qos=2', '-r', 'left'], specs);
    expect(parsed.text('topic')).toBe('a/b');
    expect(parsed.integer('qos', 0, 0, 2)).toBe(2);
    expect(parsed.has('retain')).toBe(true);
    expect(parsed.positionals).toEqual(['left']);
  });

  test('parseArguments() takes a value that looks like a flag', () => {
    expect(parseArguments(['-t', '-q'], specs).text('topic')).toBe('-q');
  });

  test('parseArguments() keeps all values and lets the last one count', () => {
    const parsed = parseArguments(['-t', 'a', '-t', 'b'], specs);
    expect(parsed.texts('topic')).toEqual(['a', 'b']);
    expect(parsed.text('topic')).toBe('b');
  });

  test('parseArguments() lets a flag decide how many values it takes', () => {
    const parsed = parseArguments(['--pair', 'three', 'x', 'y', '--pair', '1', '2'], specs);
    expect(parsed.tuples('pair')).toEqual([
      ['three', 'x', 'y'],
      ['1', '2'],
    ]);
  });

  test('parseArguments() ends the flags at --', () => {
    expect(parseArguments(['--', '-t'], specs).positionals).toEqual(['-t']);
  });

  test('parseArguments() names the nearest flag when one is unknown', () => {
    expect(() => parseArguments(['--topc', 'x'], specs)).toThrow('unknown option; did you mean --topic?');
    expect(() => parseArguments(['--zzzzzzz'], specs)).toThrow(/unknown option$/);
  });

  test('parseArguments() throws when a value is missing or not wanted', () => {
    expect(() => parseArguments(['-t'], specs)).toThrow(UsageError);
    expect(() => parseArguments(['--retain=yes'], specs)).toThrow(UsageError);
  });

  test('ParsedArguments.integer() throws for what is no whole number in its range', () => {
    for (const value of ['3', '-1', '1.5', 'x', '']) {
      const parsed = parseArguments(['-q', value], specs);
      expect(() => parsed.integer('qos', 0, 0, 2)).toThrow(UsageError);
    }
  });

  test('ParsedArguments holds a flag called like a property of every object', () => {
    expect(parseArguments([], specs).has('__proto__')).toBe(false);
    expect(() => parseArguments(['--__proto__', 'x'], specs)).toThrow(UsageError);
  });
});

describe('nearestName()', () => {
  test('nearestName() finds a swap, a start and nothing', () => {
    expect(nearestName('bnech', ['pub', 'sub', 'bench'])).toBe('bench');
    expect(nearestName('--retained', ['--retained-only', '--qos'])).toBe('--retained-only');
    expect(nearestName('xyz', ['pub', 'sub'])).toBeUndefined();
  });
});
