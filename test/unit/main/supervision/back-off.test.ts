import { expect, it } from 'vitest';
import { BackOff } from '../../../../src/main/supervision/back-off.ts';

it('after() doubles from the first to the longest wait', () => {
  const backOff = new BackOff(100, 10_000);
  const delays = Array.from({ length: 9 }, () => backOff.after(0));
  expect(delays).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
});

it('after() begins again when the worker had been healthy', () => {
  const backOff = new BackOff(100, 10_000);
  backOff.after(0);
  backOff.after(0);
  expect(backOff.after(30_000)).toBe(100);
  expect(backOff.after(10)).toBe(200);
});
