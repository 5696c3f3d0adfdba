import { describe, expect, it } from 'vitest';
import { limiter } from '../../../src/std/limiter.ts';

describe('limiter()', () => {
  it('runs so many tasks at once, in order, also when some fail', async () => {
    const limit = limiter(2);
    const begun: number[] = [];
    let running = 0;
    let most = 0;
    const task = async (number: number): Promise<number> => {
      begun.push(number);
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      if (number % 3 === 0) throw new Error(`${number}`);
      return number;
    };
    const numbers = Array.from({ length: 10 }, (_, number) => number);
    const outcomes = await Promise.allSettled(numbers.map((number) => limit(() => task(number))));
    expect(outcomes.map(({ status }) => status === 'fulfilled')).toEqual(numbers.map((number) => number % 3 !== 0));
    expect(begun).toEqual(numbers);
    expect(most).toBe(2);
    expect(await limit(async () => 'again')).toBe('again');
  });
});
