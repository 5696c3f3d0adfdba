/**
 * Applies one command to the state: the whole of the deterministic state machine. What comes out depends on nothing but
 * the state and the command, so that all replicas agree. Thread: the Raft worker; called by `placement-state.ts`.
 */
import type { CommandResult, Revision } from '../../core/ports/placement.ts';
import { latin1Of } from './bytes.ts';
import { type BootstrapCommand, commandTags, type GroupCommand, type Proposal } from './command-codec.ts';
import { RecordInvalidError } from './errors.ts';
import { applyLeaseExpire, applyLeaseGrant, applyLeaseRevoke } from './leases.ts';
import { limits } from './limits.ts';
import { applyNodeExpire, applyNodeRegister, applyNodeReport, applyNodeUnregister } from './nodes.ts';
import { partitionsOf } from './queries.ts';
import { partitionKind } from './records/partition.ts';
import { refuse } from './refusal.ts';
import type { RequestOutcome } from './request-window.ts';
import { noMembership, replicasOf } from './root-record.ts';
import type { StateCore } from './state-core.ts';
import { applyIsrChange, applyTopicCreate, applyTopicDelete } from './topics.ts';
import { applyTransaction, repeatTransaction } from './transactions.ts';

export function applyCommand(core: StateCore, { command, requestId }: Proposal): CommandResult {
  const request = requestId === null ? '' : latin1Of(requestId);
  const outcome = request === '' ? null : core.window.get(request);
  if (outcome !== null) return repeatOrRefuse(core, command, outcome);
  switch (command.type) {
    case 'transaction':
      return applyTransaction(core, command, request);
    case 'compact':
      return applyCompact(core, command.revision);
    case 'lease-grant':
      return applyLeaseGrant(core, command, request);
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
  switch (command.type) {
    case 'transaction':
      return repeatTransaction(command, outcome);
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
 * Forgets the changes up to `revision`, though never the newest ones: they remember request ids. What was forgotten is
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
