/** `ringmq ctl cluster …`: the group as a whole, and the broker nodes. Main thread of the command's process. */
import { type Node, NodeState } from '../../rpc/generated/ringmq/placement/v1/cluster.ts';
import {
  type GroupStatus,
  type Member,
  MemberRole,
  ReplicaRole,
} from '../../rpc/generated/ringmq/placement/v1/group.ts';
import { EXIT_OK } from '../exit-codes.ts';
import { toFacts, toTable } from './printer.ts';
import type { Group, Verb } from './verb.ts';

/** `IN_SERVICE` → `in-service`; a number that this version does not know stays one. */
function nameOf(values: Readonly<Record<string, number>>, value: number): string {
  const name = Object.entries(values).find(([, number]) => number === value)?.[0] ?? String(value);
  return name.toLowerCase().replaceAll('_', '-');
}

export function jsonMember(member: Member): Record<string, unknown> {
  const { matchIndex = null, isReachable = null } = member;
  return { ...member, role: nameOf(MemberRole, member.role), matchIndex, isReachable };
}

export function memberTable(members: readonly Member[]): string {
  const rows = members.map(({ replica, name, address, role, isLeader, matchIndex, isReachable }) => [
    replica,
    name,
    address,
    isLeader ? 'leader' : nameOf(MemberRole, role),
    matchIndex ?? '-',
    isReachable === undefined ? 'unknown' : isReachable ? 'yes' : 'no',
  ]);
  return toTable(['REPLICA', 'NAME', 'ADDRESS', 'ROLE', 'DURABLE', 'REACHABLE'], rows);
}

export function jsonGroup(group: GroupStatus): Record<string, unknown> {
  return {
    ...group,
    leader: group.leader === '' ? null : group.leader,
    role: nameOf(ReplicaRole, group.role),
    members: group.members.map(jsonMember),
    fault: group.fault ?? null,
  };
}

function groupText(group: GroupStatus, version: string): string {
  const facts = toFacts([
    ['cluster', group.clusterId],
    ['answered by', `${group.replica} (${nameOf(ReplicaRole, group.role)}, version ${version})`],
    ['leader', group.leader === '' ? 'none' : group.leader],
    ['term', group.term],
    ['log', `${group.firstIndex} to ${group.lastIndex}, committed ${group.commitIndex}, applied ${group.appliedIndex}`],
    ['revision', `${group.revision}, history from ${group.compactedRevision + 1}`],
    ['bytes', `${group.logBytes} in the log, ${group.stateBytes} in the state`],
    ['fault', group.fault ?? 'none'],
  ]);
  return `${facts}\n${memberTable(group.members)}`;
}

const status: Verb = {
  summary: 'the group as the server that answers sees it',
  values: [],
  run: async ({ client, print }) => {
    const { version, group } = await client.status();
    if (group === undefined) throw new Error('Cannot read answer: a field is missing');
    print.result({ version, ...jsonGroup(group) }, () => groupText(group, version));
    return EXIT_OK;
  },
};

function jsonNode({ addresses, state, report, ...node }: Node): Record<string, unknown> {
  return {
    ...node,
    addresses: Object.fromEntries(addresses.map(({ listener, address }) => [listener, address])),
    state: nameOf(NodeState, state),
    report: report ?? null,
  };
}

const nodes: Verb = {
  summary: 'the registered broker nodes',
  values: [],
  run: async ({ client, print }) => {
    const found = await client.cluster.nodes();
    const rows = found.map(({ node, epoch, state, roles, rack, addresses }) => [
      node,
      epoch,
      nameOf(NodeState, state),
      roles.join(',') || '-',
      rack || '-',
      addresses.map(({ listener, address }) => `${listener}=${address}`).join(' ') || '-',
    ]);
    print.table({ nodes: found.map(jsonNode) }, ['NODE', 'EPOCH', 'STATE', 'ROLES', 'RACK', 'ADDRESSES'], rows);
    return EXIT_OK;
  },
};

export const cluster: Group = {
  summary: 'state of the cluster',
  verbs: new Map([
    ['status', status],
    ['nodes', nodes],
  ]),
};
