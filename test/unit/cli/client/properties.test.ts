import { describe, expect, test } from 'vitest';
import { countPropertyValues, readProperties } from '../../../../src/cli/client/properties.ts';
import { UsageError } from '../../../../src/cli/exit-codes.ts';

describe('readProperties()', () => {
  test('readProperties() sorts properties by packet and converts them', () => {
    const sets = readProperties([
      ['publish', 'user-property', 'a', '1'],
      ['publish', 'user-property', 'a', '2'],
      ['publish', 'user-property', '__proto__', 'x'],
      ['publish', 'payload-format-indicator', '1'],
      ['publish', 'correlation-data', 'id'],
      ['connect', 'receive-maximum', '5'],
    ]);
    expect(sets.connect).toEqual({ receiveMaximum: 5 });
    expect(sets.publish?.payloadFormatIndicator).toBe(true);
    expect(sets.publish?.correlationData).toEqual(Buffer.from('id'));
    expect(Object.entries(sets.publish?.userProperties ?? {})).toEqual([
      ['a', ['1', '2']],
      ['__proto__', 'x'],
    ]);
  });

  test('readProperties() throws for unknown properties, packets and numbers', () => {
    expect(() => readProperties([['publish', 'content-typ', 'x']])).toThrow('did you mean content-type?');
    expect(() => readProperties([['subscribe', 'content-type', 'x']])).toThrow(UsageError);
    expect(() => readProperties([['connect', 'receive-maximum', '70000']])).toThrow(UsageError);
  });
});

describe('countPropertyValues()', () => {
  test('countPropertyValues() takes four arguments for a user property', () => {
    expect(countPropertyValues(['publish', 'user-property', 'a', 'b'])).toBe(4);
    expect(countPropertyValues(['publish', 'content-type', 'a'])).toBe(3);
  });
});
