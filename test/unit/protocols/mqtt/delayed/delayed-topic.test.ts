import { describe, expect, it } from 'vitest';
import { parseDelayedTopic } from '../../../../../src/protocols/mqtt/delayed/delayed-topic.ts';

const nowMs = 1_700_000_000_000;
const maxMs = 42_949_670_000;
const parse = (path: string): unknown => parseDelayedTopic(path, nowMs, maxMs);
const due = (path: string): number => (parse(path) as { dueMs: number }).dueMs - nowMs;

describe('parseDelayedTopic()', () => {
  it.each([
    ['$delayed/5/a/b', 5_000],
    ['$delayed/0/a/b', 0],
    ['$delayed/1.5/a/b', 1_500],
    ['$delayed/0.05s/a/b', 50],
    ['$delayed/10s/a/b', 10_000],
    ['$delayed/250ms/a/b', 250],
    ['$delayed/42949670/a/b', maxMs],
    ['$delayed/@1700000060/a/b', 60_000],
    ['$delayed/@1700000060.25/a/b', 60_250],
    ['$delayed/@1700000060250/a/b', 60_250],
    ['$delayed/1700000060/a/b', 60_000],
    ['$delayed/1700000060250/a/b', 60_250],
    ['$delayed/@1600000000/a/b', 0],
    ['$delayed/1600000000/a/b', 0],
  ])('reads %s as %i ms from now', (path, ms) => {
    expect(due(path)).toBe(ms);
    expect(parse(path)).toHaveProperty('topic', 'a/b');
  });

  it('keeps the topic as it is, a leading slash included', () => {
    expect(parse('$delayed/5//a/')).toHaveProperty('topic', '/a/');
  });

  it.each([
    '$delayed/',
    '$delayed/5',
    '$delayed/5/',
    '$delayed//a',
    '$delayed/abc/a',
    '$delayed/-5/a',
    '$delayed/1e3/a',
    '$delayed/1.2345/a',
    '$delayed/1.5ms/a',
    '$delayed/ 5/a',
    '$delayed/5 /a',
    '$delayed/0x10/a',
    '$delayed/@/a',
    '$delayed/@5/a',
    '$delayed/@999999999/a',
    '$delayed/42949671/a',
    '$delayed/42949670.001/a',
    '$delayed/500000000/a',
    '$delayed/42949670001ms/a',
    '$delayed/@1800000000/a',
    '$delayed/9999999999999999999/a',
    '$delayed/@1700000060250.5/a',
  ])('refuses %s and says why', (path) => {
    expect(parse(path)).toBeTypeOf('string');
  });
});
