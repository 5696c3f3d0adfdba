import { describe, expect, test } from 'vitest';
import { createSchedule } from '../../../../src/cli/bench/schedule.ts';

describe('createSchedule()', () => {
  test('dueMs() spaces messages evenly without a ramp', () => {
    const schedule = createSchedule(1000, 0);
    expect([0, 1, 10].map(schedule.dueMs)).toEqual([0, 1, 10]);
  });

  test('dueMs() sends half as many during the ramp, then all', () => {
    const schedule = createSchedule(1000, 2000);
    expect(schedule.dueMs(1000)).toBe(2000);
    expect(schedule.dueMs(250)).toBe(1000);
    expect(schedule.dueMs(2000)).toBe(3000);
  });

  test('dueMs() never goes back', () => {
    const schedule = createSchedule(777, 333);
    for (let i = 1; i < 1000; i++) expect(schedule.dueMs(i)).toBeGreaterThan(schedule.dueMs(i - 1));
  });
});
