import { describe, expect, it } from 'vitest';
import type { Command, Compare, Operation, TransactionCommand } from '../../../../src/core/ports/placement.ts';
import { entryKinds } from '../../../../src/raft/consensus/types.ts';
import { encodeProposal } from '../../../../src/raft/placement/command-codec.ts';
import { limits } from '../../../../src/raft/placement/limits.ts';
import { ruleKind } from '../../../../src/raft/placement/records/rule.ts';
import { tenantKind } from '../../../../src/raft/placement/records/tenant.ts';
import { topicKind } from '../../../../src/raft/placement/records/topic.ts';
import {
  bytes,
  PlacementMachine,
  range,
  remove,
  requestId,
  set,
  show,
  transaction,
} from '../../../support/placement-machine.ts';

function refusal(machine: PlacementMachine, command: Command): string {
  const result = machine.run(command);
  return result.type === 'refused' ? result.code : result.type;
}

function compare(
  key: string,
  target: Compare['target'],
  relation: Compare['relation'],
  operand: string | number,
): Compare {
  return { key: bytes(key), target, relation, operand: typeof operand === 'string' ? bytes(operand) : operand };
}

describe('transactions', () => {
  it('apply() gives a write of several keys one revision', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'), set('b', '2'));
    machine.write(set('a', '3'), remove('b'));
    expect(machine.items('a', 'z')).toEqual(['a=3@1/2/2']);
    expect(machine.state.revision).toBe(2);
  });

  it('apply() makes no revision when nothing changed', () => {
    const machine = new PlacementMachine();
    expect(machine.write(remove('missing'))).toMatchObject({ revision: 0, results: [{ count: 0 }] });
    expect(machine.write(range('a'))).toMatchObject({ revision: 0 });
    expect(machine.write()).toMatchObject({ revision: 0, succeeded: true, results: [] });
  });

  it('apply() begins a key anew after it was deleted', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    machine.write(set('a', '2'));
    machine.write(remove('a'));
    machine.write(set('a', '3'));
    expect(machine.items('a')).toEqual(['a=3@4/4/1']);
  });

  it('apply() answers previous items when asked to', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'), set('b', '2'));
    const result = machine.write(set('a', '9', { returnPrevious: true }), remove('b', null, true), set('c', '3'));
    if (result.type !== 'transaction') throw new Error('not applied');
    const shown = result.results.map((each) =>
      each.type === 'delete' ? each.previous.map(show) : each.type === 'set' ? each.previous && show(each.previous) : 0,
    );
    expect(shown).toEqual(['a=1@1/1/1', ['b=2@1/1/1'], null]);
  });

  it('apply() takes the branch that the compares choose', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', 'm'));
    machine.write(set('a', 'm'));
    const holding = [
      compare('a', 'value', 'equal', 'm'),
      compare('a', 'value', 'greater', 'lzz'),
      compare('a', 'value', 'less', 'ma'),
      compare('a', 'value', 'not-equal', ''),
      compare('a', 'version', 'equal', 2),
      compare('a', 'version', 'greater', 1),
      compare('a', 'create-revision', 'less', 2),
      compare('a', 'mod-revision', 'not-equal', 1),
      compare('a', 'lease', 'equal', 0),
      compare('missing', 'version', 'equal', 0),
      compare('missing', 'value', 'equal', ''),
    ];
    for (const each of holding) {
      const command: TransactionCommand = { type: 'transaction', compares: [each], success: [range('a')], failure: [] };
      expect(machine.run(command), JSON.stringify(each)).toMatchObject({
        succeeded: true,
        results: [{ type: 'range' }],
      });
    }
    const failing = { type: 'transaction', compares: [...holding, compare('a', 'version', 'equal', 3)] } as const;
    const result = machine.run({ ...failing, success: [set('x', '1')], failure: [set('y', '1')] });
    expect(result).toMatchObject({ succeeded: false, revision: 3 });
    expect(machine.items('x', 'z')).toEqual(['y=1@3/3/1']);
  });

  it('a range sees what operations before it wrote', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'), set('b', '1'));
    const result = machine.write(set('c', '2'), remove('a'), range('a', 'z'));
    if (result.type !== 'transaction') throw new Error('not applied');
    const found = result.results[2];
    expect(found.type === 'range' && found.items.map(show)).toEqual(['b=1@1/1/1', 'c=2@2/2/1']);
  });

  it('overlapping deletes remove each key once', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'), set('b', '1'), set('c', '1'));
    const result = machine.write(remove('b'), remove('a', 'c'), remove('a', ''));
    expect(result).toMatchObject({ results: [{ count: 1 }, { count: 1 }, { count: 1 }] });
    expect(machine.items('a', '')).toEqual([]);
  });

  it('apply() refuses wrong commands with their code and changes nothing', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    const before = machine.state.revision;
    const big = 'x'.repeat(limits.valueBytesMax);
    const many = Array.from({ length: limits.operationsMax + 1 }, (_, index) => set(`k${index}`, ''));
    const cases: readonly (readonly [string, readonly Operation[]])[] = [
      ['EMPTY_KEY', [set('', '1')]],
      ['EMPTY_KEY', [remove('', 'z')]],
      ['EMPTY_KEY', [range('')]],
      ['RESERVED_KEY', [set('\0a', '1')]],
      ['RESERVED_KEY', [remove('\0', 'z')]],
      ['RESERVED_KEY', [range('\0\x0a', '\0\x0b')]],
      ['KEY_TOO_LARGE', [set('k'.repeat(limits.keyBytesMax + 1), '1')]],
      ['KEY_TOO_LARGE', [remove('a', 'k'.repeat(limits.keyBytesMax + 2))]],
      ['KEY_TOO_LARGE', [range('k'.repeat(limits.keyBytesMax + 2), '')]],
      ['VALUE_TOO_LARGE', [set('a', `${big}x`)]],
      ['VALUE_TOO_LARGE', [set('a', big), set('b', big)]],
      ['TOO_MANY_OPERATIONS', many],
      ['DUPLICATE_KEY', [set('a', '1'), set('a', '2')]],
      ['DUPLICATE_KEY', [set('a', '1'), remove('a')]],
      ['DUPLICATE_KEY', [remove('a', ''), set('b', '2')]],
      ['LEASE_NOT_FOUND', [set('b', '1'), set('a', '1', { lease: 9 })]],
    ];
    for (const [code, operations] of cases) expect(refusal(machine, transaction(...operations)), code).toBe(code);
    const wrongCompare = { key: bytes('a'), target: 'version', relation: 'equal', operand: 1 } as const;
    const manyCompares = new Array(limits.operationsMax + 1).fill(wrongCompare) as Compare[];
    const empty = { type: 'transaction', success: [], failure: [] } as const;
    expect(refusal(machine, { ...empty, compares: manyCompares })).toBe('TOO_MANY_OPERATIONS');
    expect(refusal(machine, { ...empty, compares: [compare('\0', 'version', 'equal', 0)] })).toBe('RESERVED_KEY');
    // Of the branch that is not taken too.
    expect(refusal(machine, { ...empty, compares: [], failure: [set('', '')] })).toBe('EMPTY_KEY');
    expect(machine.state.revision).toBe(before);
    expect(machine.items('\x01', '')).toEqual(['a=1@1/1/1']);
    expect(refusal(machine, transaction(set('k'.repeat(limits.keyBytesMax), big)))).toBe('transaction');
  });

  it('apply() refuses to delete more keys at once than a revision may hold', () => {
    const machine = new PlacementMachine();
    const name = (index: number) => `k${String(index).padStart(6, '0')}`;
    for (let first = 0; first < limits.deletedKeysMax + 1; first += 100) {
      machine.write(...Array.from({ length: 100 }, (_, index) => set(name(first + index), '')));
    }
    expect(refusal(machine, transaction(remove('k', 'l')))).toBe('TOO_MANY_OPERATIONS');
    const half = name(limits.deletedKeysMax / 2);
    expect(machine.write(remove('k', half))).toMatchObject({ results: [{ count: limits.deletedKeysMax / 2 }] });
    expect(refusal(machine, transaction(remove('k', 'l')))).toBe('transaction');
    expect(machine.items('k', 'l')).toEqual([]);
  });

  it('records have a scope of their own, without the kinds that have commands', () => {
    const machine = new PlacementMachine();
    const records = (...success: readonly Operation[]): Command => ({
      type: 'transaction',
      scope: 'records',
      compares: [],
      success,
      failure: [],
    });
    const text = (key: Uint8Array) => Buffer.from(key).toString('latin1');
    const tenant = text(tenantKind.key('acme'));
    const rules = text(ruleKind.key('acme'));
    expect(refusal(machine, records(set(tenant, 'x')))).toBe('transaction');
    expect(refusal(machine, records(remove(rules, `${rules}\xff`)))).toBe('transaction');
    expect(refusal(machine, records(range('\0', '\x01')))).toBe('transaction');
    expect(refusal(machine, records(set('user', 'x')))).toBe('RESERVED_KEY');
    expect(refusal(machine, records(set('\0', 'x')))).toBe('RESERVED_KEY');
    expect(refusal(machine, records(set(text(topicKind.key('acme', 't')), 'x')))).toBe('RESERVED_KEY');
    expect(refusal(machine, records(remove(tenant, '\0\xff')))).toBe('RESERVED_KEY');
    expect(refusal(machine, records(remove(tenant, '')))).toBe('RESERVED_KEY');
    expect(refusal(machine, records(range('\0', '')))).toBe('RESERVED_KEY');
    expect(refusal(machine, records(range('\0', 'b')))).toBe('RESERVED_KEY');
  });
});

describe('request ids', () => {
  it('apply() applies a repeated write once and answers what is known of the first time', () => {
    const machine = new PlacementMachine();
    const command: TransactionCommand = {
      type: 'transaction',
      compares: [compare('a', 'version', 'equal', 0)],
      success: [set('a', '1', { returnPrevious: true }), range('a')],
      failure: [set('a', '2')],
    };
    expect(machine.run(command, requestId(1))).toMatchObject({ revision: 1, succeeded: true, wasRepeated: false });
    machine.write(set('b', '1'));
    expect(machine.run(command, requestId(1))).toEqual({
      type: 'transaction',
      revision: 1,
      succeeded: true,
      wasRepeated: true,
      results: [
        { type: 'set', previous: null },
        { type: 'range', items: [], count: -1, hasMore: false },
      ],
    });
    expect(machine.state.revision).toBe(2);
    expect(machine.run(command, requestId(2))).toMatchObject({ revision: 3, succeeded: false, wasRepeated: false });
  });

  it('apply() knows request ids after a restart', () => {
    const machine = new PlacementMachine();
    machine.run(transaction(set('a', '1')), requestId(1));
    machine.run({ type: 'lease-grant', lease: 5, ttlMs: 1_000 }, requestId(2));
    machine.flush();
    machine.crash();
    expect(machine.run(transaction(set('a', '1')), requestId(1))).toMatchObject({ revision: 1, wasRepeated: true });
    const again = machine.run({ type: 'lease-grant', lease: 5, ttlMs: 1_000 }, requestId(2));
    expect(again).toEqual({ type: 'lease', lease: 5, epoch: 1, ttlMs: 1_000 });
    expect(refusal(machine, { type: 'lease-grant', lease: 5, ttlMs: 1_000 })).toBe('LEASE_EXISTS');
  });

  it('apply() answers repeats of other commands too', () => {
    const machine = new PlacementMachine();
    const register: Command = {
      type: 'node-register',
      node: 'n1',
      addresses: [],
      roles: [],
      rack: '',
      ttlMs: 1_000,
    };
    const create: Command = { type: 'topic-create', tenant: 't', topic: 'p', partitions: 2, replicationFactor: 1 };
    expect(machine.run(register, requestId(1))).toEqual({ type: 'node', node: 'n1', epoch: 1 });
    expect(machine.run(register, requestId(1))).toEqual({ type: 'node', node: 'n1', epoch: 1 });
    const created = machine.run(create, requestId(2));
    expect(created).toMatchObject({ type: 'topic', partitions: [{ partition: 0 }, { partition: 1 }] });
    expect(machine.run(create, requestId(2))).toEqual(created);
    expect(machine.run({ ...create, topic: 'x'.repeat(2_000) }, requestId(2))).toMatchObject({ type: 'refused' });
    expect(machine.run(register, requestId(2))).toMatchObject({ type: 'refused', code: 'INVALID_ARGUMENT' });
    const { revision } = machine.state;
    expect(machine.run({ type: 'topic-delete', tenant: 't', topic: 'p' }, requestId(3))).toMatchObject({
      type: 'done',
    });
    const deleted = machine.run({ type: 'topic-delete', tenant: 't', topic: 'p' }, requestId(3));
    expect(deleted).toEqual({ type: 'done', revision: revision + 1 });
  });

  it('apply() applies a request once that changed nothing the first time, also after a restart', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    const commands: readonly TransactionCommand[] = [
      { type: 'transaction', compares: [compare('a', 'version', 'equal', 2)], success: [set('a', 'x')], failure: [] },
      transaction(remove('b')),
      transaction(set('c', 'x', { lease: 9 })),
      transaction(set('d', 'x'), set('d', 'y')),
    ];
    const grant: Command = { type: 'lease-grant', lease: 9, ttlMs: 1_000 };
    const first = commands.map((command, index) => machine.run(command, requestId(index)));
    const ofLease = [grant, { type: 'lease-revoke', lease: 9 } as const].map((command, index) =>
      machine.run(command, requestId(10 + index)),
    );
    // Now all of them could do something.
    machine.write(set('a', '2'), set('b', '1'));
    machine.run(grant);
    const after = machine.items('a', 'z');
    const check = () => {
      commands.forEach((command, index) => {
        const again = machine.run(command, requestId(index));
        const before = first[index];
        if (before.type === 'refused') {
          expect(again).toMatchObject({ type: 'refused', code: before.code });
        } else if (before.type === 'transaction') {
          const { revision, succeeded } = before;
          expect(again).toMatchObject({ revision, succeeded, wasRepeated: true });
        }
      });
      expect(machine.run(grant, requestId(10))).toEqual(ofLease[0]);
      expect(machine.run({ type: 'lease-revoke', lease: 9 }, requestId(11))).toEqual(ofLease[1]);
      expect(machine.items('a', 'z')).toEqual(after);
      expect(machine.query({ type: 'lease', lease: 9, consistency: 'serializable' })).toMatchObject({ type: 'leases' });
      expect(machine.state.revision).toBe(2);
    };
    check();
    machine.flush();
    machine.crash();
    check();
  });

  it('apply() applies a proposal once that is carried twice, with or without a request id', () => {
    const machine = new PlacementMachine();
    const carried = (command: Command, sequence: number, id: Uint8Array | null = null) => {
      const data = encodeProposal({ origin: 2 ** 52 + 1, sequence, requestId: id, command });
      const index = machine.state.appliedIndex + 1;
      return machine.state.apply({ term: 1, index, kind: entryKinds.command, data })!.result;
    };
    const put = transaction(set('a', '1'));
    const swap = { ...transaction(set('a', '9')), compares: [compare('a', 'value', 'equal', '5')] };
    expect(carried(put, 2 ** 50)).toMatchObject({ revision: 1, wasRepeated: false });
    expect(carried(swap, 2 ** 50 + 1)).toMatchObject({ succeeded: false, wasRepeated: false });
    machine.write(set('a', '5'));
    machine.flush();
    for (let turn = 0; turn < 2; turn++) {
      expect(carried(put, 2 ** 50)).toMatchObject({ revision: 1, wasRepeated: true });
      expect(carried(swap, 2 ** 50 + 1)).toMatchObject({ revision: 1, succeeded: false, wasRepeated: true });
      machine.crash();
    }
    expect(carried(put, 2 ** 50, requestId(1))).toMatchObject({ revision: 3, wasRepeated: false });
    expect(carried(put, 2 ** 50 + 2, requestId(1))).toMatchObject({ revision: 3, wasRepeated: true });
  });

  it('apply() reads again for a repeat of what only reads', () => {
    const machine = new PlacementMachine();
    machine.run(transaction(range('a')), requestId(1));
    machine.write(set('a', '1'));
    const again = machine.run(transaction(range('a')), requestId(1));
    expect(again).toMatchObject({ wasRepeated: false, results: [{ count: 1 }] });
  });

  it('a write that makes a revision costs no row besides its own and that of the revision', () => {
    const machine = new PlacementMachine();
    const rows = () => machine.store.count(Buffer.from([0]), null);
    machine.run(transaction(set('a', '1')), requestId(1));
    machine.flush();
    expect(rows()).toBe(3);
    machine.run(transaction(remove('b')), requestId(2));
    machine.flush();
    expect(rows()).toBe(4);
  });

  it('apply() forgets requests after 10,000 entries, whatever they did, with and without a restart in between', () => {
    const machine = new PlacementMachine();
    const swap = { ...transaction(set('a', '9')), compares: [compare('a', 'value', 'equal', '')] };
    expect(machine.run(transaction(set('a', 'first')), requestId(1))).toMatchObject({ wasRepeated: false });
    expect(machine.run(swap, requestId(2))).toMatchObject({ succeeded: false });
    while (machine.state.appliedIndex < limits.requestsKept - 1) machine.write(set('b', ''));
    expect(machine.run(transaction(set('a', '')), requestId(1))).toMatchObject({ revision: 1, wasRepeated: true });
    machine.flush();
    machine.crash();
    expect(machine.run(transaction(set('a', '')), requestId(1))).toMatchObject({ wasRepeated: false });
    expect(machine.run(swap, requestId(2))).toMatchObject({ succeeded: true, wasRepeated: false });
    const ownRows = Buffer.from([1, 5]);
    machine.flush();
    expect(machine.store.range(ownRows, Buffer.from([1, 6]), 10)).toHaveLength(0);
  });
});

describe('compaction', () => {
  function grown(revisions: number): PlacementMachine {
    const machine = new PlacementMachine();
    for (let index = 0; index < revisions; index++) machine.write(set(`k${index % 10}`, `${index}`));
    machine.flush();
    return machine;
  }

  it('apply() keeps the newest 10,000 revisions whatever is asked for', () => {
    const machine = grown(limits.revisionsKept + 100);
    expect(machine.run({ type: 'compact', revision: machine.state.revision })).toEqual({
      type: 'compact',
      revision: 100,
    });
    expect(machine.state.compactedRevision).toBe(100);
    expect(refusal(machine, { type: 'compact', revision: 100 })).toBe('COMPACTED');
    expect(refusal(machine, { type: 'compact', revision: machine.state.revision + 1 })).toBe('FUTURE_REVISION');
    expect(machine.items('k', 'l')).toHaveLength(10);
  });

  it('flush() removes what was compacted, little by little, and nothing else', () => {
    const machine = grown(limits.revisionsKept + 2_500);
    // The compaction is remembered as a request.
    const rows = machine.store.count(Buffer.from([0]), null) + 1;
    machine.run({ type: 'compact', revision: 2_500 });
    machine.flush();
    expect(machine.store.count(Buffer.from([0]), null)).toBe(rows - 2_000);
    machine.flush();
    machine.flush();
    expect(machine.store.count(Buffer.from([0]), null)).toBe(rows - 2_500);
    const digest = machine.state.digest();
    machine.crash();
    expect(machine.state.digest()).toBe(digest);
  });

  it('the digest does not depend on what was removed from the store already', () => {
    const machine = grown(limits.revisionsKept + 500);
    machine.run({ type: 'compact', revision: 500 });
    const digest = machine.state.digest();
    machine.flush();
    expect(machine.state.digest()).toBe(digest);
  });

  it('compactionDue() asks for one when twice as much is kept as is needed', () => {
    const machine = grown(2 * limits.revisionsKept - 1);
    expect(machine.state.compactionDue()).toBeNull();
    machine.write(set('a', ''));
    const due = machine.state.compactionDue();
    expect(due).toEqual({ type: 'compact', revision: limits.revisionsKept });
    machine.run(due!);
    expect(machine.state.compactionDue()).toBeNull();
  });
});
