import { describe, expect, it } from 'vitest';
import { RetainedReplay } from '../../../../../src/protocols/mqtt/state/retained-replay.ts';

function drain(replay: RetainedReplay<string, string>): string[] {
  const sent: string[] = [];
  for (;;) {
    const { due } = replay;
    if (due !== undefined) {
      sent.push(due);
      replay.sent();
    } else if (!replay.lookUp()) return sent;
  }
}

describe('RetainedReplay', () => {
  it('lookUp() asks for one subscription at a time, in order, those without a match too', () => {
    const asked: string[] = [];
    const replay = new RetainedReplay<string, string>((filter) => {
      asked.push(filter);
      return filter === 'none' ? [] : [`${filter}1`, `${filter}2`];
    });
    for (const filter of ['a', 'none', 'b']) replay.add(filter);
    expect(replay.waitingCount).toBe(3);
    expect(asked).toEqual([]);
    expect(replay.lookUp()).toBe(true);
    expect([asked, replay.due, replay.waitingCount]).toEqual([['a'], 'a1', 2]);
    expect(drain(replay)).toEqual(['a1', 'a2', 'b1', 'b2']);
    expect(asked).toEqual(['a', 'none', 'b']);
  });

  it('add() goes on after all was sent', () => {
    const replay = new RetainedReplay<string, string>((filter) => [filter]);
    replay.add('a');
    expect(drain(replay)).toEqual(['a']);
    expect(replay.lookUp()).toBe(false);
    replay.add('b');
    expect(drain(replay)).toEqual(['b']);
  });
});
