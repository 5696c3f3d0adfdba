/**
 * Messages of the API ↔ the plain data of the placement port. Pure; thread: the Raft worker; called by the services.
 * Key-value pairs have the same shape on both sides and pass as they are.
 */
import type * as port from '../../core/ports/placement.ts';
import { type Node, NodeState } from '../../rpc/generated/ringmq/placement/v1/cluster.ts';
import {
  type GroupStatus,
  type Member,
  MemberRole,
  ReplicaRole,
} from '../../rpc/generated/ringmq/placement/v1/group.ts';
import {
  type Compare,
  type Operation,
  type OperationResult,
  type RangeOperation,
  type RangeResponse,
  Relation,
} from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import type { LeaseInfo } from '../../rpc/generated/ringmq/placement/v1/lease.ts';
import { invalidField } from './failure.ts';
import { requireKey } from './fields.ts';

const relations = new Map<number, port.Compare['relation']>([
  [Relation.EQUAL, 'equal'],
  [Relation.NOT_EQUAL, 'not-equal'],
  [Relation.GREATER, 'greater'],
  [Relation.LESS, 'less'],
]);

export function toCompare({ key, relation, operand }: Compare, field: string): port.Compare {
  const known = relations.get(relation);
  if (known === undefined) throw invalidField(`${field}.relation`, 'unknown value');
  requireKey(key, `${field}.key`);
  switch (operand?.$case) {
    case 'value':
      return { key, target: 'value', relation: known, operand: operand.value };
    case 'version':
      return { key, target: 'version', relation: known, operand: operand.value };
    case 'createRevision':
      return { key, target: 'create-revision', relation: known, operand: operand.value };
    case 'modRevision':
      return { key, target: 'mod-revision', relation: known, operand: operand.value };
    case 'lease':
      return { key, target: 'lease', relation: known, operand: operand.value };
    default:
      throw invalidField(`${field}.operand`, 'it is missing');
  }
}

export function toOperation({ operation }: Operation, field: string): port.Operation {
  switch (operation?.$case) {
    case 'set': {
      const { key, value, lease, returnPrevious } = operation.value;
      return { type: 'set', key: requireKey(key, `${field}.set.key`), value, lease, returnPrevious };
    }
    case 'delete': {
      const { key, end, returnPrevious } = operation.value;
      return toDelete(requireKey(key, `${field}.delete.key`), end, returnPrevious);
    }
    case 'range':
      requireKey(operation.value.key, `${field}.range.key`);
      return toRange(operation.value);
    default:
      throw invalidField(field, 'it has no operation');
  }
}

export function toDelete(key: Uint8Array, end: Uint8Array | undefined, returnPrevious: boolean): port.DeleteOperation {
  return { type: 'delete', key, end: end ?? null, returnPrevious };
}

export function toRange(range: RangeOperation): port.RangeOperation {
  const { key, end, limit, isReverse, keysOnly, countOnly } = range;
  return { type: 'range', key, end: end ?? null, limit, isReverse, keysOnly, countOnly };
}

export function fromRange({ items, count, hasMore }: port.RangeResult, revision: number): RangeResponse {
  return { revision, items, count: count < 0 ? undefined : count, hasMore };
}

export function fromOperationResult(result: port.OperationResult): OperationResult {
  switch (result.type) {
    case 'set':
      return { result: { $case: 'set', value: { previous: result.previous ?? undefined } } };
    case 'delete':
      return { result: { $case: 'delete', value: { count: result.count, previous: result.previous } } };
    case 'range':
      return { result: { $case: 'range', value: fromRange(result, 0) } };
  }
}

export function fromLease({ lease, epoch, ttlMs, remainingMs, keys }: port.LeaseInfo): LeaseInfo {
  return { lease, epoch, ttlMs, remainingMs: remainingMs < 0 ? undefined : Math.round(remainingMs), keys };
}

const nodeStates: Readonly<Record<port.NodeRecord['state'], NodeState>> = {
  'in-service': NodeState.IN_SERVICE,
  expired: NodeState.EXPIRED,
  unregistered: NodeState.UNREGISTERED,
};

export function fromNode(record: port.NodeRecord): Node {
  const { node, epoch, addresses, roles, rack, ttlMs, state, report } = record;
  return {
    node,
    epoch,
    addresses: addresses.map(([listener, address]) => ({ listener, address })),
    roles,
    rack,
    ttlMs,
    state: nodeStates[state],
    report: report ?? undefined,
  };
}

const memberRoles: Readonly<Record<port.MemberInfo['role'], MemberRole>> = {
  voter: MemberRole.VOTER,
  learner: MemberRole.LEARNER,
};

const replicaRoles: Readonly<Record<port.GroupStatus['role'], ReplicaRole>> = {
  follower: ReplicaRole.FOLLOWER,
  'pre-candidate': ReplicaRole.PRE_CANDIDATE,
  candidate: ReplicaRole.CANDIDATE,
  leader: ReplicaRole.LEADER,
  learner: ReplicaRole.LEARNER,
  stopped: ReplicaRole.STOPPED,
};

export function fromMember({ role, matchIndex, isReachable, ...member }: port.MemberInfo): Member {
  return {
    ...member,
    role: memberRoles[role],
    matchIndex: matchIndex < 0 ? undefined : matchIndex,
    isReachable: isReachable ?? undefined,
  };
}

export function fromStatus({ leader, role, members, fault, ...status }: port.GroupStatus): GroupStatus {
  return {
    ...status,
    leader: leader ?? '',
    role: replicaRoles[role],
    members: members.map(fromMember),
    fault: fault ?? undefined,
  };
}

/** Where the leader is reached; '' while nobody leads or its address is unknown. */
export function leaderAddressOf(status: port.GroupStatus): string {
  return status.members.find(({ isLeader }) => isLeader)?.address ?? '';
}
