import { describe, expect, it } from 'vitest';
import { LeaseClock } from '../../../../src/raft/placement/lease-clock.ts';
import { PlacementMachine } from '../../../support/placement-machine.ts';

function grant(machine: PlacementMachine, lease: number, ttlMs: number): void {
  machine.run({ type: 'lease-grant', lease, ttlMs });
}

function register(machine: PlacementMachine, node: string, ttlMs: number): number {
  const result = machine.run({ type: 'node-register', node, addresses: [], roles: [], rack: '', ttlMs });
  return result.type === 'node' ? result.epoch : -1;
}

describe('LeaseClock', () => {
  it('due() proposes the end of what was not extended, earliest first', () => {
    const machine = new PlacementMachine();
    const clock = new LeaseClock(machine.state);
    clock.becomeLeader(0);
    for (const [lease, ttlMs] of [
      [1, 500],
      [2, 300],
      [3, 400],
      [4, 200],
      [5, 600],
    ])
      grant(machine, lease, ttlMs);
    const epoch = register(machine, 'n1', 350);
    expect(clock.due(1_000)).toEqual([]);
    expect(clock.due(1_199)).toEqual([]);
    expect(clock.due(1_450)).toEqual([
      { type: 'lease-expire', lease: 4, epoch: 4 },
      { type: 'lease-expire', lease: 2, epoch: 2 },
      { type: 'node-expire', node: 'n1', epoch },
      { type: 'lease-expire', lease: 3, epoch: 3 },
    ]);
    expect(clock.due(1_500)).toEqual([{ type: 'lease-expire', lease: 1, epoch: 1 }]);
  });

  it('keepAlive() and heartbeat() give the full time again', () => {
    const machine = new PlacementMachine();
    const clock = new LeaseClock(machine.state);
    clock.becomeLeader(0);
    grant(machine, 1, 1_000);
    const epoch = register(machine, 'n1', 1_000);
    clock.due(0);
    for (let nowMs = 900; nowMs < 9_000; nowMs += 900) {
      expect(clock.keepAlive(1, nowMs)).toEqual({ type: 'lease', lease: 1, epoch: 1, ttlMs: 1_000 });
      expect(clock.heartbeat('n1', epoch, nowMs)).toEqual({ type: 'node', node: 'n1', epoch });
      expect(clock.due(nowMs)).toEqual([]);
    }
    expect(clock.due(20_000)).toHaveLength(2);
  });

  it('keepAlive() and heartbeat() refuse what is unknown, ended, ending or another incarnation', () => {
    const machine = new PlacementMachine();
    const clock = new LeaseClock(machine.state);
    clock.becomeLeader(0);
    expect(clock.keepAlive(1, 0)).toMatchObject({ code: 'LEASE_NOT_FOUND' });
    expect(clock.heartbeat('n1', 1, 0)).toMatchObject({ code: 'NODE_NOT_FOUND' });
    grant(machine, 1, 1_000);
    grant(machine, 2, 1_000);
    const first = register(machine, 'n1', 1_000);
    const second = register(machine, 'n1', 1_000);
    expect(clock.heartbeat('n1', first, 0)).toMatchObject({ code: 'NODE_FENCED' });
    expect(clock.heartbeat('n1', second, 0)).toMatchObject({ type: 'node' });
    machine.run({ type: 'lease-revoke', lease: 2 });
    expect(clock.keepAlive(2, 0)).toMatchObject({ code: 'LEASE_NOT_FOUND' });
    expect(clock.due(1_000)).toHaveLength(2);
    expect(clock.keepAlive(1, 1_001)).toMatchObject({ code: 'LEASE_NOT_FOUND' });
    expect(clock.heartbeat('n1', second, 1_001)).toMatchObject({ code: 'NODE_FENCED' });
  });

  it('due() proposes again what was not applied, and no more once it was', () => {
    const machine = new PlacementMachine();
    const clock = new LeaseClock(machine.state);
    clock.becomeLeader(0);
    grant(machine, 1, 1_000);
    clock.due(0);
    expect(clock.due(1_000)).toHaveLength(1);
    expect(clock.due(1_500)).toEqual([]);
    const [again] = clock.due(2_000);
    machine.run(again);
    expect(clock.due(60_000)).toEqual([]);
  });

  it('becomeLeader() gives everything that is in force its full time', () => {
    const machine = new PlacementMachine();
    grant(machine, 1, 1_000);
    register(machine, 'n1', 2_000);
    const expired = register(machine, 'n2', 2_000);
    machine.run({ type: 'node-expire', node: 'n2', epoch: expired });
    const clock = new LeaseClock(machine.state);
    expect(clock.due(50_000)).toEqual([]);
    clock.becomeLeader(100_000);
    expect(clock.due(100_999)).toEqual([]);
    expect(clock.due(101_000)).toMatchObject([{ type: 'lease-expire' }]);
    expect(clock.due(101_999)).toEqual([]);
    expect(clock.due(102_000)).toMatchObject([{ type: 'node-expire', node: 'n1' }, { type: 'lease-expire' }]);
    clock.resign();
    expect(clock.due(200_000)).toEqual([]);
    expect(clock.keepAlive(1, 200_000)).toMatchObject({ code: 'LEASE_NOT_FOUND' });
    clock.becomeLeader(200_000);
    expect(clock.due(200_999)).toEqual([]);
  });

  it('withRemaining() says what is left, on the leader alone', () => {
    const machine = new PlacementMachine();
    const clock = new LeaseClock(machine.state);
    grant(machine, 1, 1_000);
    const remaining = (nowMs: number) => {
      const result = clock.withRemaining(
        machine.query({ type: 'lease', lease: 1, consistency: 'serializable' }),
        nowMs,
      );
      return result.type === 'leases' ? result.leases[0].remainingMs : null;
    };
    expect(remaining(0)).toBe(-1);
    clock.becomeLeader(0);
    expect(remaining(400)).toBe(600);
    clock.due(1_000);
    expect(remaining(1_001)).toBe(0);
  });
});
