/** Exclusive claims on several workers; each delivery of the control plane is in the test's hand. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExclusiveClaims } from '../../../../src/core/broker/exclusive-claims.ts';
import { ControlPlaneHub } from '../../../support/control-plane.ts';

function start(workerCount: number): { hub: ControlPlaneHub; claims: ExclusiveClaims[] } {
  const hub = new ControlPlaneHub();
  const claims = Array.from({ length: workerCount }, (_, worker) => new ExclusiveClaims(worker, hub.add(worker)));
  return { hub, claims };
}

function claim(claims: ExclusiveClaims, name: string, owner: string): { granted: boolean | undefined } {
  const answer: { granted: boolean | undefined } = { granted: undefined };
  claims.claim(name, owner, (isGranted) => {
    answer.granted = isGranted;
  });
  return answer;
}

describe('claim()', () => {
  it('is granted to one owner at a time, on whichever worker it asks', () => {
    const { claims } = start(3);
    expect(claim(claims[0], 'n', 'a').granted).toBe(true);
    expect(claim(claims[0], 'n', 'b').granted).toBe(false);
    expect(claim(claims[2], 'n', 'b').granted).toBe(false);
    expect(claim(claims[2], 'other', 'b').granted).toBe(true);
    claims[0].release('n', 'a');
    expect(claim(claims[2], 'n', 'b').granted).toBe(true);
  });

  it('is granted again to who has it, also when it moves to another worker', () => {
    const { claims } = start(2);
    expect(claim(claims[0], 'n', 'a').granted).toBe(true);
    expect(claim(claims[1], 'n', 'a').granted).toBe(true);
    claims[0].release('n', 'a');
    expect(claim(claims[0], 'n', 'b').granted).toBe(false);
    claims[1].release('n', 'a');
    expect(claim(claims[0], 'n', 'b').granted).toBe(true);
  });

  it('that meets another on its way is granted to one of both', () => {
    const { hub, claims } = start(2);
    hub.isImmediate = false;
    const [one, other] = [claim(claims[1], 'n', 'a'), claim(claims[0], 'n', 'b')];
    hub.deliverAll();
    expect([one.granted, other.granted].sort()).toEqual([false, true]);
    hub.deliverAll();
    expect(claims.map(({ count }) => count)).toEqual([1, 1]);
  });

  it('of a worker that died is void, and one that starts learns of all', () => {
    const { hub, claims } = start(2);
    claim(claims[0], 'n', 'a');
    claim(claims[1], 'm', 'b');
    hub.remove(0);
    expect(claim(claims[1], 'n', 'c').granted).toBe(true);
    const successor = new ExclusiveClaims(0, hub.add(0));
    hub.ready(0);
    expect(claim(successor, 'm', 'd').granted).toBe(false);
    expect(claim(successor, 'n', 'd').granted).toBe(false);
  });

  it('is never granted to two owners, whatever the order in which workers hear of each other', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('claim' as const), worker: fc.nat(2), owner: fc.constantFrom('a', 'b', 'c') }),
      fc.record({ kind: fc.constant('release' as const), worker: fc.nat(2), owner: fc.constantFrom('a', 'b', 'c') }),
      fc.record({ kind: fc.constant('deliver' as const), worker: fc.nat(2), owner: fc.constant('') }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { hub, claims } = start(3);
        hub.isImmediate = false;
        const held = new Set<string>();
        const asked = new Set<string>();
        for (const { kind, worker, owner } of steps) {
          const key = `${worker} ${owner}`;
          if (kind === 'deliver') hub.deliverTo(worker);
          else if (kind === 'release') {
            if (held.delete(key)) claims[worker].release('n', owner);
          } else if (!asked.has(key) && !held.has(key)) {
            asked.add(key);
            claims[worker].claim('n', owner, (isGranted) => {
              asked.delete(key);
              if (isGranted) held.add(key);
            });
          }
          expect(new Set([...held].map((one) => one.slice(2))).size).toBeLessThanOrEqual(1);
        }
        for (const key of held) claims[Number(key[0])].release('n', key.slice(2));
        held.clear();
        hub.deliverAll();
        for (const key of held) claims[Number(key[0])].release('n', key.slice(2));
        hub.deliverAll();
        expect(claims.map(({ count }) => count)).toEqual([0, 0, 0]);
      }),
      { numRuns: 500 },
    );
  });
});
