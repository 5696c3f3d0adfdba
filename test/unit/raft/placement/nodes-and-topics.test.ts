import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Command, CommandResult, NodeRecord, PartitionRecord } from '../../../../src/core/ports/placement.ts';
import { PlacementMachine } from '../../../support/placement-machine.ts';

const report = {
  cpuShare: 0,
  memoryBytes: 1,
  diskFreeBytes: 2,
  connections: 3,
  bytesInPerS: 4.5,
  bytesOutPerS: 0,
};

function register(machine: PlacementMachine, node: string, rack = '', roles: readonly string[] = ['broker']): number {
  const addresses = [['tcp', `${node}:1883`]] as const;
  const result = machine.run({ type: 'node-register', node, addresses, roles, rack, ttlMs: 5_000 });
  return result.type === 'node' ? result.epoch : -1;
}

function create(
  machine: PlacementMachine,
  topic: string,
  partitions: number,
  replicationFactor: number,
): CommandResult {
  return machine.run({ type: 'topic-create', tenant: 't', topic, partitions, replicationFactor });
}

function nodes(machine: PlacementMachine): readonly NodeRecord[] {
  const result = machine.query({ type: 'nodes', consistency: 'serializable' });
  return result.type === 'nodes' ? result.nodes : [];
}

function partitions(machine: PlacementMachine, topic: string): readonly PartitionRecord[] {
  const result = machine.query({ type: 'partitions', tenant: 't', topic, consistency: 'serializable' });
  return result.type === 'partitions' ? result.partitions : [];
}

function shown({ replicas, isr, leader, leaderEpoch, partitionEpoch }: PartitionRecord): string {
  return `${replicas.join('')} isr ${isr.join('')} led by ${leader || '-'} ${leaderEpoch}/${partitionEpoch}`;
}

function only(machine: PlacementMachine, topic = 'p'): string {
  return partitions(machine, topic).map(shown).join(', ');
}

function isrChange(
  machine: PlacementMachine,
  node: string,
  nodeEpoch: number,
  isr: readonly string[],
  change = {},
): CommandResult {
  const [{ leaderEpoch, partitionEpoch }] = partitions(machine, 'p');
  const place = { tenant: 't', topic: 'p', partition: 0 };
  return machine.run({ type: 'isr-change', ...place, node, nodeEpoch, leaderEpoch, partitionEpoch, isr, ...change });
}

describe('nodes', () => {
  it('node-register gives every incarnation a greater epoch and keeps what it says', () => {
    const machine = new PlacementMachine();
    expect(register(machine, 'a', 'r1')).toBe(1);
    expect(register(machine, 'b')).toBe(2);
    expect(register(machine, 'a', 'r2', [])).toBe(3);
    expect(nodes(machine)).toEqual([
      {
        node: 'a',
        epoch: 3,
        addresses: [['tcp', 'a:1883']],
        roles: [],
        rack: 'r2',
        ttlMs: 5_000,
        state: 'in-service',
        report: null,
      },
      expect.objectContaining({ node: 'b', epoch: 2 }),
    ]);
  });

  it('node-register refuses what no record can hold, and nothing changes', () => {
    const machine = new PlacementMachine();
    const good = { type: 'node-register', node: 'a', addresses: [], roles: [], rack: '', ttlMs: 5_000 } as const;
    const wrong: readonly Partial<Extract<Command, { type: 'node-register' }>>[] = [
      { node: '' },
      { node: 'x'.repeat(256) },
      { ttlMs: 5 },
      { roles: Array.from({ length: 17 }, () => 'r') },
      { addresses: [['', 'a:1']] },
    ];
    for (const each of wrong) {
      expect(machine.run({ ...good, ...each })).toMatchObject({ type: 'refused', code: 'INVALID_ARGUMENT' });
    }
    expect(machine.state.revision).toBe(0);
    expect(register(machine, 'a')).toBe(1);
  });

  it('node-report and node-unregister refuse other incarnations and unknown nodes', () => {
    const machine = new PlacementMachine();
    const old = register(machine, 'a');
    const epoch = register(machine, 'a');
    expect(machine.run({ type: 'node-report', node: 'a', epoch: old, report })).toMatchObject({ code: 'NODE_FENCED' });
    expect(machine.run({ type: 'node-report', node: 'b', epoch, report })).toMatchObject({ code: 'NODE_NOT_FOUND' });
    expect(machine.run({ type: 'node-report', node: 'a', epoch, report })).toMatchObject({ type: 'done' });
    expect(nodes(machine)[0].report).toEqual(report);
    expect(machine.run({ type: 'node-unregister', node: 'a', epoch: old })).toMatchObject({ code: 'NODE_FENCED' });
    expect(machine.run({ type: 'node-unregister', node: 'b', epoch })).toMatchObject({ code: 'NODE_NOT_FOUND' });
    expect(machine.run({ type: 'node-unregister', node: 'a', epoch })).toMatchObject({ type: 'done' });
    expect(machine.run({ type: 'node-unregister', node: 'a', epoch })).toMatchObject({ type: 'done' });
    expect(machine.run({ type: 'node-report', node: 'a', epoch, report })).toMatchObject({ code: 'NODE_FENCED' });
    expect(nodes(machine)[0].state).toBe('unregistered');
  });

  it('node-expire takes the incarnation out of service that it names, and no other', () => {
    const machine = new PlacementMachine();
    const old = register(machine, 'a');
    const epoch = register(machine, 'a');
    machine.run({ type: 'node-expire', node: 'a', epoch: old });
    expect(nodes(machine)[0].state).toBe('in-service');
    machine.run({ type: 'node-expire', node: 'a', epoch });
    expect(nodes(machine)[0]).toMatchObject({ state: 'expired', epoch });
    expect(machine.run({ type: 'node-expire', node: 'none', epoch })).toMatchObject({ type: 'done' });
    expect(register(machine, 'a')).toBeGreaterThan(epoch);
    expect(nodes(machine)[0].state).toBe('in-service');
  });
});

describe('topics and partitions', () => {
  it('topic-create spreads replicas over the nodes in service that take them', () => {
    const machine = new PlacementMachine();
    register(machine, 'a', 'x');
    register(machine, 'b', 'x');
    register(machine, 'c', 'y');
    register(machine, 'd', 'y', ['gateway']);
    const expired = register(machine, 'e', 'z');
    machine.run({ type: 'node-expire', node: 'e', epoch: expired });
    expect(create(machine, 'p', 4, 2)).toMatchObject({ type: 'topic' });
    for (const { replicas, isr, leader, leaderEpoch, partitionEpoch } of partitions(machine, 'p')) {
      expect(replicas).toHaveLength(2);
      expect(replicas).toContain('c');
      expect([isr, leader, leaderEpoch, partitionEpoch]).toEqual([replicas, replicas[0], 1, 1]);
    }
    expect(create(machine, 'p', 4, 2)).toMatchObject({ code: 'TOPIC_EXISTS' });
    expect(create(machine, 'q', 1, 4)).toMatchObject({ code: 'NOT_ENOUGH_NODES' });
    for (const [name, count, factor] of [
      ['', 1, 1],
      ['q', 0, 1],
      ['q', 1_001, 1],
      ['q', 1, 0],
      ['q', 1, 17],
    ] as const) {
      expect(create(machine, name, count, factor)).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('topic-delete removes the topic and its partitions, and frees their places', () => {
    const machine = new PlacementMachine();
    register(machine, 'a');
    register(machine, 'b');
    create(machine, 'p', 3, 1);
    expect(machine.run({ type: 'topic-delete', tenant: 't', topic: 'p' })).toMatchObject({ type: 'done' });
    expect(machine.run({ type: 'topic-delete', tenant: 't', topic: 'p' })).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    const query = { type: 'partitions', tenant: 't', topic: 'p', consistency: 'serializable' } as const;
    expect(machine.query(query)).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    expect(machine.query({ ...query, topic: 'x'.repeat(2_000) })).toMatchObject({ code: 'INVALID_ARGUMENT' });
    create(machine, 'q', 2, 1);
    expect(partitions(machine, 'q').map(({ leader }) => leader)).toEqual(['a', 'b']);
  });

  it('node-expire moves leadership to the next replica in sync, with new epochs', () => {
    const machine = new PlacementMachine();
    const a = register(machine, 'a');
    const b = register(machine, 'b');
    const c = register(machine, 'c');
    create(machine, 'p', 1, 3);
    expect(only(machine)).toBe('abc isr abc led by a 1/1');
    machine.run({ type: 'node-expire', node: 'b', epoch: b });
    expect(only(machine)).toBe('abc isr ac led by a 1/2');
    machine.run({ type: 'node-expire', node: 'a', epoch: a });
    expect(only(machine)).toBe('abc isr c led by c 2/3');
    machine.run({ type: 'node-expire', node: 'c', epoch: c });
    expect(only(machine)).toBe('abc isr c led by - 3/4');
    // It has not everything, so it cannot lead.
    register(machine, 'a');
    expect(only(machine)).toBe('abc isr c led by - 3/4');
    register(machine, 'c');
    expect(only(machine)).toBe('abc isr c led by c 4/5');
  });

  it('a node that registers again is a new incarnation: it leads only with a new epoch', () => {
    const machine = new PlacementMachine();
    register(machine, 'a');
    create(machine, 'p', 1, 1);
    register(machine, 'a');
    expect(only(machine)).toBe('a isr a led by a 2/2');
    register(machine, 'b');
    create(machine, 'q', 1, 2);
    expect(only(machine, 'q')).toBe('ba isr ba led by b 1/1');
    register(machine, 'b');
    expect(only(machine, 'q')).toBe('ba isr a led by a 2/2');
  });

  it('isr-change is refused unless everything that it names is in force', () => {
    const machine = new PlacementMachine();
    const old = register(machine, 'a');
    const a = register(machine, 'a');
    const b = register(machine, 'b');
    register(machine, 'c');
    create(machine, 'p', 1, 3);
    expect(only(machine)).toBe('abc isr abc led by a 1/1');
    expect(isrChange(machine, 'a', old, ['a'])).toMatchObject({ code: 'NODE_FENCED' });
    expect(isrChange(machine, 'b', b, ['a', 'b'])).toMatchObject({ code: 'EPOCH_MISMATCH' });
    expect(isrChange(machine, 'a', a, ['a'], { leaderEpoch: 0 })).toMatchObject({ code: 'EPOCH_MISMATCH' });
    expect(isrChange(machine, 'a', a, ['a'], { partitionEpoch: 2 })).toMatchObject({ code: 'EPOCH_MISMATCH' });
    expect(isrChange(machine, 'a', a, ['a'], { partition: 1 })).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    expect(isrChange(machine, 'a', a, ['a'], { partition: 2 ** 40 })).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    expect(isrChange(machine, 'a', a, ['b'])).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(isrChange(machine, 'a', a, ['a', 'a'])).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(isrChange(machine, 'a', a, ['a', 'z'])).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(isrChange(machine, 'a', a, ['c', 'a'])).toMatchObject({ type: 'partition', partition: { isr: ['a', 'c'] } });
    expect(only(machine)).toBe('abc isr ac led by a 1/2');
    machine.run({ type: 'node-expire', node: 'b', epoch: b });
    expect(isrChange(machine, 'a', a, ['a', 'b', 'c'])).toMatchObject({ code: 'NODE_FENCED' });
    register(machine, 'b');
    expect(isrChange(machine, 'a', a, ['a', 'b', 'c'])).toMatchObject({ type: 'partition' });
    expect(only(machine)).toBe('abc isr abc led by a 1/3');
  });

  it('isr-change gives leadership back to the preferred replica when that is in service and in sync again', () => {
    const machine = new PlacementMachine();
    const a = register(machine, 'a');
    const b = register(machine, 'b');
    const c = register(machine, 'c');
    create(machine, 'p', 1, 3);
    machine.run({ type: 'node-expire', node: 'a', epoch: a });
    expect(only(machine)).toBe('abc isr bc led by b 2/2');
    expect(isrChange(machine, 'b', b, ['b'])).toMatchObject({ partition: { leader: 'b' } });
    register(machine, 'a');
    expect(isrChange(machine, 'b', b, ['b', 'c'])).toMatchObject({ partition: { leader: 'b' } });
    expect(isrChange(machine, 'b', b, ['a', 'b', 'c'])).toMatchObject({ partition: { leader: 'a' } });
    expect(only(machine)).toBe('abc isr abc led by a 3/5');
    expect(isrChange(machine, 'b', b, ['b', 'c'])).toMatchObject({ code: 'EPOCH_MISMATCH' });
    expect(isrChange(machine, 'c', c, ['a', 'c'])).toMatchObject({ code: 'EPOCH_MISMATCH' });
  });

  it('node-unregister hands replicas to others, and new nodes fill what is missing', () => {
    const machine = new PlacementMachine();
    const a = register(machine, 'a');
    register(machine, 'b');
    create(machine, 'p', 1, 2);
    expect(only(machine)).toBe('ab isr ab led by a 1/1');
    machine.run({ type: 'node-unregister', node: 'a', epoch: a });
    expect(only(machine)).toBe('b isr b led by b 2/2');
    register(machine, 'c');
    expect(only(machine)).toBe('bc isr b led by b 2/3');
    register(machine, 'd');
    expect(only(machine)).toBe('bc isr b led by b 2/3');
  });

  it('node-unregister is refused while the node has the only copy of a partition', () => {
    const machine = new PlacementMachine();
    const a = register(machine, 'a');
    create(machine, 'p', 1, 1);
    register(machine, 'b');
    const { revision } = machine.state;
    expect(machine.run({ type: 'node-unregister', node: 'a', epoch: a })).toMatchObject({ code: 'NOT_ENOUGH_NODES' });
    expect(machine.state.revision).toBe(revision);
    expect(only(machine)).toBe('a isr a led by a 1/1');
  });
});

describe('scheduling', () => {
  it('does not depend on the order in which partitions changed, which a start from the store does not know', () => {
    const machines = [new PlacementMachine(), new PlacementMachine()];
    const epochs = machines.map((machine) => {
      const [epoch] = ['a', 'b', 'c', 'd', 'e'].map((name) => register(machine, name));
      create(machine, 'p', 9, 2);
      for (const record of partitions(machine, 'p').slice(0, 5)) {
        const { tenant, topic, partition, leader, leaderEpoch, partitionEpoch, isr } = record;
        const nodeEpoch = nodes(machine).find(({ node }) => node === leader)!.epoch;
        const where = { tenant, topic, partition, node: leader };
        machine.run({ type: 'isr-change', ...where, nodeEpoch, leaderEpoch, partitionEpoch, isr });
      }
      return epoch;
    });
    machines[0].flush();
    machines[0].crash();
    machines.forEach((machine, index) => {
      expect(machine.run({ type: 'node-unregister', node: 'a', epoch: epochs[index] })).toMatchObject({ type: 'done' });
    });
    expect(partitions(machines[0], 'p')).toEqual(partitions(machines[1], 'p'));
  });
});

type Step =
  | { readonly type: 'register' | 'expire' | 'unregister'; readonly node: string }
  | { readonly type: 'create'; readonly topic: string; readonly partitions: number; readonly factor: number }
  | { readonly type: 'delete'; readonly topic: string }
  | { readonly type: 'shrink'; readonly topic: string; readonly keep: number }
  | { readonly type: 'grow'; readonly topic: string }
  | { readonly type: 'restart' };

const node = fc.constantFrom('a', 'b', 'c', 'd');
const topic = fc.constantFrom('p', 'q');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('register' as const), node }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('expire' as const), node }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('unregister' as const), node }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('create' as const),
      topic,
      partitions: fc.integer({ min: 1, max: 9 }),
      factor: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('delete' as const), topic }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('shrink' as const), topic, keep: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('grow' as const), topic }) },
  { weight: 1, arbitrary: fc.constant({ type: 'restart' as const }) },
);

function take(machine: PlacementMachine, each: Step): void {
  const known = (name: string) => nodes(machine).find((record) => record.node === name);
  switch (each.type) {
    case 'register':
      register(machine, each.node, each.node < 'c' ? 'x' : 'y');
      return;
    case 'expire':
    case 'unregister':
      machine.run({ type: `node-${each.type}`, node: each.node, epoch: known(each.node)?.epoch ?? 0 });
      return;
    case 'create':
      create(machine, each.topic, each.partitions, each.factor);
      return;
    case 'delete':
      machine.run({ type: 'topic-delete', tenant: 't', topic: each.topic });
      return;
    case 'shrink':
    case 'grow':
      for (const record of partitions(machine, each.topic)) {
        const { tenant, partition, leader, leaderEpoch, partitionEpoch, replicas } = record;
        const isr =
          each.type === 'grow'
            ? replicas.filter((name) => known(name)?.state === 'in-service')
            : [leader, ...record.isr.filter((name) => name !== leader).slice(0, each.keep)];
        const epochs = { nodeEpoch: known(leader)?.epoch ?? 0, leaderEpoch, partitionEpoch };
        machine.run({ type: 'isr-change', tenant, topic: each.topic, partition, node: leader, ...epochs, isr });
      }
      return;
    case 'restart':
      machine.flush();
      machine.crash();
      machine.replay();
  }
}

describe('scheduling over a long time', () => {
  it('keeps every partition sound, whatever happens to nodes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const machine = new PlacementMachine();
        const before = new Map<string, PartitionRecord>();
        for (const each of steps) {
          take(machine, each);
          if (each.type === 'delete') before.clear();
          const inService = new Set(
            nodes(machine).flatMap((record) => (record.state === 'in-service' ? [record.node] : [])),
          );
          for (const record of [...partitions(machine, 'p'), ...partitions(machine, 'q')]) {
            const { replicas, isr, leader, leaderEpoch, partitionEpoch } = record;
            expect(new Set(replicas).size).toBe(replicas.length);
            expect(isr.length).toBeGreaterThan(0);
            expect(isr.every((name) => replicas.includes(name))).toBe(true);
            const canBeLed = isr.some((name) => inService.has(name));
            expect(leader === '' ? !canBeLed : isr.includes(leader) && inService.has(leader)).toBe(true);
            const place = `${record.topic}/${record.partition}`;
            const last = before.get(place);
            if (last !== undefined) {
              expect(leaderEpoch).toBeGreaterThanOrEqual(last.leaderEpoch + (leader === last.leader ? 0 : 1));
              const isSame = JSON.stringify(record) === JSON.stringify(last);
              expect(partitionEpoch > last.partitionEpoch).toBe(!isSame);
            }
            before.set(place, record);
          }
        }
        // What follows from the records in memory is the same after a start from the store.
        machine.flush();
        const digest = machine.state.digest();
        const other = new PlacementMachine();
        for (const entry of machine.log) other.state.apply(entry);
        machine.crash();
        expect(machine.state.digest()).toBe(digest);
        for (const name of ['z', 'a', 'b']) {
          register(machine, name, 'x');
          register(other, name, 'x');
        }
        create(machine, 'r', 3, 1);
        create(other, 'r', 3, 1);
        expect(machine.state.digest()).toBe(other.state.digest());
      }),
      { numRuns: 150, interruptAfterTimeLimit: 6_000 },
    );
  });
});
