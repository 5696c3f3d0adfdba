/**
 * Which partitions each node has a part in, and what it leads: follows from the partition records, kept in memory so that
 * a node can leave or return without a look at every partition. Thread: the Raft worker.
 *
 * A partition is known by its key as text (`latin1Of`). Sets have no order that replicas agree on, so whoever goes through
 * one sorts it.
 */
import type { PartitionRecord } from '../../core/ports/placement.ts';

export class PartitionIndex {
  private readonly byNode = new Map<string, Set<string>>();
  private readonly leaders = new Map<string, number>();
  private readonly wanting = new Set<string>();

  /** A partition changed from one form into the other; null for none. `factor`: replicas that its topic asks for. */
  update(text: string, before: PartitionRecord | null, after: PartitionRecord | null, factor: number): void {
    if (before !== null) {
      for (const node of before.replicas) this.byNode.get(node)?.delete(text);
      this.countLeader(before.leader, -1);
    }
    if (after !== null) {
      for (const node of after.replicas) this.partitions(node).add(text);
      this.countLeader(after.leader, 1);
    }
    if (after !== null && after.replicas.length < factor) this.wanting.add(text);
    else this.wanting.delete(text);
  }

  /** Partitions with a replica on the node, sorted. */
  ofNode(node: string): string[] {
    return [...(this.byNode.get(node) ?? [])].sort();
  }

  /** Partitions with fewer replicas than their topic asks for, sorted. */
  wantingReplicas(): string[] {
    return [...this.wanting].sort();
  }

  replicaCount(node: string): number {
    return this.byNode.get(node)?.size ?? 0;
  }

  leaderCount(node: string): number {
    return this.leaders.get(node) ?? 0;
  }

  clear(): void {
    this.byNode.clear();
    this.leaders.clear();
    this.wanting.clear();
  }

  private partitions(node: string): Set<string> {
    let partitions = this.byNode.get(node);
    if (partitions === undefined) {
      partitions = new Set();
      this.byNode.set(node, partitions);
    }
    return partitions;
  }

  private countLeader(node: string, step: number): void {
    if (node !== '') this.leaders.set(node, (this.leaders.get(node) ?? 0) + step);
  }
}
