/**
 * Applies the commands of nodes: registration with a growing epoch, reports, expiry and decommissioning, and what becomes
 * of the partitions. Deterministic. Thread: the Raft worker; called by `apply.ts`.
 */
import type { Command, CommandResult, NodeRecord } from '../../core/ports/placement.ts';
import { commandTags } from './command-codec.ts';
import { Draft } from './draft.ts';
import { RecordInvalidError } from './errors.ts';
import { PartitionEdits } from './partition-edits.ts';
import { nodeKind } from './records/node.ts';
import { type Refusal, refuse } from './refusal.ts';
import type { Request } from './request-rows.ts';
import type { StateCore } from './state-core.ts';

type CommandOf<T extends Command['type']> = Extract<Command, { readonly type: T }>;

/** A new incarnation: the one before is fenced, and its part in partitions ends. */
export function applyNodeRegister(
  core: StateCore,
  command: CommandOf<'node-register'>,
  request: Request,
): CommandResult {
  const { node, addresses, roles, rack, ttlMs } = command;
  const epoch = core.epoch + 1;
  const record: NodeRecord = { node, epoch, addresses, roles, rack, ttlMs, state: 'in-service', report: null };
  const refusal = checkRecord(record);
  if (refusal !== null) return refusal;
  const draft = new Draft(core);
  const edits = new PartitionEdits(core);
  core.nextEpoch();
  if (core.nodes.get(node)?.state === 'in-service') edits.retire(node);
  putNode(core, draft, record);
  edits.welcome(node);
  edits.refill();
  edits.finish(draft);
  draft.finish(request, commandTags['node-register'], true, epoch);
  core.listener?.onRegistered(node, epoch, ttlMs);
  return { type: 'node', node, epoch };
}

/** Decommissioning: the node keeps its name and nothing else. Refused while it has the only copy of something. */
export function applyNodeUnregister(
  core: StateCore,
  { node, epoch }: CommandOf<'node-unregister'>,
  request: Request,
): CommandResult {
  const record = core.nodes.get(node);
  if (record === undefined) return unknownNode(node);
  if (record.epoch !== epoch) return fenced(record);
  if (record.state === 'unregistered') return { type: 'done', revision: core.revision };
  const edits = new PartitionEdits(core);
  const only = edits.release(node);
  if (only !== null) {
    const name = `partition ${only.partition} of "${only.topic}"`;
    return refuse('NOT_ENOUGH_NODES', `Only "${node}" has all of ${name}; another replica must be in sync first`);
  }
  const draft = new Draft(core);
  putNode(core, draft, { ...record, state: 'unregistered', report: null });
  edits.finish(draft);
  core.listener?.onNodeEnded(node);
  return { type: 'done', revision: draft.finish(request, commandTags['node-unregister'], true, 0) };
}

/** The node missed its time: it is out of service until it registers again, and keeps what it has. */
export function applyNodeExpire(
  core: StateCore,
  { node, epoch }: CommandOf<'node-expire'>,
  request: Request,
): CommandResult {
  const record = core.nodes.get(node);
  if (record === undefined || record.epoch !== epoch || record.state !== 'in-service') {
    return { type: 'done', revision: core.revision };
  }
  const draft = new Draft(core);
  const edits = new PartitionEdits(core);
  putNode(core, draft, { ...record, state: 'expired', report: null });
  edits.retire(node);
  edits.finish(draft);
  core.listener?.onNodeEnded(node);
  return { type: 'done', revision: draft.finish(request, commandTags['node-expire'], true, 0) };
}

export function applyNodeReport(core: StateCore, command: CommandOf<'node-report'>, request: Request): CommandResult {
  const { node, epoch, report } = command;
  const record = core.nodes.get(node);
  if (record === undefined) return unknownNode(node);
  if (record.epoch !== epoch || record.state !== 'in-service') return fenced(record);
  const after: NodeRecord = { ...record, report };
  const refusal = checkRecord(after);
  if (refusal !== null) return refusal;
  const draft = new Draft(core);
  putNode(core, draft, after);
  return { type: 'done', revision: draft.finish(request, commandTags['node-report'], true, 0) };
}

/** Whether `epoch` is that of the incarnation that is in service. */
export function checkIncarnation(core: StateCore, node: string, epoch: number): Refusal | null {
  const record = core.nodes.get(node);
  if (record === undefined) return unknownNode(node);
  return record.epoch === epoch && record.state === 'in-service' ? null : fenced(record);
}

function putNode(core: StateCore, draft: Draft, record: NodeRecord): void {
  draft.setRecord(nodeKind, record);
  core.nodes.set(record.node, record);
}

/** By encoding it: after this, writing it cannot fail. */
function checkRecord(record: NodeRecord): Refusal | null {
  try {
    nodeKind.encode(record);
    nodeKind.keyOf(record);
    return null;
  } catch (error) {
    if (error instanceof RecordInvalidError) return refuse('INVALID_ARGUMENT', error.message);
    throw error;
  }
}

function unknownNode(node: string): Refusal {
  return refuse('NODE_NOT_FOUND', `There is no node "${node}"`);
}

function fenced({ node, epoch, state }: NodeRecord): Refusal {
  return refuse('NODE_FENCED', `The node "${node}" is ${state} with the epoch ${epoch}`);
}
