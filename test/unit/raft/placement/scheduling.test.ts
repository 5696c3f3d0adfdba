import { describe, expect, it } from 'vitest';
import { type Candidate, chooseReplicas } from '../../../../src/raft/placement/scheduling.ts';

function candidate(node: string, rack = '', replicas = 0, leaders = 0): Candidate {
  return { node, rack, replicas, leaders };
}

function names(chosen: readonly Candidate[]): string {
  return chosen.map(({ node }) => node).join(' ');
}

describe('chooseReplicas()', () => {
  it('spreads leaders and replicas evenly', () => {
    const candidates = ['a', 'b', 'c', 'd', 'e'].map((node) => candidate(node));
    for (let partition = 0; partition < 50; partition++) chooseReplicas(candidates, 3);
    expect(candidates.map(({ leaders }) => leaders)).toEqual([10, 10, 10, 10, 10]);
    expect(candidates.map(({ replicas }) => replicas)).toEqual([30, 30, 30, 30, 30]);
  });

  it('uses every rack before it uses one twice', () => {
    const candidates = [candidate('a', 'x'), candidate('b', 'x'), candidate('c', 'y'), candidate('d', 'z', 9, 9)];
    expect(names(chooseReplicas(candidates, 3))).toBe('a c d');
    expect(names(chooseReplicas(candidates, 4))).toMatch(/^b/);
  });

  it('prefers the node with less, and decides by name between equals', () => {
    expect(names(chooseReplicas([candidate('b'), candidate('a'), candidate('c', '', 1)], 3))).toBe('a b c');
    expect(names(chooseReplicas([candidate('a', '', 0, 1), candidate('b', '', 5, 0)], 2))).toBe('b a');
  });

  it('does not choose who is there already, nor anybody twice', () => {
    const candidates = [candidate('a'), candidate('b')];
    expect(names(chooseReplicas(candidates, 3, [candidate('a')]))).toBe('b');
    expect(names(chooseReplicas([], 2))).toBe('');
  });

  it('does not depend on the order of the candidates', () => {
    const make = () => [candidate('a', 'x', 2), candidate('b', 'y', 1), candidate('c', 'x', 0), candidate('d', '', 1)];
    const forwards = names(chooseReplicas(make(), 3));
    expect(names(chooseReplicas(make().reverse(), 3))).toBe(forwards);
  });
});
