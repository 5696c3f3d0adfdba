/** Generators of topics and filters for the model tests: a small alphabet, so that they meet each other. */
import fc from 'fast-check';

const topicLevel = fc.constantFrom(
  '',
  'a',
  'b',
  'c',
  '$s',
  'é😀',
  '__proto__',
  'constructor',
  'a much longer level name',
);
const filterLevel = fc.oneof({ weight: 3, arbitrary: topicLevel }, { weight: 2, arbitrary: fc.constant('+') });

const levelCount = { minLength: 1, maxLength: 5 };

export const topics = fc
  .oneof(
    { weight: 9, arbitrary: fc.array(topicLevel, levelCount) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom('a', 'b'), { minLength: 14, maxLength: 19 }) },
  )
  .map((levels) => levels.join('/') || 'x');

export const filters = fc
  .oneof(
    { weight: 6, arbitrary: fc.array(filterLevel, levelCount) },
    { weight: 3, arbitrary: fc.array(filterLevel, { minLength: 0, maxLength: 4 }).map((levels) => [...levels, '#']) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom('a', 'b', '+'), { minLength: 14, maxLength: 19 }) },
  )
  .map((levels) => levels.join('/') || 'x');
