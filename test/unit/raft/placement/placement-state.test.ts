import { describe, expect, it } from 'vitest';
import { encodeMembershipChange } from '../../../../src/raft/consensus/membership-codec.ts';
import { entryKinds, type MemberChange, type Membership } from '../../../../src/raft/consensus/types.ts';
import { encodeProposal } from '../../../../src/raft/placement/command-codec.ts';
import { CorruptionError, MalformedError } from '../../../../src/raft/placement/errors.ts';
import { limits } from '../../../../src/raft/placement/limits.ts';
import { encodeMemberContext, type MemberContext } from '../../../../src/raft/placement/member-context.ts';
import {
  deleteRecords,
  listRecordsQuery,
  recordQuery,
  recordsCommand,
  recordsOf,
  recordUnchanged,
  setRecord,
} from '../../../../src/raft/placement/record-operations.ts';
import { nodeKind } from '../../../../src/raft/placement/records/node.ts';
import { tenantKind } from '../../../../src/raft/placement/records/tenant.ts';
import {
  PlacementMachine,
  range,
  remove,
  requestId,
  set,
  show,
  transaction,
} from '../../../support/placement-machine.ts';

function membership(
  voters: readonly number[],
  learners: readonly number[] = [],
  outgoing: readonly number[] = [],
): Membership {
  return { voters, outgoing, learners, learnersNext: [], autoLeave: false };
}

function change(
  machine: PlacementMachine,
  changes: readonly MemberChange[],
  members: readonly MemberContext[],
  after: Membership,
): void {
  const data = encodeMembershipChange({ changes, context: encodeMemberContext(members) });
  machine.state.applyMembership(
    { term: 3, index: machine.state.appliedIndex + 1, kind: entryKinds.membership, data },
    after,
  );
}

describe('PlacementState', () => {
  it('apply() answers origin and sequence of the proposal', () => {
    const { state } = new PlacementMachine();
    const data = encodeProposal({
      origin: 2 ** 53 - 1,
      sequence: 77,
      requestId: null,
      command: transaction(set('a', '1')),
    });
    expect(state.apply({ term: 1, index: 1, kind: entryKinds.command, data })).toMatchObject({
      origin: 2 ** 53 - 1,
      sequence: 77,
      result: { type: 'transaction', revision: 1 },
    });
  });

  it('apply() takes the empty entry of a new leader, and moves on', () => {
    const { state } = new PlacementMachine();
    const data = new Uint8Array(0);
    expect(state.apply({ term: 4, index: 1, kind: entryKinds.command, data })).toBeNull();
    expect(state.position).toMatchObject({ index: 1, term: 4 });
    expect(state.needsFlush(50)).toBe(true);
  });

  it('apply() wants entries in order and without gaps', () => {
    const { state } = new PlacementMachine();
    const data = new Uint8Array(0);
    expect(() => state.apply({ term: 1, index: 2, kind: entryKinds.command, data })).toThrow('without gaps');
  });

  it('apply() stops for ever at an entry of a newer program, and nothing of it is committed', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    machine.flush();
    const data = Uint8Array.from([99]);
    const entry = { term: 1, index: 2, kind: entryKinds.command, data };
    expect(() => machine.state.apply(entry)).toThrow(MalformedError);
    expect(() => machine.state.apply(entry)).toThrow(MalformedError);
    expect(() => machine.flush()).toThrow(MalformedError);
    machine.crash();
    expect(machine.state.appliedIndex).toBe(1);
  });

  it('apply() stops for ever when the store is damaged, and the damage is not answered from', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    machine.flush();
    // What was written lately is known without the store.
    machine.crash();
    for (let turn = 0; turn < 50; turn++) machine.store.flipBit((below) => (turn * 7) % below);
    expect(() => machine.items('a')).toThrow(CorruptionError);
    expect(() => machine.write(set('a', '2'))).toThrow(CorruptionError);
    expect(() => machine.write(set('b', '2'))).toThrow(CorruptionError);
    expect(() => machine.crash()).toThrow(CorruptionError);
  });

  it('needsFlush() is true after a while, or when much waits, and not while a flush is under way', () => {
    const machine = new PlacementMachine();
    expect(machine.state.needsFlush(1_000_000)).toBe(false);
    machine.nowMs = 100;
    machine.write(set('a', '1'));
    expect(machine.state.needsFlush(124)).toBe(false);
    // Quiet.
    expect(machine.state.needsFlush(125)).toBe(true);
    for (let index = 0; index < 998; index++) machine.write(set('a', '1'));
    expect(machine.state.needsFlush(100)).toBe(false);
    machine.write(set('a', '1'));
    expect(machine.state.needsFlush(100)).toBe(true);
    machine.state.flush(() => undefined);
    machine.write(set('a', '2'));
    expect(machine.state.needsFlush(1_000)).toBe(false);
    machine.finishCommit();
    expect(machine.state.needsFlush(1_000)).toBe(true);
    machine.flush();
    for (let index = 0; index < 5; index++) machine.write(set('big', 'x'.repeat(1_000_000)));
    expect(machine.state.needsFlush(100)).toBe(true);
  });

  it('needsFlush() waits for more entries when they come slowly', () => {
    const machine = new PlacementMachine();
    machine.nowMs = 100;
    for (let count = 1; count < 3_000; count++) {
      machine.write(set('a', '1'));
      expect(machine.state.needsFlush(machine.nowMs)).toBe(false);
      machine.nowMs += 0.401;
    }
    machine.write(set('a', '1'));
    expect(machine.state.needsFlush(machine.nowMs)).toBe(true);
  });

  it.each([
    { isRead: false, least: 1_200, most: 1_900 },
    { isRead: true, least: 120, most: 190 },
  ])(
    'needsFlush() is true under a steady load as well, at another time on every replica: read elsewhere $isRead',
    ({ isRead, least, most }) => {
      const delays = Array.from({ length: 20 }, (_, run) => {
        const machine = new PlacementMachine();
        machine.state.setStoreRead(isRead);
        const startMs = 1_000 + run * 0.0731;
        for (machine.nowMs = startMs; !machine.state.needsFlush(machine.nowMs); machine.nowMs += 10) {
          machine.write(set('a', '1'));
        }
        return machine.nowMs - startMs;
      });
      expect(Math.min(...delays)).toBeGreaterThanOrEqual(least);
      expect(Math.max(...delays)).toBeLessThanOrEqual(most);
      expect(new Set(delays.map((delay) => Math.round(delay))).size).toBeGreaterThan(3);
    },
  );

  it('flush() calls back in order, each time with all that was applied before it durable', () => {
    const machine = new PlacementMachine();
    const durable: number[] = [];
    for (let index = 1; index <= 3; index++) {
      machine.write(set('a', `${index}`));
      machine.state.flush((error) => {
        expect(error).toBeNull();
        durable.push(machine.state.durableIndex);
      });
    }
    expect(durable).toEqual([]);
    while (machine.finishCommit());
    // The first takes what was there when it began; those that had to wait take everything.
    expect(durable).toEqual([1, 3, 3]);
  });

  it('flush() passes the error of the store, and everything fails from then on', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    machine.store.failNextCommit(new Error('no space'));
    expect(() => machine.flush()).toThrow('no space');
    expect(machine.state.durableIndex).toBe(0);
    expect(() => machine.write(set('a', '2'))).toThrow('no space');
    expect(() => machine.flush()).toThrow('no space');
  });

  it('bootstrap gives the group its identity', () => {
    const machine = new PlacementMachine();
    const member = { replica: 11, name: 'first', address: 'host:1' };
    expect(machine.run({ type: 'bootstrap', clusterId: '', member })).toMatchObject({ code: 'INVALID_ARGUMENT' });
    machine.run({ type: 'bootstrap', clusterId: 'one', member });
    machine.run({ type: 'bootstrap', clusterId: 'one', member });
    expect(machine.state.clusterId).toBe('one');
    expect(machine.state.revision).toBe(0);
    expect(machine.state.membership.voters).toEqual([11]);
    expect([...machine.state.members]).toEqual([[11, { name: 'first', address: 'host:1' }]]);
  });

  it('bootstrap with another identity goes on with revisions and epochs that nobody has seen', () => {
    const machine = new PlacementMachine();
    const member = { replica: 11, name: 'first', address: 'host:1' };
    machine.run({ type: 'bootstrap', clusterId: 'one', member });
    machine.run(transaction(set('a', '1')), requestId(1));
    machine.run(transaction(remove('b')), requestId(2));
    machine.flush();
    machine.run({ type: 'bootstrap', clusterId: 'two', member });
    expect(machine.state.clusterId).toBe('two');
    expect(machine.state.revision).toBeGreaterThan(100_000);
    expect(machine.state.compactedRevision).toBe(machine.state.revision);
    const granted = machine.run({ type: 'lease-grant', lease: 1, ttlMs: 1_000 });
    expect(granted.type === 'lease' && granted.epoch > 100_000).toBe(true);
    const digest = machine.state.digest();
    machine.flush();
    machine.crash();
    expect(machine.state.digest()).toBe(digest);
    expect(machine.run(transaction(set('a', '2')), requestId(1))).toMatchObject({ wasRepeated: false });
    expect(machine.run(transaction(remove('b')), requestId(2))).toMatchObject({ wasRepeated: false });
    expect(machine.items('a')).toHaveLength(1);
  });

  it('applyMembership() knows members by the context that brought them, as long as they are members', () => {
    const machine = new PlacementMachine();
    const a = { replica: 1, name: 'a', address: 'host:1' };
    const b = { replica: 2, name: 'b', address: 'host:2' };
    change(machine, [{ action: 'add-voter', replica: 1 }], [a], membership([1]));
    change(machine, [{ action: 'add-learner', replica: 2 }], [b], membership([1], [2]));
    const names = () => [...machine.state.members.values()].map(({ name }) => name);
    expect(names()).toEqual(['a', 'b']);
    // Refused by the core: the membership stays as it was, and the newcomer is none.
    change(
      machine,
      [{ action: 'add-voter', replica: 3 }],
      [{ replica: 3, name: 'c', address: '' }],
      membership([1], [2]),
    );
    expect(names()).toEqual(['a', 'b']);
    change(machine, [{ action: 'remove', replica: 1 }], [], membership([2], [], [1]));
    expect(names()).toEqual(['a', 'b']);
    change(machine, [], [], membership([2]));
    expect(names()).toEqual(['b']);
    expect(machine.state.position).toEqual({ index: 5, term: 3, membership: membership([2]) });
    machine.flush();
    machine.crash();
    expect(names()).toEqual(['b']);
    expect(machine.state.durablePosition).toEqual({ index: 5, term: 3, membership: membership([2]) });
  });

  it('query() pages through a range, forwards and backwards, with keys alone or counts', () => {
    const machine = new PlacementMachine();
    for (let index = 0; index < 25; index++) machine.write(set(`k${String(index).padStart(2, '0')}`, 'value'));
    const ask = (key: string, end: string | null, options = {}) => {
      const result = machine.query({ ...range(key, end, options), consistency: 'serializable' });
      if (result.type !== 'range') throw new Error('not a range');
      return result;
    };
    expect(ask('k', 'l', { limit: 10 })).toMatchObject({ count: -1, hasMore: true, revision: 25 });
    expect(ask('k20', 'l', { limit: 10 })).toMatchObject({ count: 5, hasMore: false });
    expect(ask('k', 'l', { countOnly: true })).toMatchObject({ items: [], count: 25, hasMore: false });
    expect(ask('k05', null, { countOnly: true })).toMatchObject({ items: [], count: 1 });
    const [last] = ask('k', 'l', { limit: 1, isReverse: true, keysOnly: true }).items;
    expect(show(last)).toBe('k24=@25/25/1');
    expect(ask('z', 'a').items).toEqual([]);
    expect(ask('none', null)).toMatchObject({ items: [], count: 0 });
    expect(machine.query({ ...range('', 'z'), consistency: 'serializable' })).toMatchObject({ code: 'EMPTY_KEY' });
    for (const limit of [-1, 0.5, Number.NaN]) {
      const wrong = machine.query({ ...range('k', 'l', { limit }), consistency: 'serializable' });
      expect(wrong).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    // A page begins just after the longest key that there can be.
    expect(ask(`${'k'.repeat(limits.keyBytesMax)}\0`, 'l').items).toHaveLength(0);
    expect(machine.query({ ...range('\0'), consistency: 'serializable' })).toMatchObject({ code: 'RESERVED_KEY' });
  });

  it('query() gives no more than the server gives at once, in items and in bytes', () => {
    const machine = new PlacementMachine();
    for (let first = 0; first < limits.rangeItemsMax + 100; first += 100) {
      machine.write(...Array.from({ length: 100 }, (_, index) => set(`k${first + index}`, '')));
    }
    for (let index = 0; index < 5; index++) machine.write(set(`large${index}`, 'x'.repeat(1_000_000)));
    const count = (key: string, end: string, limit: number) => machine.items(key, end, { limit }).length;
    expect([count('k', 'l', 0), count('k', 'l', 5_000), count('k', 'l', 7)]).toEqual([1_000, 1_000, 7]);
    expect(count('large', 'm', 0)).toBe(3);
    const result = machine.write(range('large0'), range('large', 'm'), range('large3'));
    if (result.type !== 'transaction') throw new Error('not applied');
    expect(result.results.map((each) => (each.type === 'range' ? each.items.length : -1))).toEqual([1, 2, 1]);
  });

  it('typed records are written, compared, read and listed', () => {
    const machine = new PlacementMachine();
    const quotas = { connectionsMax: 1, sessionsMax: 0, topicsMax: 0, messagesPerSMax: 0, bytesPerSMax: 0 };
    const tenant = (name: string) => ({ tenant: name, description: '', createdAtMs: 5, quotas });
    const create = (name: string) =>
      machine.run(recordsCommand([setRecord(tenantKind, tenant(name))], [recordUnchanged(tenantKind, 0, name)]));
    for (const name of ['a', 'b', 'c']) expect(create(name)).toMatchObject({ succeeded: true });
    expect(create('a')).toMatchObject({ succeeded: false });
    const one = machine.query(recordQuery(tenantKind, 'serializable', 'b'));
    expect(one.type === 'range' && recordsOf(tenantKind, one.items)).toEqual([tenant('b')]);
    const first = machine.query(listRecordsQuery(tenantKind, { consistency: 'serializable', limit: 2 }));
    if (first.type !== 'range') throw new Error('refused');
    expect(recordsOf(tenantKind, first.items).map((each) => each.tenant)).toEqual(['a', 'b']);
    const after = first.items[1];
    const second = machine.query(listRecordsQuery(tenantKind, { consistency: 'serializable', limit: 2, after }));
    expect(second.type === 'range' && recordsOf(tenantKind, second.items).map((each) => each.tenant)).toEqual(['c']);
    machine.run(recordsCommand([deleteRecords(tenantKind, 'b')]));
    expect(machine.query(recordQuery(tenantKind, 'serializable', 'b'))).toMatchObject({ items: [] });
    machine.run(recordsCommand([deleteRecords(tenantKind)]));
    expect(machine.query(listRecordsQuery(tenantKind, { consistency: 'serializable' }))).toMatchObject({ items: [] });
    expect(() => setRecord(tenantKind, { ...tenant('d'), createdAtMs: -1 })).toThrow('tenant.createdAtMs');
    expect(() => setRecord(nodeKind, {} as never)).toThrow('commands of their own');
    expect(machine.items('\x01', '')).toEqual([]);
    expect(machine.write(remove('\x01', ''))).toMatchObject({ results: [{ count: 0 }] });
  });
});
