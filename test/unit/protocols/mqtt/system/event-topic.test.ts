/** Client ids as one level of a topic. */
import { describe, expect, it } from 'vitest';
import { topicError } from '../../../../../src/core/routing/topic.ts';
import { levelOf } from '../../../../../src/protocols/mqtt/system/event-topic.ts';

describe('levelOf()', () => {
  it.each([
    ['plain-Id_1.2', 'plain-Id_1.2'],
    ['a/b', 'a%2Fb'],
    ['+#', '%2B%23'],
    ['100%', '100%25'],
    ['%2F', '%252F'],
    ['\u0000\t\u007f', '%00%09%7F'],
    ['\u0085', '%C2%85'],
    ['Grüße 🚀 $x', 'Grüße 🚀 $x'],
    ['', '%'],
  ])('writes %j as %j', (id, level) => {
    expect(levelOf(id)).toBe(level);
  });

  it('gives every id another name that is one valid level', () => {
    const long = 'x'.repeat(60_000);
    const ids = [
      '',
      '%',
      '/',
      '%2F',
      '%%',
      '+',
      '#',
      long,
      `${long}y`,
      '/'.repeat(513),
      '/'.repeat(512),
      '🚀'.repeat(300),
    ];
    const levels = ids.map(levelOf);
    expect(new Set(levels).size).toBe(ids.length);
    for (const level of levels) {
      expect(topicError(level)).toBeUndefined();
      expect(level).not.toContain('/');
      expect(level.length).toBeLessThan(1_200);
    }
  });
});
