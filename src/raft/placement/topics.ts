/**
 * Applies the commands of topics and partitions. The placement group is the authority over leader, in-sync set and epochs;
 * brokers act on what they read here. Deterministic. Thread: the Raft worker; called by `apply.ts`.
 */
import type { Command, CommandResult, PartitionRecord } from '../../core/ports/placement.ts';
import { latin1Of } from './bytes.ts';
import { commandTags } from './command-codec.ts';
import { Draft } from './draft.ts';
import { RecordInvalidError } from './errors.ts';
import { checkIncarnation } from './nodes.ts';
import { candidatesOf, factorOf, putPartition } from './partition-edits.ts';
import { partitionsOf } from './queries.ts';
import { partitionKind } from './records/partition.ts';
import { type TopicRecord, topicKind } from './records/topic.ts';
import { type Refusal, refuse } from './refusal.ts';
import type { Request } from './request-rows.ts';
import { chooseReplicas } from './scheduling.ts';
import type { StateCore } from './state-core.ts';

type CommandOf<T extends Command['type']> = Extract<Command, { readonly type: T }>;

export function applyTopicCreate(core: StateCore, command: CommandOf<'topic-create'>, request: Request): CommandResult {
  const { tenant, topic, partitions: count, replicationFactor } = command;
  const epoch = core.epoch + 1;
  const record: TopicRecord = { tenant, topic, epoch, partitions: count, replicationFactor };
  const refusal = checkTopic(record);
  if (refusal !== null) return refusal;
  if (core.tables.records.get(topicKind.keyOf(record)) !== null) {
    return refuse('TOPIC_EXISTS', `There is a topic "${topic}" of the tenant "${tenant}"`);
  }
  const candidates = candidatesOf(core);
  if (candidates.length < replicationFactor) {
    const problem = `${candidates.length} nodes are in service, and ${replicationFactor} replicas are asked for`;
    return refuse('NOT_ENOUGH_NODES', problem);
  }
  const draft = new Draft(core);
  core.nextEpoch();
  draft.setRecord(topicKind, record);
  const partitions: PartitionRecord[] = [];
  for (let partition = 0; partition < count; partition++) {
    const replicas = chooseReplicas(candidates, replicationFactor).map(({ node }) => node);
    const leader = replicas[0];
    const after = { tenant, topic, partition, replicas, leader, leaderEpoch: 1, partitionEpoch: 1, isr: replicas };
    putPartition(core, draft, null, after, replicationFactor);
    partitions.push(after);
  }
  draft.finish(request, commandTags['topic-create'], true, epoch);
  return { type: 'topic', partitions };
}

export function applyTopicDelete(core: StateCore, command: CommandOf<'topic-delete'>, request: Request): CommandResult {
  const { tenant, topic } = command;
  const key = keyOrNull(() => topicKind.key(tenant, topic));
  if (key === null || core.tables.records.get(key) === null) return unknownTopic(tenant, topic);
  const draft = new Draft(core);
  for (const partition of partitionsOf(core.tables.records, tenant, topic)) {
    const partitionKey = partitionKind.keyOf(partition);
    core.partitions.update(latin1Of(partitionKey), partition, null, 0);
    draft.removeKey(partitionKey);
  }
  draft.removeKey(key);
  return { type: 'done', revision: draft.finish(request, commandTags['topic-delete'], true, 0) };
}

/**
 * Asked for by the leader of a partition, in its present incarnation and with the epochs that are in force. The answer may
 * name another leader, the preferred one.
 */
export function applyIsrChange(core: StateCore, command: CommandOf<'isr-change'>, request: Request): CommandResult {
  const { tenant, topic, partition, node, nodeEpoch, leaderEpoch, partitionEpoch, isr } = command;
  const key = keyOrNull(() => partitionKind.key(tenant, topic, partition));
  const item = key === null ? null : core.tables.records.get(key);
  if (item === null) return unknownTopic(tenant, topic);
  const fenced = checkIncarnation(core, node, nodeEpoch);
  if (fenced !== null) return fenced;
  const before = partitionKind.decode(item.value);
  if (before.leader !== node || before.leaderEpoch !== leaderEpoch || before.partitionEpoch !== partitionEpoch) {
    const present = `"${before.leader}" with the epochs ${before.leaderEpoch} and ${before.partitionEpoch}`;
    return refuse('EPOCH_MISMATCH', `The partition is led by ${present}`);
  }
  const refusal = checkIsr(core, before, isr);
  if (refusal !== null) return refusal;
  const inOrder = before.replicas.filter((each) => isr.includes(each));
  const leader = leaderAfter(core, before, inOrder);
  const after: PartitionRecord = {
    ...before,
    isr: inOrder,
    leader,
    leaderEpoch: before.leaderEpoch + (leader === before.leader ? 0 : 1),
    partitionEpoch: partitionEpoch + 1,
  };
  const draft = new Draft(core);
  putPartition(core, draft, before, after, factorOf(core, before));
  draft.finish(request, commandTags['isr-change'], true, 0);
  return { type: 'partition', partition: after };
}

/** Leadership goes back to the preferred replica as soon as that is in sync again, so that it stays spread over the nodes. */
function leaderAfter(core: StateCore, { leader, replicas }: PartitionRecord, isr: readonly string[]): string {
  const [preferred] = replicas;
  return isr.includes(preferred) && core.nodes.get(preferred)?.state === 'in-service' ? preferred : leader;
}

function checkIsr(
  core: StateCore,
  { leader, replicas, isr: before }: PartitionRecord,
  isr: readonly string[],
): Refusal | null {
  if (!isr.includes(leader)) return refuse('INVALID_ARGUMENT', 'The leader is always in sync');
  if (new Set(isr).size !== isr.length) return refuse('INVALID_ARGUMENT', 'A node is in the in-sync set twice');
  for (const node of isr) {
    if (!replicas.includes(node)) return refuse('INVALID_ARGUMENT', `"${node}" has no replica`);
    if (!before.includes(node) && core.nodes.get(node)?.state !== 'in-service') {
      return refuse('NODE_FENCED', `The node "${node}" is not in service`);
    }
  }
  return null;
}

function checkTopic(record: TopicRecord): Refusal | null {
  try {
    topicKind.encode(record);
    partitionKind.key(record.tenant, record.topic, record.partitions - 1);
    return null;
  } catch (error) {
    if (error instanceof RecordInvalidError) return refuse('INVALID_ARGUMENT', error.message);
    throw error;
  }
}

/** Null for names that no record can have. */
function keyOrNull<T>(make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    if (error instanceof RecordInvalidError) return null;
    throw error;
  }
}

function unknownTopic(tenant: string, topic: string): Refusal {
  return refuse('TOPIC_NOT_FOUND', `There is no such topic or partition: "${topic}" of the tenant "${tenant}"`);
}
