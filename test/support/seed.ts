/**
 * Where the randomness of `npm test` starts. The same run for the same code by default, so that a change is judged by what it changed;
 * `RINGMQ_TEST_SEED=7 npm test` runs other cases, and `RINGMQ_TEST_SEED=random` new ones each time. A set-up file of every test file.
 */
import fc from 'fast-check';

/** The seed of this run, an integer from 0 to 2^31 - 1. Failures name it. */
export const testSeed = seedOf(process.env['RINGMQ_TEST_SEED'] ?? '1');

function seedOf(text: string): number {
  if (text === 'random') return Math.floor(Math.random() * 2 ** 31);
  if (!/^\d{1,10}$/.test(text) || Number(text) >= 2 ** 31) {
    throw new Error(`RINGMQ_TEST_SEED is "random" or an integer below 2^31, not "${text}"`);
  }
  return Number(text);
}

fc.configureGlobal({ seed: testSeed });
