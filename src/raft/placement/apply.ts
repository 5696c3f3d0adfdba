/**
 * Applies one command to the state: the whole of the deterministic state machine. What comes out depends on nothing but
 * the state and the command, so that all replicas agree. Thread: the Raft worker; called by `placement-state.ts`.
 */
import type { CommandResult, Revision } from '../../core/ports/placement.ts';
import type { LogIndex } from '../ports.ts';
import { type BootstrapCommand, commandTags, type GroupCommand, type Proposal } from './command-codec.ts';
import { RecordInvalidError } from './errors.ts';
import { applyLeaseExpire, applyLeaseGrant, applyLeaseRevoke } from './leases.ts';
import { limits } from './limits.ts';
import { applyNodeExpire, applyNodeRegister, applyNodeReport, applyNodeUnregister } from './nodes.ts';
import { partitionsOf } from './queries.ts';
import { partitionKind } from './records/partition.ts';
import { refuse } from './refusal.ts';
import type { Request, RequestOutcome } from './request-rows.ts';
import { noMembership, replicasOf } from './root-record.ts';
import type { StateCore } from './state-core.ts';
import { applyIsrChange, applyTopicCreate, applyTopicDelete } from './topics.ts';
import { applyTransaction, isReadOnly, repeatTransaction } from './transactions.ts';

/** `index`: the place of the command in the log. */
export function applyCommand(core: StateCore, proposal: Proposal, index: LogIndex): CommandResult {
  const { command, requestId, origin, sequence } = proposal;
  core.forgetRequests(index - limits.requestsKept);
  const outcome = core.window.get(proposal);
  if (outcome !== null) return repeatOrRefuse(core, command, outcome);
  const request: Request = { requestId, origin, sequence, index };
  const result = applyFirst(core, command, request);
  // What made a revision is remembered with it.
  if (core.window.newestIndex !== index && isRemembered(command)) {
    core.remember(request, outcomeOf(core, command, result));
  }
  return result;
}

function applyFirst(core: StateCore, command: GroupCommand, request: Request): CommandResult {
  switch (command.type) {
    case 'transaction':
      return applyTransaction(core, command, request);
    case 'compact':
      return applyCompact(core, command.revision);
    case 'lease-grant':
      return applyLeaseGrant(core, command);
    case 'lease-revoke':
      return applyLeaseRevoke(core, command, request);
    case 'lease-expire':
      return applyLeaseExpire(core, command, request);
    case 'node-register':
      return applyNodeRegister(core, command, request);
    case 'node-unregister':
      return applyNodeUnregister(core, command, request);
    case 'node-expire':
      return applyNodeExpire(core, command, request);
    case 'node-report':
      return applyNodeReport(core, command, request);
    case 'topic-create':
      return applyTopicCreate(core, command, request);
    case 'topic-delete':
      return applyTopicDelete(core, command, request);
    case 'isr-change':
      return applyIsrChange(core, command, request);
    case 'bootstrap':
      return applyBootstrap(core, command);
  }
}

/** Others do the same once or twice: a reading does nothing, and what the leader proposes by itself stands under epochs. */
function isRemembered(command: GroupCommand): boolean {
  switch (command.type) {
    case 'bootstrap':
    case 'lease-expire':
    case 'node-expire':
      return false;
    case 'transaction':
      return !isReadOnly(command);
    default:
      return true;
  }
}

/** Of a command that made no revision. */
function outcomeOf({ revision }: StateCore, { type }: GroupCommand, result: CommandResult): RequestOutcome {
  return {
    revision: result.type === 'compact' ? result.revision : revision,
    commandTag: commandTags[type],
    succeeded: result.type !== 'transaction' || result.succeeded,
    epoch: result.type === 'lease' ? result.epoch : 0,
    refusal: result.type === 'refused' ? result.code : null,
  };
}

/** Whoever uses an id again for something else may ask for names that no record can have. */
function repeatOrRefuse(core: StateCore, command: GroupCommand, outcome: RequestOutcome): CommandResult {
  try {
    return repeat(core, command, outcome);
  } catch (error) {
    if (error instanceof RecordInvalidError) return refuse('INVALID_ARGUMENT', error.message);
    throw error;
  }
}

/** The request was applied before: nothing is done, and the answer is made from what is known of the first time. */
function repeat(core: StateCore, command: GroupCommand, outcome: RequestOutcome): CommandResult {
  if (outcome.commandTag !== commandTags[command.type]) {
    return refuse('INVALID_ARGUMENT', 'The request id was used for another command');
  }
  if (outcome.refusal !== null) return refuse(outcome.refusal, 'The request was refused before');
  switch (command.type) {
    case 'transaction':
      return repeatTransaction(command, outcome);
    case 'compact':
      return { type: 'compact', revision: outcome.revision };
    case 'lease-grant':
      return { type: 'lease', lease: command.lease, epoch: outcome.epoch, ttlMs: command.ttlMs };
    case 'node-register':
      return { type: 'node', node: command.node, epoch: outcome.epoch };
    case 'topic-create':
      return { type: 'topic', partitions: partitionsOf(core.tables.records, command.tenant, command.topic) };
    case 'isr-change': {
      const { tenant, topic, partition } = command;
      const item = core.tables.records.get(partitionKind.key(tenant, topic, partition));
      if (item === null) return refuse('TOPIC_NOT_FOUND', `There is no topic "${topic}" of the tenant "${tenant}"`);
      return { type: 'partition', partition: partitionKind.decode(item.value) };
    }
    default:
      return { type: 'done', revision: outcome.revision };
  }
}

/**
 * Forgets the changes up to `revision`, though never the newest ones: they remember requests. What was forgotten is
 * removed from the store little by little.
 */
function applyCompact(core: StateCore, revision: Revision): CommandResult {
  if (revision > core.revision) {
    return refuse('FUTURE_REVISION', `The revision ${revision} is after the present one, ${core.revision}`);
  }
  if (revision <= core.compactedRevision) {
    return refuse('COMPACTED', `Everything up to the revision ${core.compactedRevision} is compacted`);
  }
  core.compactedRevision = Math.max(core.compactedRevision, Math.min(revision, core.revision - limits.revisionsKept));
  return { type: 'compact', revision: core.compactedRevision };
}

/**
 * Founds the group; with another identity, founds it anew after a repair: what the lost members gave out may have been
 * more than what is here, so revisions and epochs go on far beyond it. Under the present identity it tells where a member
 * is now.
 */
function applyBootstrap(core: StateCore, { clusterId, member }: BootstrapCommand): CommandResult {
  if (clusterId === '') return refuse('INVALID_ARGUMENT', 'The identity of a group cannot be empty');
  if (core.clusterId !== '' && core.clusterId !== clusterId) core.renew();
  core.clusterId = clusterId;
  if (core.membership.voters.length === 0) core.membership = { ...noMembership, voters: [member.replica] };
  if (replicasOf(core.membership).has(member.replica)) {
    core.members.set(member.replica, { name: member.name, address: member.address });
  }
  return { type: 'done', revision: core.revision };
}
