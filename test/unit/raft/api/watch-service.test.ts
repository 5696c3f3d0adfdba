import { describe, expect, test } from 'vitest';
import { split } from '../../../../src/raft/api/watch-service.ts';
import { event } from './fake-node.ts';

describe('split()', () => {
  test('split() cuts a large batch and says how far each part is complete', () => {
    const events = [event('set', 'a', 5, 'v'.repeat(400)), event('set', 'b', 5, 'v'.repeat(400)), event('set', 'c', 6)];
    const parts = [...split({ revision: 6, events }, 500)];
    expect(parts.map((part) => [part.revision, part.events.length, part.isPartial])).toEqual([
      [4, 1, true],
      [5, 1, true],
      [6, 1, false],
    ]);
    expect([...split({ revision: 8, events: [] }, 500)]).toEqual([{ revision: 8, events: [], isPartial: false }]);
  });
});
