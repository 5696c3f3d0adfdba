import { describe, expect, test } from 'vitest';
import { PlacementError } from '../../../../src/core/ports/placement.ts';
import {
  CallFailure,
  expectResult,
  invalidField,
  momentary,
  refusals,
  refusedFailure,
  toCallError,
  toFailure,
} from '../../../../src/raft/api/failure.ts';
import { rpcStatus } from '../../../../src/rpc/status.ts';

describe('toFailure()', () => {
  test('toFailure() gives each error of the moment its status, its code and the hint', () => {
    const statuses = Object.entries(momentary).map(([code]) => {
      const error = new PlacementError(code as keyof typeof momentary, 'Cannot do it', 'h:1');
      const failure = toFailure(error, () => undefined);
      expect(failure).toMatchObject({ code, message: 'Cannot do it', leaderAddress: 'h:1' });
      return [code, failure.status];
    });
    expect(statuses).toEqual([
      ['NO_LEADER', rpcStatus.UNAVAILABLE],
      ['TIMED_OUT', rpcStatus.DEADLINE_EXCEEDED],
      ['OVERLOADED', rpcStatus.RESOURCE_EXHAUSTED],
      ['DISK_FULL', rpcStatus.RESOURCE_EXHAUSTED],
      ['NOT_LEADER', rpcStatus.FAILED_PRECONDITION],
      ['MEMBERSHIP_REFUSED', rpcStatus.FAILED_PRECONDITION],
      ['STOPPED', rpcStatus.UNAVAILABLE],
      ['CORRUPTED', rpcStatus.DATA_LOSS],
    ]);
  });

  test('toFailure() reports a defect and tells the caller nothing of it', () => {
    const seen: unknown[] = [];
    const defect = new Error('secret');
    const failure = toFailure(defect, (error) => void seen.push(error));
    expect(seen).toEqual([defect]);
    expect(failure).toMatchObject({ status: rpcStatus.INTERNAL, code: 'INTERNAL' });
    expect(failure.message).not.toContain('secret');
  });

  test('toFailure() leaves a failure as it is', () => {
    const failure = invalidField('key', 'it is empty');
    expect(toFailure(failure, () => expect.unreachable())).toBe(failure);
  });
});

describe('refusedFailure()', () => {
  test('refusedFailure() gives each refusal its status and field', () => {
    const table = Object.entries(refusals).map(([code, { status, field }]) => `${code} ${status} ${field}`);
    expect(table).toEqual([
      'EMPTY_KEY 3 key',
      'RESERVED_KEY 3 key',
      'KEY_TOO_LARGE 3 key',
      'VALUE_TOO_LARGE 3 value',
      'TOO_MANY_OPERATIONS 3 success',
      'DUPLICATE_KEY 3 key',
      'INVALID_ARGUMENT 3 ',
      'LEASE_NOT_FOUND 5 lease',
      'LEASE_EXISTS 6 lease',
      'COMPACTED 11 revision',
      'FUTURE_REVISION 11 revision',
      'NODE_NOT_FOUND 5 node',
      'NODE_FENCED 9 epoch',
      'TOPIC_EXISTS 6 topic',
      'TOPIC_NOT_FOUND 5 topic',
      'NOT_ENOUGH_NODES 9 replication_factor',
      'EPOCH_MISMATCH 10 ',
    ]);
    const failure = refusedFailure({ type: 'refused', code: 'LEASE_EXISTS', message: 'There is one' });
    expect(failure).toMatchObject({ code: 'LEASE_EXISTS', status: rpcStatus.ALREADY_EXISTS, message: 'There is one' });
  });
});

describe('expectResult()', () => {
  test('expectResult() throws what was refused, and for a result of another command', () => {
    const refused = { type: 'refused', code: 'COMPACTED', message: 'gone' } as const;
    expect(() => expectResult<typeof refused | { type: 'done' }, 'done'>(refused, 'done')).toThrow(CallFailure);
    const other: { type: 'done' } | { type: 'lease' } = { type: 'lease' } as { type: 'done' } | { type: 'lease' };
    expect(() => expectResult(other, 'done')).toThrow('"lease" instead of "done"');
  });
});

describe('toCallError()', () => {
  test('toCallError() keeps all facts', () => {
    const failure = new CallFailure(rpcStatus.UNAVAILABLE, 'NO_LEADER', 'Nobody leads', 'key', 'h:2');
    expect(toCallError(failure)).toEqual({
      status: 14,
      code: 'NO_LEADER',
      message: 'Nobody leads',
      field: 'key',
      leaderAddress: 'h:2',
    });
    expect(toCallError(new CallFailure(rpcStatus.INTERNAL, 'INTERNAL', '')).leaderAddress).toBe('');
  });
});
