import { describe, expect, it } from 'vitest';
import { limits } from '../../../../src/raft/placement/limits.ts';
import { PlacementMachine, set, textOf, transaction } from '../../../support/placement-machine.ts';

function grant(machine: PlacementMachine, lease: number, ttlMs = 1_000): number {
  const result = machine.run({ type: 'lease-grant', lease, ttlMs });
  return result.type === 'lease' ? result.epoch : -1;
}

function keysOf(machine: PlacementMachine, lease: number): string[] | string {
  const result = machine.query({ type: 'lease', lease, consistency: 'serializable' });
  if (result.type === 'refused') return result.code;
  return result.type === 'leases' ? result.leases[0].keys.map(textOf) : result.type;
}

describe('leases', () => {
  it('lease-grant gives every lease a greater epoch, also one with an old number', () => {
    const machine = new PlacementMachine();
    expect(grant(machine, 7)).toBe(1);
    expect(grant(machine, 8)).toBe(2);
    machine.run({ type: 'lease-revoke', lease: 7 });
    expect(grant(machine, 7)).toBe(3);
    machine.flush();
    machine.crash();
    machine.run({ type: 'lease-revoke', lease: 7 });
    expect(grant(machine, 7)).toBe(4);
  });

  it('lease-grant refuses wrong numbers and times', () => {
    const machine = new PlacementMachine();
    for (const [lease, ttlMs] of [
      [0, 1_000],
      [1, 0],
      [1, limits.ttlMsMin - 1],
      [1, limits.leaseTtlMsMax + 1],
    ]) {
      expect(machine.run({ type: 'lease-grant', lease, ttlMs })).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('lease-revoke removes the keys of the lease in one revision', () => {
    const machine = new PlacementMachine();
    grant(machine, 7);
    grant(machine, 8);
    machine.write(set('a', '1', { lease: 7 }), set('b', '1', { lease: 8 }));
    machine.write(set('c', '1', { lease: 7 }));
    machine.flush();
    expect(keysOf(machine, 7)).toEqual(['a', 'c']);
    expect(machine.run({ type: 'lease-revoke', lease: 7 })).toEqual({ type: 'done', revision: 3 });
    expect(machine.items('a', 'z')).toEqual(['b=1@1/1/1~8']);
    expect(keysOf(machine, 7)).toBe('LEASE_NOT_FOUND');
    expect(machine.run({ type: 'lease-revoke', lease: 7 })).toMatchObject({ code: 'LEASE_NOT_FOUND' });
    expect(machine.run({ type: 'lease-revoke', lease: 8 })).toEqual({ type: 'done', revision: 4 });
  });

  it('a key belongs to the lease that it was last set with', () => {
    const machine = new PlacementMachine();
    grant(machine, 7);
    grant(machine, 8);
    machine.write(set('a', '1', { lease: 7 }), set('b', '1', { lease: 7 }), set('c', '1', { lease: 7 }));
    machine.write(set('a', '2', { lease: 8 }), set('b', '2'));
    expect(keysOf(machine, 7)).toEqual(['c']);
    expect(keysOf(machine, 8)).toEqual(['a']);
    machine.run({ type: 'lease-revoke', lease: 7 });
    expect(machine.items('a', 'z')).toEqual(['a=2@1/2/2~8', 'b=2@1/2/2']);
  });

  it('lease-expire does nothing when the epoch has moved on', () => {
    const machine = new PlacementMachine();
    const epoch = grant(machine, 7);
    machine.write(set('a', '1', { lease: 7 }));
    machine.run({ type: 'lease-revoke', lease: 7 });
    grant(machine, 7);
    machine.write(set('a', '2', { lease: 7 }));
    const { revision } = machine.state;
    expect(machine.run({ type: 'lease-expire', lease: 7, epoch })).toEqual({ type: 'done', revision });
    expect(machine.items('a')).toHaveLength(1);
    expect(machine.run({ type: 'lease-expire', lease: 7, epoch: epoch + 1 })).toEqual({
      type: 'done',
      revision: revision + 1,
    });
    expect(machine.items('a')).toEqual([]);
    expect(machine.run({ type: 'lease-expire', lease: 99, epoch: 1 })).toMatchObject({ type: 'done' });
  });

  it('a lease takes so many keys and no more', () => {
    const machine = new PlacementMachine();
    grant(machine, 7);
    for (let first = 0; first < limits.leaseKeysMax; first += 100) {
      machine.write(...Array.from({ length: 100 }, (_, index) => set(`k${first + index}`, '', { lease: 7 })));
    }
    expect(machine.run(transaction(set('more', '', { lease: 7 })))).toMatchObject({ code: 'TOO_MANY_OPERATIONS' });
    machine.run({ type: 'lease-revoke', lease: 7 });
    expect(machine.items('k', '')).toEqual([]);
  });

  it('leases are listed without their keys', () => {
    const machine = new PlacementMachine();
    grant(machine, 300, 5_000);
    grant(machine, 2 ** 40, 6_000);
    machine.write(set('a', '1', { lease: 300 }));
    expect(machine.query({ type: 'leases', consistency: 'serializable' })).toEqual({
      type: 'leases',
      revision: 1,
      leases: [
        { lease: 300, epoch: 1, ttlMs: 5_000, remainingMs: -1, keys: [] },
        { lease: 2 ** 40, epoch: 2, ttlMs: 6_000, remainingMs: -1, keys: [] },
      ],
    });
  });
});
