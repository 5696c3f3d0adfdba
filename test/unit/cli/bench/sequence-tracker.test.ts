import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SequenceTracker } from '../../../../src/cli/bench/sequence-tracker.ts';

function feed(tracker: SequenceTracker, numbers: readonly number[]): void {
  let expected = 1;
  for (const number of numbers) {
    expected = number === expected ? expected + 1 : tracker.takeUnexpected(0, expected, number);
  }
}

describe('SequenceTracker', () => {
  test('takeUnexpected() counts a gap as neither duplicate nor reordered', () => {
    const tracker = new SequenceTracker();
    feed(tracker, [1, 2, 5, 6]);
    expect(tracker).toMatchObject({ duplicated: 0, reordered: 0 });
  });

  test('takeUnexpected() counts late ones as reordered, once each', () => {
    const tracker = new SequenceTracker();
    feed(tracker, [1, 5, 3, 2, 4, 3, 5]);
    expect(tracker).toMatchObject({ reordered: 3, duplicated: 2 });
  });

  test('takeUnexpected() finds each duplicate of any order of deliveries', () => {
    const deliveries = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 120 });
    fc.assert(
      fc.property(deliveries, (numbers) => {
        const tracker = new SequenceTracker();
        feed(tracker, numbers);
        expect(tracker.duplicated).toBe(numbers.length - new Set(numbers).size);
      }),
    );
  });
});
