import { beforeEach, describe, expect, it } from 'vitest';
import type { CommandResult } from '../../../../src/core/ports/placement.ts';
import { PendingProposals } from '../../../../src/raft/replica/pending-proposals.ts';

const result: CommandResult = { type: 'done', revision: 1 };
let proposals: PendingProposals;
let answers: string[];
beforeEach(() => {
  proposals = new PendingProposals(100);
  answers = [];
});

function add(sequence: number, { bytes = 10, deadline = 1_000, leaderTerm = null as number | null } = {}): void {
  const reply = (outcome: unknown): void => {
    answers.push(`${sequence} ${outcome instanceof Error ? (outcome as Error & { code: string }).code : 'ok'}`);
  };
  proposals.add({ sequence, data: new Uint8Array(bytes), deadline, reply, leaderTerm });
}

describe('handOver()', () => {
  it('takes all that wait in one call, and larger ones in few', () => {
    const batches: number[] = [];
    const take = (entries: readonly unknown[]): boolean => {
      batches.push(entries.length);
      return true;
    };
    for (let sequence = 0; sequence < 50; sequence++) add(sequence);
    proposals.handOver(1, true, take);
    expect(batches.splice(0)).toEqual([50]);
    for (let sequence = 0; sequence < 3; sequence++) add(sequence, { bytes: 600 * 1024 });
    add(3, { bytes: 4 * 1024 * 1024 });
    add(4);
    proposals.handOver(1, true, take);
    expect(batches).toEqual([1, 1, 1, 1, 1]);
    expect(proposals.hasWaiting).toBe(false);
  });

  it('keeps what is not taken, in order', () => {
    for (let sequence = 0; sequence < 3; sequence++) add(sequence, { bytes: 600 * 1024 });
    let calls = 0;
    proposals.handOver(1, true, () => ++calls < 2);
    const sizes: number[] = [];
    proposals.handOver(1, true, (entries) => {
      sizes.push(entries.length);
      return true;
    });
    expect(sizes).toEqual([1, 1]);
  });
});

describe('handOver() of what only the leader of a term may propose', () => {
  it('forgets it when that leader leads no longer, or again in another term', () => {
    let handed = 0;
    const take = (entries: readonly unknown[]): boolean => {
      handed += entries.length;
      return true;
    };
    add(1, { leaderTerm: 3 });
    add(2);
    proposals.handOver(3, false, take);
    expect(handed).toBe(1);
    add(3, { leaderTerm: 3 });
    proposals.handOver(4, true, take);
    expect(handed).toBe(1);
    add(4, { leaderTerm: 4 });
    proposals.handOver(4, true, take);
    expect(handed).toBe(2);
  });
});

describe('applied() and reachedTerm()', () => {
  it('answers a proposal once, when it is applied', () => {
    add(1);
    proposals.handOver(1, true, () => true);
    proposals.applied(2, result);
    proposals.applied(1, result);
    proposals.applied(1, result);
    expect(answers).toEqual(['1 ok']);
    expect(proposals.isEmpty).toBe(true);
  });

  it('gives up proposals of an earlier term when a later one begins in the log, not before', () => {
    add(1);
    proposals.handOver(3, true, () => true);
    proposals.reachedTerm(3);
    add(2);
    proposals.handOver(4, true, () => true);
    expect(answers).toEqual([]);
    proposals.reachedTerm(4);
    expect(answers).toEqual(['1 NO_LEADER']);
    proposals.reachedTerm(5);
    expect(answers).toEqual(['1 NO_LEADER', '2 NO_LEADER']);
  });
});

describe('expire()', () => {
  it('ends what waited too long, with or without a leader, and keeps the rest', () => {
    add(1, { deadline: 10 });
    add(2, { deadline: 30 });
    proposals.handOver(1, true, () => true);
    add(3, { deadline: 10 });
    add(4, { deadline: 30 });
    proposals.expire(9, true);
    expect(answers).toEqual([]);
    proposals.expire(10, false);
    expect(answers).toEqual(['3 NO_LEADER', '1 TIMED_OUT']);
    proposals.expire(30, true);
    expect(answers.slice(2)).toEqual(['4 TIMED_OUT', '2 TIMED_OUT']);
  });

  it('counts what waits and what is under way against the bound', () => {
    for (let sequence = 0; sequence < 60; sequence++) add(sequence);
    proposals.handOver(1, true, () => true);
    for (let sequence = 60; sequence < 99; sequence++) add(sequence);
    expect(proposals.isFull).toBe(false);
    add(99);
    expect(proposals.isFull).toBe(true);
    proposals.applied(5, result);
    expect(proposals.isFull).toBe(false);
  });
});
