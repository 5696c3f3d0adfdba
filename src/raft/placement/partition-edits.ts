/**
 * Changes of partitions by one command: each partition is written once, with its epochs raised once, whatever happened to
 * it. Thread: the Raft worker; used by `topics.ts` and `nodes.ts`.
 */
import type { PartitionRecord } from '../../core/ports/placement.ts';
import { assert } from '../../std/assert.ts';
import { bytesOfLatin1, latin1Of } from './bytes.ts';
import type { Draft } from './draft.ts';
import { partitionKind } from './records/partition.ts';
import { topicKind } from './records/topic.ts';
import { type Candidate, chooseReplicas } from './scheduling.ts';
import type { StateCore } from './state-core.ts';

/** A node with this role, or without any, takes replicas. */
const REPLICA_ROLE = 'broker';

interface Edit {
  readonly before: PartitionRecord;
  replicas: readonly string[];
  isr: readonly string[];
  leader: string;
  /** Who leads has to begin anew, even if it is the same node. */
  isLed: boolean;
}

export class PartitionEdits {
  private readonly core: StateCore;
  private readonly edits = new Map<string, Edit>();
  /** Replicas that each topic asks for. */
  private readonly factors = new Map<string, number>();

  constructor(core: StateCore) {
    this.core = core;
  }

  /**
   * The incarnation of `node` is gone: it leaves the in-sync sets, unless it is the last one there, which alone has
   * everything; what it led is led by the first replica that is in sync and in service, or by nobody.
   */
  retire(node: string): void {
    for (const text of this.core.partitions.ofNode(node)) {
      const edit = this.edit(text);
      if (edit.isr.includes(node) && edit.isr.length > 1) edit.isr = edit.isr.filter((each) => each !== node);
      if (edit.leader === node) this.elect(edit, node);
    }
  }

  /** `node` is in service: it leads what nobody could lead without it. */
  welcome(node: string): void {
    for (const text of this.core.partitions.ofNode(node)) {
      const edit = this.edit(text);
      if (edit.leader !== '' || !edit.isr.includes(node)) continue;
      edit.leader = node;
      edit.isLed = true;
    }
  }

  /**
   * `node` keeps nothing any more; others take its place where there are any. Answers the partition of which it has the
   * only copy, and then nothing may be finished; null when there is none.
   */
  release(node: string): PartitionRecord | null {
    const candidates = candidatesOf(this.core).filter((each) => each.node !== node);
    for (const text of this.core.partitions.ofNode(node)) {
      const edit = this.edit(text);
      edit.isr = edit.isr.filter((each) => each !== node);
      if (edit.isr.length === 0) return edit.before;
      edit.replicas = edit.replicas.filter((each) => each !== node);
      this.fill(edit, candidates, 1);
      if (edit.leader === node) this.elect(edit, node);
    }
    return null;
  }

  /** Gives replicas to partitions that have fewer than their topic asks for. */
  refill(): void {
    const wanting = this.core.partitions.wantingReplicas();
    if (wanting.length === 0) return;
    const candidates = candidatesOf(this.core);
    for (const text of wanting) {
      const edit = this.edit(text);
      this.fill(edit, candidates, this.factorOf(edit.before) - edit.replicas.length);
    }
  }

  /** Writes what changed, in the order of keys. */
  finish(draft: Draft): void {
    for (const text of [...this.edits.keys()].sort()) {
      const { before, replicas, isr, leader, isLed } = this.edits.get(text)!;
      if (replicas === before.replicas && isr === before.isr && !isLed) continue;
      const after: PartitionRecord = {
        ...before,
        replicas,
        isr,
        leader,
        leaderEpoch: before.leaderEpoch + (isLed ? 1 : 0),
        partitionEpoch: before.partitionEpoch + 1,
      };
      putPartition(this.core, draft, before, after, this.factorOf(before));
    }
  }

  private factorOf(partition: PartitionRecord): number {
    const { tenant, topic } = partition;
    const name = `${tenant.length} ${tenant}${topic}`;
    let factor = this.factors.get(name);
    if (factor === undefined) {
      factor = factorOf(this.core, partition);
      this.factors.set(name, factor);
    }
    return factor;
  }

  private edit(text: string): Edit {
    let edit = this.edits.get(text);
    if (edit === undefined) {
      const item = this.core.tables.records.find(text, bytesOfLatin1(text));
      assert(item !== null, 'the index of partitions has those that exist');
      const before = partitionKind.decode(item.value);
      edit = { before, replicas: before.replicas, isr: before.isr, leader: before.leader, isLed: false };
      this.edits.set(text, edit);
    }
    return edit;
  }

  /** The preferred order of leaders is that of the replicas. */
  private elect(edit: Edit, gone: string): void {
    const { nodes } = this.core;
    const isFit = (node: string) => node !== gone && edit.isr.includes(node) && nodes.get(node)?.state === 'in-service';
    edit.leader = edit.replicas.find(isFit) ?? '';
    edit.isLed = true;
  }

  private fill(edit: Edit, candidates: readonly Candidate[], count: number): void {
    if (count <= 0) return;
    const { nodes } = this.core;
    const present = edit.replicas.map((node) => ({
      node,
      rack: nodes.get(node)?.rack ?? '',
      replicas: 0,
      leaders: 0,
    }));
    const chosen = chooseReplicas(candidates, count, present);
    if (chosen.length > 0) edit.replicas = [...edit.replicas, ...chosen.map(({ node }) => node)];
  }
}

/** Nodes that may take replicas, with what they have now. */
export function candidatesOf(core: StateCore): Candidate[] {
  const candidates: Candidate[] = [];
  for (const { node, rack, roles, state } of core.nodes.values()) {
    if (state !== 'in-service' || (roles.length > 0 && !roles.includes(REPLICA_ROLE))) continue;
    const { partitions } = core;
    candidates.push({ node, rack, replicas: partitions.replicaCount(node), leaders: partitions.leaderCount(node) });
  }
  return candidates;
}

/** Writes one partition and keeps the index in step. */
export function putPartition(
  core: StateCore,
  draft: Draft,
  before: PartitionRecord | null,
  after: PartitionRecord,
  factor: number,
): void {
  draft.setRecord(partitionKind, after);
  core.partitions.update(latin1Of(partitionKind.keyOf(after)), before, after, factor);
}

/** Replicas that the topic of a partition asks for. */
export function factorOf(core: StateCore, { tenant, topic }: PartitionRecord): number {
  const item = core.tables.records.get(topicKind.key(tenant, topic));
  return item === null ? 0 : topicKind.decode(item.value).replicationFactor;
}
