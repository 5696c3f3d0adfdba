import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeMembership, isJoint, isVoter, membersOf } from '../../../../src/raft/consensus/membership.ts';
import { isQuorum } from '../../../../src/raft/consensus/quorum.ts';
import type { MemberChange, Membership } from '../../../../src/raft/consensus/types.ts';
import { membershipOf } from '../../../support/consensus/test-replica.ts';

function change(membership: Membership, ...words: string[]): ReturnType<typeof changeMembership> {
  const changes = words.map((word) => {
    const [action, replica] = word.split(':');
    return { action, replica: Number(replica) } as MemberChange;
  });
  return changeMembership(membership, changes);
}

const anyChange = fc.record({
  action: fc.constantFrom('add-voter' as const, 'add-learner' as const, 'remove' as const),
  replica: fc.integer({ min: 1, max: 6 }),
});

describe('changeMembership()', () => {
  it('changeMembership() does change one voter in one step', () => {
    expect(change(membershipOf([1, 2, 3]), 'add-voter:4')).toEqual(membershipOf([1, 2, 3, 4]));
    expect(change(membershipOf([1, 2, 3]), 'remove:2')).toEqual(membershipOf([1, 3]));
    expect(change(membershipOf([1, 2, 3]), 'add-learner:2')).toEqual(membershipOf([1, 3], [2]));
    expect(change(membershipOf([1, 2], [3]), 'add-voter:3')).toEqual(membershipOf([1, 2, 3]));
  });

  it('changeMembership() does change any number of learners in one step', () => {
    expect(change(membershipOf([1]), 'add-learner:3', 'add-learner:2')).toEqual(membershipOf([1], [2, 3]));
    expect(change(membershipOf([1], [2, 3]), 'remove:2', 'remove:3')).toEqual(membershipOf([1]));
  });

  it('changeMembership() does go through a joint configuration for two voters', () => {
    const joint = change(membershipOf([1, 2, 3]), 'add-voter:4', 'add-learner:2', 'remove:3') as Membership;
    expect(joint).toEqual({ voters: [1, 4], outgoing: [1, 2, 3], learners: [], learnersNext: [2], autoLeave: true });
    expect(membersOf(joint)).toEqual([1, 2, 3, 4]);
    expect(isVoter(joint, 3)).toBe(true);
    expect(changeMembership(joint, [])).toEqual(membershipOf([1, 4], [2]));
  });

  it('changeMembership() does refuse what makes no sense', () => {
    const group = membershipOf([1, 2]);
    expect(change(group, 'remove:1', 'remove:2')).toBe('invalid');
    expect(change(group, 'add-voter:1')).toBe('invalid');
    expect(change(group, 'remove:9')).toBe('invalid');
    expect(change(group, 'add-voter:0')).toBe('invalid');
    expect(change(group)).toBe('not-joint');
    const joint = change(group, 'add-voter:3', 'add-voter:4') as Membership;
    expect(change(joint, 'add-voter:5')).toBe('joint');
  });

  it('changeMembership() does leave no two majorities without a common voter', () => {
    const subsets = Array.from({ length: 64 }, (_, bits) => [1, 2, 3, 4, 5, 6].filter((id) => bits & (1 << (id - 1))));
    fc.assert(
      fc.property(fc.array(fc.array(anyChange, { maxLength: 4 }), { maxLength: 6 }), (steps) => {
        let membership = membershipOf([1, 2, 3]);
        for (const changes of steps) {
          const next = changeMembership(membership, changes);
          if (typeof next === 'string') continue;
          for (const side of subsets) {
            const other = [1, 2, 3, 4, 5, 6].filter((id) => !side.includes(id));
            const isOldMajority = isQuorum(membership, (id) => side.includes(id));
            const isNewMajority = isQuorum(next, (id) => other.includes(id));
            expect(isOldMajority && isNewMajority).toBe(false);
          }
          membership = next;
        }
      }),
      { numRuns: 200 },
    );
  });

  it('changeMembership() does keep the parts of a membership apart', () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyChange, { maxLength: 4 }), { maxLength: 8 }), (steps) => {
        let membership = membershipOf([1, 2, 3]);
        for (const changes of steps) {
          const next = changeMembership(membership, changes);
          if (typeof next === 'string') continue;
          membership = next;
          const { voters, outgoing, learners, learnersNext, autoLeave } = membership;
          expect(voters.length).toBeGreaterThan(0);
          expect(learners.some((id) => voters.includes(id) || outgoing.includes(id))).toBe(false);
          expect(learnersNext.every((id) => outgoing.includes(id) && !voters.includes(id))).toBe(true);
          expect(autoLeave).toBe(isJoint(membership));
        }
      }),
      { numRuns: 300 },
    );
  });
});
