/** When the output of a turn leaves: gathered at its end, or at the end of each read where gathering saves nothing. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { OutputMemory } from '../../../../src/net/tcp/output-memory.ts';
import { Turn, type TurnMember } from '../../../../src/net/tcp/turn.ts';

class Member implements TurnMember {
  flushes = 0;
  presented = 0;

  flush(): void {
    this.flushes++;
  }

  presentAgain(): void {
    this.presented++;
  }
}

/** One read after which `members` have output. */
function read(turn: Turn, ...members: Member[]): void {
  turn.readBegins();
  for (const member of members) turn.addDirty(member);
  turn.readEnded();
}

/** As many turns as it takes to see that gathering saves nothing. */
async function quietTurns(turn: Turn, oneTurn: () => void): Promise<void> {
  for (let index = 0; index < 4; index++) {
    oneTurn();
    await nextTurn();
  }
  expect(turn.memory.slabCursor).toBe(0);
}

describe('Turn', () => {
  it('flush() comes once for each connection, at the end of the turn', async () => {
    const turn = new Turn(new OutputMemory());
    const [one, other] = [new Member(), new Member()];
    read(turn, one);
    read(turn, other);
    expect([one.flushes, other.flushes]).toEqual([0, 0]);
    await nextTurn();
    expect([one.flushes, other.flushes]).toEqual([1, 1]);
    await nextTurn();
    expect([one.flushes, other.flushes]).toEqual([1, 1]);
  });

  it('flush() comes at the end of the read when turns bring one read each', async () => {
    const turn = new Turn(new OutputMemory());
    const member = new Member();
    await quietTurns(turn, () => read(turn, member));
    expect(member.flushes).toBe(4);
    read(turn, member);
    expect(member.flushes).toBe(5);
  });

  it('flush() comes at the end of the read when each read is for a connection of its own', async () => {
    const turn = new Turn(new OutputMemory());
    const [one, other] = [new Member(), new Member()];
    await quietTurns(turn, () => {
      read(turn, one);
      read(turn, other);
    });
    read(turn, one);
    expect(one.flushes).toBe(5);
    read(turn, other);
    expect(other.flushes).toBe(5);
  });

  it('flush() waits for the end of the turn when several reads are for one connection', async () => {
    const turn = new Turn(new OutputMemory());
    const member = new Member();
    for (let index = 1; index <= 20; index++) {
      read(turn, member);
      read(turn);
      expect(member.flushes).toBe(index - 1);
      await nextTurn();
      expect(member.flushes).toBe(index);
    }
  });

  it('flush() waits for the end of the turn when a connection got more than once, with others between', async () => {
    const turn = new Turn(new OutputMemory());
    const [one, other] = [new Member(), new Member()];
    for (let index = 1; index <= 20; index++) {
      read(turn, one);
      read(turn, other);
      turn.noteGain();
      expect(one.flushes).toBe(index - 1);
      await nextTurn();
      expect(one.flushes).toBe(index);
    }
  });

  it('looks again from time to time whether reads are worth gathering', async () => {
    const turn = new Turn(new OutputMemory());
    const member = new Member();
    await quietTurns(turn, () => read(turn, member));
    let direct = 0;
    while (direct < 100_000) {
      const before = member.flushes;
      read(turn, member);
      if (member.flushes === before) break;
      direct++;
    }
    expect(direct).toBeGreaterThan(0);
    expect(direct).toBeLessThan(1_000);
    await nextTurn();
  });

  it('flush() of what was written outside of a read comes at the end of the turn, whatever reads bring', async () => {
    const turn = new Turn(new OutputMemory());
    const [one, other] = [new Member(), new Member()];
    await quietTurns(turn, () => read(turn, one));
    turn.addDirty(other);
    expect(other.flushes).toBe(0);
    await nextTurn();
    expect(other.flushes).toBe(1);
  });

  it('presentAgain() comes in the next turn, once', async () => {
    const turn = new Turn(new OutputMemory());
    const member = new Member();
    turn.addResumed(member);
    expect(member.presented).toBe(0);
    await nextTurn();
    await nextTurn();
    expect(member.presented).toBe(1);
  });

  it('flush() reaches every connection of a long turn, and short ones behind it', async () => {
    const turn = new Turn(new OutputMemory());
    const members = Array.from({ length: 10_000 }, () => new Member());
    read(turn, ...members);
    await nextTurn();
    expect(members.every((member) => member.flushes === 1)).toBe(true);
    read(turn, ...members.slice(0, 3));
    await nextTurn();
    expect(members.filter((member) => member.flushes === 2)).toHaveLength(3);
  });
});
