import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isQuorum, quorumValue, voteOutcome } from '../../../../src/raft/consensus/quorum.ts';
import type { Membership, ReplicaId } from '../../../../src/raft/consensus/types.ts';

const replicas = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 });

function membership(voters: readonly ReplicaId[], outgoing: readonly ReplicaId[] = []): Membership {
  return { voters, outgoing, learners: [], learnersNext: [], autoLeave: false };
}

/** By the definition: the highest value that more than half of the voters have reached. */
function slowValue(voters: readonly ReplicaId[], reached: ReadonlyMap<ReplicaId, number>): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const candidates = [0, ...reached.values()];
  const holds = (value: number) =>
    voters.filter((voter) => (reached.get(voter) ?? 0) >= value).length * 2 > voters.length;
  return Math.max(...candidates.filter(holds));
}

describe('quorumValue()', () => {
  it('quorumValue() does find the value of a majority', () => {
    const value = (voters: number[], values: number[]) =>
      quorumValue(membership(voters), (replica) => values[replica - 1]!);
    expect(value([1], [7])).toBe(7);
    expect(value([1, 2], [7, 3])).toBe(3);
    expect(value([1, 2, 3], [7, 3, 5])).toBe(5);
    expect(value([1, 2, 3, 4], [7, 3, 5, 6])).toBe(5);
    expect(value([1, 2, 3, 4, 5], [1, 9, 2, 8, 3])).toBe(3);
  });

  it('quorumValue() does need both halves of a joint configuration', () => {
    const values = [9, 9, 9, 1, 1];
    expect(quorumValue(membership([1, 4, 5], [1, 2, 3]), (replica) => values[replica - 1]!)).toBe(1);
    expect(quorumValue(membership([1, 2, 4], [1, 2, 3]), (replica) => values[replica - 1]!)).toBe(9);
  });

  it('quorumValue() does agree with the definition for all memberships', () => {
    const values = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 9, maxLength: 9 });
    fc.assert(
      fc.property(replicas, replicas, values, (voters, outgoing, list) => {
        const reached = new Map(list.map((value, i) => [i + 1, value]));
        const expected = Math.min(slowValue(voters, reached), slowValue(outgoing, reached));
        expect(quorumValue(membership(voters, outgoing), (replica) => reached.get(replica)!)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });
});

describe('voteOutcome()', () => {
  it('voteOutcome() does agree with the definition for all votes', () => {
    const ballots = fc.array(fc.constantFrom(true, false, undefined), { minLength: 9, maxLength: 9 });
    fc.assert(
      fc.property(replicas, replicas, ballots, (voters, outgoing, list) => {
        const votes = new Map<number, boolean>();
        for (const [i, vote] of list.entries()) if (vote !== undefined) votes.set(i + 1, vote);
        const group = membership(voters, outgoing);
        const isWon = isQuorum(group, (replica) => votes.get(replica) === true);
        const canBeWon = isQuorum(group, (replica) => votes.get(replica) !== false);
        const expected = isWon ? 'won' : canBeWon ? 'open' : 'lost';
        expect(voteOutcome(group, votes)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });
});
